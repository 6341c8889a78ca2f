"""Numbers to token ids and back, as *Linear algebra with transformers* writes them.

The functions are array-API code: NumPy arrays and torch tensors, on any device, give the same ids.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import array_api_compat
import numpy as np

from shared.errors import UserError

Array = Any  # a NumPy array or a torch tensor

MIN_EXPONENT, MAX_EXPONENT = -100, 100
SMALLEST = 1e-98  # smaller magnitudes are written as zero

# Literals, not pow(): torch and NumPy differ in the last bit of some powers of ten.
_POWERS = np.array([float(f"1e{k}") for k in range(-110, 111)])
_POWER_OF_0 = 110  # _POWERS[_POWER_OF_0 + k] == 10**k


class EncodingError(UserError, ValueError):
    """A value that an encoding cannot write."""


@dataclass(frozen=True)
class Encoding:
    """A way to write a number in a fixed count of words.

    `slots[s]` is the half-open range of ids that may stand in slot s; ids index `vocabulary`.
    """

    name: str
    digits: int
    vocabulary: tuple[str, ...]
    slots: tuple[tuple[int, int], ...]
    _encode: Callable[[Any, Array], Array]
    _decode: Callable[[Any, Array], Array]

    @property
    def words_per_number(self) -> int:
        return len(self.slots)

    def encode(self, values: Array) -> Array:
        """Write float64 `values` (...) as int64 ids (..., words_per_number).

        Magnitudes below 1e-98 are written as zero. Raises EncodingError, a ValueError, for a value that is
        not finite or too large to write.
        """
        values = _as_array(values)
        xp = array_api_compat.array_namespace(values)
        return self._encode(xp, xp.astype(values, xp.float64))

    def decode(self, ids: Array) -> Array:
        """Read ids (..., words_per_number) as float64 values (...), NaN where the words are no number."""
        ids = _as_array(ids)
        if ids.shape[-1] != self.words_per_number:
            raise ValueError(f"ids of shape {tuple(ids.shape)}: must be (..., {self.words_per_number})")
        return self._decode(array_api_compat.array_namespace(ids), ids)

    def round(self, values: Array) -> Array:
        """The values as a reader of their words knows them."""
        return self.decode(self.encode(values))


def by_name(name: str, digits: int = 3) -> Encoding:
    """The encoding called `name`, one of ENCODINGS, with `digits` significant digits (2 to 9)."""
    if name not in ENCODINGS:
        raise ValueError(f"encoding {name!r}: must be one of {', '.join(ENCODINGS)}")
    if isinstance(digits, bool) or not isinstance(digits, int) or not 2 <= digits <= 9:
        raise ValueError(f"digits={digits!r}: must be a whole number from 2 to 9")
    return ENCODINGS[name](name, digits)


def matrix_words(encoding: Encoding, matrix: Array) -> list[str]:
    """The words of a matrix (m, n): its dimensions, then its entries row by row, empty words left out."""
    rows, cols = matrix.shape
    words = [encoding.vocabulary[i] for i in encoding.encode(matrix).reshape(-1)]
    return [f"V{rows}", f"V{cols}", *filter(None, words)]


@lru_cache
def _positional(base_digits: int, name: str, digits: int) -> Encoding:
    """Sign, mantissa in words of `base_digits` digits, exponent: P10 and P1000."""
    base = 10**base_digits
    mantissa_words = -(-digits // base_digits)
    vocabulary = (
        *("+", "-"),
        "",
        *map(str, range(base)),
        *(f"E{e}" for e in range(MIN_EXPONENT, MAX_EXPONENT + 1)),
    )
    sign, mantissa, exponent = (0, 2), (2, 3 + base), (3 + base, len(vocabulary))
    return Encoding(
        name,
        digits,
        vocabulary,
        (sign, *[mantissa] * mantissa_words, exponent),
        partial(_encode_positional, digits, base, mantissa_words),
        partial(_decode_positional, base, mantissa_words),
    )


def _encode_positional(digits: int, base: int, words: int, xp: Any, values: Array) -> Array:
    mantissa, exponent = _significand(xp, values, digits)
    sign = xp.astype((values < 0) & (mantissa > 0), xp.int64)
    ids = [sign]
    for power in range(words - 1, -1, -1):
        above = mantissa // base**power
        word = above % base + 3
        # unused leading slots hold the empty word; the last slot always holds a number
        ids.append(word if power == 0 else xp.where(above > 0, word, xp.full_like(word, 2)))
    ids.append(exponent - MIN_EXPONENT + 3 + base)
    return xp.stack(ids, axis=-1)


def _decode_positional(base: int, words: int, xp: Any, ids: Array) -> Array:
    sign, exponent = ids[..., 0], ids[..., -1] - (3 + base) + MIN_EXPONENT
    valid = (sign >= 0) & (sign <= 1) & (exponent >= MIN_EXPONENT) & (exponent <= MAX_EXPONENT)
    mantissa, begun = xp.zeros_like(sign), xp.zeros_like(valid)
    for slot in range(1, words + 1):
        word = ids[..., slot] - 3
        empty = (word == -1) & ~begun if slot < words else xp.zeros_like(valid)
        begun |= word >= 0
        valid &= ((word >= 0) & (word < base)) | empty
        mantissa = mantissa * base + xp.where(empty, xp.zeros_like(word), word)
    power = _take_power(xp, xp.clip(exponent, MIN_EXPONENT, MAX_EXPONENT))
    value = xp.astype(mantissa * (1 - 2 * sign), xp.float64) * power
    return xp.where(valid, value, xp.full_like(value, float("nan")))


def _significand(xp: Any, values: Array, digits: int) -> tuple[Array, Array]:
    """Round to m·10^e with int64 m of `digits` digits (fewer where e is the least), or m = e = 0."""
    magnitude = xp.abs(values)
    finite = xp.isfinite(magnitude)
    if not bool(xp.all(finite)):
        raise EncodingError(f"cannot write {float(values[~finite][0])}: must be finite")
    written = magnitude >= SMALLEST
    magnitude = xp.where(written, magnitude, xp.ones_like(magnitude))
    # decimal exponent of the leading digit, settled by comparison with literal powers of ten
    leading = xp.searchsorted(_powers(xp, magnitude), magnitude, side="right") - 1 - _POWER_OF_0
    # at the lower end of the exponents the mantissa loses digits
    exponent = xp.clip(xp.astype(leading, xp.int64) - (digits - 1), MIN_EXPONENT, None)
    scaled = xp.where(
        exponent > 0,
        magnitude / _take_power(xp, xp.clip(exponent, 0, 110)),
        magnitude * _take_power(xp, xp.clip(-exponent, 0, 110)),
    )
    mantissa = xp.astype(xp.round(xp.clip(scaled, 0, 10.0**digits)), xp.int64)
    carried = mantissa == 10**digits
    mantissa = xp.where(carried, mantissa // 10, mantissa)
    exponent = xp.where(carried, exponent + 1, exponent)
    too_large = exponent > MAX_EXPONENT
    if bool(xp.any(too_large)):
        most = 10.0 ** (MAX_EXPONENT + digits)
        raise EncodingError(
            f"cannot write {float(values[too_large][0]):g}: must be of magnitude under {most:g}"
        )
    zero = xp.zeros_like(mantissa)
    return xp.where(written, mantissa, zero), xp.where(written, exponent, zero)


def _powers(xp: Any, like: Array) -> Array:
    return xp.asarray(_POWERS, device=array_api_compat.device(like))


def _take_power(xp: Any, exponent: Array) -> Array:
    flat = xp.reshape(exponent + _POWER_OF_0, (-1,))
    return xp.reshape(xp.take(_powers(xp, exponent), flat, axis=0), exponent.shape)


def _as_array(values: Any) -> Array:
    return values if array_api_compat.is_array_api_obj(values) else np.asarray(values)


ENCODINGS: dict[str, Callable[[str, int], Encoding]] = {
    "P1000": partial(_positional, 3),
}
