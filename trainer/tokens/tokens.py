"""Matrices as token sequences: what a model reads and writes.

A word is a token, and a number has k words. In the *sequential* form, the published one, each word has a
position of its own: the dimensions V<rows> V<cols>, the numbers without their empty words, and a mark at the
end. In the *factored* form the k words of a number share one position, in k slots, and every position has its
place in the matrix. If a stream has several operations, a word says which one it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matstream.shared.encodings import Encoding
from matstream.shared.tasks import Task, tasks_of_samples
from matstream.shared.wire import Matrices, Samples, flat

Form = Literal["factored", "sequential"]
Side = Literal["input", "target"]
Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

NOTHING = -1  # where a sequence has ended, or a slot holds no word


@dataclass(frozen=True)
class Tokens:
    """How the inputs or the targets of some tasks are written as ids, and read back.

    Ids (B, length, slots) index one vocabulary: the words of numbers, slot by slot, then the mark, the
    operations, if the stream has several, and the dimensions V1, V2, … Other operations have no words in it,
    so that a model can still be used when matstream gets another operation.
    """

    encoding: Encoding
    form: Form
    side: Side
    tasks: tuple[Task, ...]
    in_grid: bool  # whether a position's place is (block, row, column) or its number in the sequence

    @cached_property
    def slots(self) -> tuple[tuple[int, int], ...]:
        """The half-open range of ids that each slot of a position may hold, except in headers."""
        if self.form == "sequential":
            return ((0, self.size),)
        stops = np.cumsum([stop - start for start, stop in self.encoding.slots]).tolist()
        return tuple(zip([0, *stops], stops, strict=False))

    @cached_property
    def size(self) -> int:
        """The number of ids in the vocabulary."""
        return self.mark + len(self.headers)

    @cached_property
    def headers(self) -> tuple[str, ...]:
        """The words that do not belong to numbers, by id from `mark` on: the mark, operations, dimensions."""
        dims = range(1, 1 + max(max(shape) for shape in self._shapes))
        return ("", *self.operations, *(f"V{dim}" for dim in dims))

    @cached_property
    def operations(self) -> tuple[str, ...]:
        """The operations that have a word: those of the stream, if there are several."""
        names = sorted({task.operation for task in self.tasks})
        return tuple(names) if len(names) > 1 else ()

    @cached_property
    def signs(self) -> tuple[int, int]:
        """The half-open range of ids that are only a sign; empty if the encoding has none."""
        start, stop = self.encoding.slots[0]
        return (start, stop) if self.encoding.vocabulary[start:stop] == ("+", "-") else (0, 0)

    @cached_property
    def mantissas(self) -> tuple[int, Floats] | None:
        """The slot whose word holds all digits of a number, and a value for each of its words: proportional
        to the number for which the word stands, infinite if the word is never written. None if several words
        share the digits, if all words share a slot, if more than 3 digits make too many words, or if only the
        very number is right."""
        slot = max(0, self.encoding.words_per_number - 2)  # between sign and exponent
        if slot > 1 or self.form == "sequential" or self.encoding.digits > 3 or self.encoding.exact:
            return None
        start, stop = self.encoding.slots[slot]
        smallest = self.encoding.encode(np.array([10.0 ** (self.encoding.digits - 1)]))  # with exponent 0
        words = np.tile(smallest, (stop - start, 1))
        words[:, slot] = np.arange(start, stop)
        values = self.encoding.decode(words)
        written = (self.encoding.encode(np.nan_to_num(values)) == words).all(axis=1)
        return slot, np.where(written, values, np.inf)

    @cached_property
    def length(self) -> int:
        """The number of positions of the longest sequence."""
        return max(self.lengths)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The number of positions of the longest sequence of each task."""
        words, mark = (self.encoding.words_per_number, 1) if self.form == "sequential" else (1, 0)
        return tuple(self._header + rows * cols * words + mark for rows, cols in self._shapes)

    @cached_property
    def opening(self) -> NDArray[np.int64]:
        """For each task, (K,), the id that opens a sequence, before its first word."""
        return self._openings if self.form == "factored" else np.full(len(self.tasks), self.mark)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """The place of each position, (K, length, coordinates)."""
        if not self.in_grid:
            return np.broadcast_to(np.arange(self.length)[:, None], (len(self.tasks), self.length, 1)).copy()
        places = np.zeros((len(self.tasks), self.length, 3), dtype=np.int64)
        places[:, : self._header, 2] = np.arange(self._header)
        for number, (task, shape) in enumerate(zip(self.tasks, self._shapes, strict=True)):
            blocks = _blocks(task, self.side, *shape)
            places[number, self._header : self._header + len(blocks)] = blocks
        return places

    def encode(self, matrices: Matrices, tasks: NDArray[np.int64]) -> Ids:
        """Write B matrices as ids; `tasks` (B,) are the positions of their tasks in `self.tasks`.

        Raises EncodingError for an entry that the encoding cannot write.
        """
        entries, shapes = matrices
        header = self._headers(tasks, shapes)
        ids = np.full((len(shapes), self.length, len(self.slots)), NOTHING)
        ids[:, : self._header, 0] = header
        words = self.encoding.encode(entries)  # (entries, words per number)
        sizes = shapes.prod(axis=1, dtype=np.int64)  # entries of each matrix
        if self.form == "factored":
            sample = np.repeat(np.arange(len(shapes)), sizes)
            ids[sample, self._header + _count_within(sizes)] = words + self.offsets
            return ids
        written = words != self._empty
        ends = np.concatenate([[0], np.cumsum(written.sum(axis=1))])  # words before each entry
        last = np.cumsum(sizes)
        lengths = ends[last] - ends[last - sizes]  # words of each matrix
        sample = np.repeat(np.arange(len(shapes)), lengths)
        ids[sample, self._header + _count_within(lengths), 0] = words[written]
        ids[np.arange(len(shapes)), self._header + lengths, 0] = self.mark
        return ids

    def decode(self, ids: Ids, task: int) -> Floats:
        """Read ids (B, length, slots) of one task as matrices (B, rows, cols).

        An entry whose words form no number is NaN. In the sequential form, all entries are NaN if the header
        is wrong, or if there are too few or too many numbers.
        """
        shape = rows, cols = self._shapes[task]
        if self.form == "factored":
            numbers = ids[:, self._header : self._header + rows * cols]
            starts, stops = np.array(self.slots).T
            words = np.where((numbers >= starts) & (numbers < stops), numbers - self.offsets, -1)
            return np.asarray(self.encoding.decode(words).reshape(-1, *shape))
        header = self.header(task)
        words, complete = self._align(ids[:, self._header :, 0], rows * cols)
        values = self.encoding.decode(words)
        values[~complete | (ids[:, : self._header, 0] != header).any(axis=1)] = np.nan
        return np.asarray(values.reshape(-1, *shape))

    def values(self, ids: Tensor, powers: Tensor) -> Tensor:
        """The numbers (B, length) that factored ids (B, length, slots) stand for, 0 where they form none.
        `powers` are `encodings.POWERS`, on the ids' device."""
        # by numbers, not by an array of them, which would have to be copied to the ids' device
        words = [ids[..., slot] - offset for slot, offset in enumerate(self.offsets.tolist())]
        values: Tensor = self.encoding.decode(torch.stack(words, dim=-1), powers).nan_to_num(0.0)
        return values

    def header(self, task: int) -> NDArray[np.int64]:
        """The ids that stand before the entries of a matrix of a task, (header,)."""
        return np.asarray(self._headers(np.array([task]), np.array([self._shapes[task]]))[0])

    def entries(self, task: int) -> int:
        """The number of entries in a matrix of a task."""
        rows, cols = self._shapes[task]
        return rows * cols

    def _align(self, ids: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Put the words (B, T) of `count` numbers, up to the mark, into their slots, (B, count, words per
        number); return these, and whether there were exactly so many numbers, (B,)."""
        batch, length = ids.shape
        position = np.arange(length)
        first, stop = self.encoding.slots[0]
        ended = np.maximum.accumulate(ids == self.mark, axis=1)
        opens = (ids >= first) & (ids < stop) & ~ended
        number = np.cumsum(opens, axis=1) - 1  # to which a word belongs
        bounds = np.where(opens | ended, position, length)
        next_bound = np.minimum.accumulate(bounds[:, ::-1], axis=1)[:, ::-1]
        after = np.concatenate([next_bound[:, 1:], np.full((batch, 1), length)], axis=1)  # where it ends
        # a number's first word stands in the first slot, the others in the last ones
        slot = np.where(opens, 0, self.encoding.words_per_number - (after - position))
        misplaced = ~ended & ~opens & (slot < 1)
        complete = ended[:, -1] & opens[:, 0] & (number[:, -1] == count - 1) & ~misplaced.any(axis=1)
        aligned = np.full((batch, count, self.encoding.words_per_number), self._empty)
        sample, place = np.nonzero(~ended & complete[:, None])
        aligned[sample, number[sample, place], slot[sample, place]] = ids[sample, place]
        return aligned, complete

    @property
    def _shapes(self) -> list[tuple[int, int]]:
        return [task.input_shape if self.side == "input" else task.target_shape for task in self.tasks]

    @property
    def mark(self) -> int:
        """The id that opens a sequence, and in the sequential form ends it."""
        sequential = self.form == "sequential"
        return len(self.encoding.vocabulary) if sequential else self.slots[-1][1]

    @property
    def _empty(self) -> int:
        """The id of the encoding's empty word, or NOTHING if it has none."""
        return NOTHING if self.encoding.empty is None else self.encoding.empty

    @property
    def offsets(self) -> NDArray[np.int64]:
        """What must be added, in each slot, to an id of the encoding to get its id in this vocabulary."""
        return np.array(
            [ours - its for (ours, _), (its, _) in zip(self.slots, self.encoding.slots, strict=True)]
        )

    @property
    def _with_header(self) -> tuple[bool, bool]:
        """Whether the header has an operation, and whether it has a shape. A factored answer needs neither:
        it opens with its operation, and its positions have their places."""
        if self.form == "sequential":
            return bool(self.operations), True
        read = self.side == "input"
        return read and bool(self.operations), read and len(set(self._shapes)) > 1

    @property
    def _header(self) -> int:
        operation, shape = self._with_header
        return operation + 2 * shape

    def _headers(self, tasks: NDArray[np.int64], shapes: NDArray[Any]) -> NDArray[np.int64]:
        """The ids before the entries of matrices of these tasks and shapes, (B, header)."""
        with_operation, with_shape = self._with_header
        ids = np.column_stack([self._openings[tasks], self.mark + len(self.operations) + shapes])
        return ids[:, [with_operation, with_shape, with_shape]]

    @property
    def _openings(self) -> NDArray[np.int64]:
        """The id of each task's operation, (K,), or the mark if there is only one operation."""
        return self.mark + np.array(
            [self.headers.index(task.operation) if self.operations else 0 for task in self.tasks]
        )


def encode(
    samples: Samples, operations: Sequence[str], read: Tokens, write: Tokens
) -> tuple[Ids, Ids, NDArray[np.int64]]:
    """Input ids (B, L, slots), target ids (B, T, slots) and tasks (B,) of a stream's samples."""
    tasks = tasks_of_samples(samples, operations, read.tasks)
    return read.encode(flat(samples.input), tasks), write.encode(flat(samples.target), tasks), tasks


def _blocks(task: Task, side: Side, rows: int, cols: int) -> NDArray[np.int64]:
    """The place of each entry of a matrix, (rows·cols, 3): the number of its operand, or in an answer of its
    part, counted from 1, and its row and column there."""
    row, col = np.divmod(np.arange(rows * cols), cols)
    if side == "input":
        starts = np.cumsum([0, *(operand.cols for operand in task.definition.operands(task.m, task.n))])
        block = np.searchsorted(starts, col, side="right")
        col = col - starts[block - 1]
    else:
        starts = np.cumsum([0, *(part.rows for part in task.definition.parts(task.m, task.n))])
        block = np.searchsorted(starts, row, side="right")
        row = row - starts[block - 1]
    return np.stack([block, row, col], axis=1)


def _count_within(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, … sizes[0]−1, 0, 1, … sizes[1]−1, and so on."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
