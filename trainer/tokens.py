"""Matrices as token sequences: what a model reads and writes.

A number has k words. In the *sequential* form each word is a position of its own; in the *factored* form
the k words share one position, in k slots. Every slot has an alphabet of its own, and ids count within it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.encodings import Encoding
from shared.operations import Shape

Form = Literal["factored", "sequential"]
Ids = NDArray[np.int64]

START = 0  # the id that opens every output, in every slot; ids 1, 2, … are the dimension words V1, V2, …


@dataclass(frozen=True)
class Tokens:
    """How matrices of one shape are written as (B, length, len(alphabets)) ids, and read back."""

    encoding: Encoding
    form: Form
    shape: Shape
    with_shape: bool  # whether the words V<rows> V<cols> stand before the entries

    @property
    def alphabets(self) -> tuple[int, ...]:
        """The size of each slot's alphabet: special words, then the encoding's words for that slot."""
        return tuple(self._specials + stop - start for start, stop in self._slots)

    @property
    def length(self) -> int:
        """Positions of a matrix."""
        rows, cols = self.shape
        words = 1 if self.form == "factored" else self.encoding.words_per_number
        return 2 * self.with_shape + rows * cols * words

    def encode(self, matrices: NDArray[np.float64]) -> Ids:
        """Write matrices (B, rows, cols) as ids (B, length, slots).

        Raises EncodingError for an entry that the encoding cannot write.
        """
        batch, (rows, cols) = len(matrices), self.shape
        assert matrices.shape[1:] == self.shape
        words = self.encoding.encode(matrices).reshape(batch, -1, len(self._slots))
        ids = words - [start for start, _ in self._slots] + self._specials
        if not self.with_shape:
            return ids
        prefix = np.broadcast_to(np.array([rows, cols])[:, None], (batch, 2, len(self._slots)))
        return np.concatenate([prefix, ids], axis=1)

    def decode(self, ids: Ids) -> NDArray[np.float64]:
        """Read ids (B, length, slots) as matrices (B, rows, cols), NaN where the words are no number."""
        entries = ids[:, 2 * self.with_shape :] - self._specials
        words = np.where(entries >= 0, entries + [start for start, _ in self._slots], -1)
        numbers = words.reshape(len(ids), -1, self.encoding.words_per_number)
        return self.encoding.decode(numbers).reshape(-1, *self.shape)

    @property
    def _slots(self) -> tuple[tuple[int, int], ...]:
        """The encoding's words that may stand in each slot, as ranges of its vocabulary."""
        return self.encoding.slots if self.form == "factored" else ((0, len(self.encoding.vocabulary)),)

    @property
    def _specials(self) -> int:
        return 1 + max(self.shape) if self.with_shape else 1
