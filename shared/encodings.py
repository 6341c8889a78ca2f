"""Numbers to token ids and back.

P10, P1000, B1999 and FP15 are those of *Linear algebra with transformers* (arXiv 2112.01898); they round
numbers to some significant digits. Z10 and Z1000 write whole numbers exactly, with all their digits. A word
is a token of an encoding, and its id is its place in the encoding's vocabulary. The functions are array-API
code: NumPy arrays and torch tensors, on any device, give the same ids.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import array_api_compat
import numpy as np

from matstream.shared.arrays import refuse_masked
from matstream.shared.errors import UserError

Array = Any  # a NumPy array or a torch tensor

MIN_EXPONENT, MAX_EXPONENT = -100, 100
SMALLEST = 1e-98  # smaller magnitudes are written as zero

# Literals, not pow(): torch and NumPy differ in the last bit of some powers of ten.
POWERS = np.array([float(f"1e{k}") for k in range(-110, 111)])
_POWER_OF_0 = 110  # POWERS[_POWER_OF_0 + k] == 10**k


class EncodingError(UserError, ValueError):
    """A value that an encoding cannot write."""


@dataclass(frozen=True)
class Encoding:
    """A way to write a number in a fixed count of words.

    `slots[s]` is the half-open range of ids that may stand in slot s; ids index `vocabulary`. Magnitudes from
    `smallest` to `largest` are written with all `digits` digits (near `smallest`, with no more than 3).
    """

    name: str
    digits: int
    vocabulary: tuple[str, ...]
    slots: tuple[tuple[int, int], ...]
    largest: float
    smallest: float
    _encode: Callable[[Any, Array], Array]
    _decode: Callable[[Any, Array, Array], Array]
    exact: bool = False  # whether it writes whole numbers only, all of whose digits count

    @property
    def words_per_number(self) -> int:
        return len(self.slots)

    @property
    def empty(self) -> int | None:
        """The id of the empty word, which fills unused slots; None if every slot is always used."""
        return self.vocabulary.index("") if "" in self.vocabulary else None

    def encode(self, values: Array) -> Array:
        """Write float64 `values` (...) as int64 ids (..., words_per_number).

        Magnitudes below 1e-98 (FP15: 5e-10) are written as zero. Raises EncodingError, a ValueError, for a
        value that is not finite, or too large to write (FP15 writes NaN or -NaN instead, read as ±1e9), and
        with Z10 and Z1000 for one that is not whole.
        """
        values = _as_array(values)
        xp = array_api_compat.array_namespace(values)
        return self._encode(xp, xp.astype(values, xp.float64))

    def decode(self, ids: Array, powers: Array | None = None) -> Array:
        """Read ids (..., words_per_number) as float64 values (...), NaN where the words form no number.

        `powers` is POWERS on the ids' device, if it is kept there: otherwise it is copied there, and a
        program that copies waits for its GPU.
        """
        ids = _as_array(ids)
        if ids.shape[-1] != self.words_per_number:
            raise ValueError(f"ids of shape {tuple(ids.shape)}: must be (..., {self.words_per_number})")
        xp = array_api_compat.array_namespace(ids)
        return self._decode(xp, ids, _powers(xp, ids) if powers is None else powers)

    def round(self, values: Array) -> Array:
        """The values as they are read back from their words."""
        return self.decode(self.encode(values))


def by_name(name: str, digits: int | None = None) -> Encoding:
    """The encoding called `name`, one of ENCODINGS, with `digits` digits: significant ones, 2 to 9 for P10
    and P1000, 2 to 5 for B1999, 3 for FP15; or all of a whole number, 1 to 15 for Z10 and Z1000. If not
    given, these are 3, or 6 of a whole number."""
    if name not in ENCODINGS:
        raise ValueError(f"encoding {name!r}: must be one of {', '.join(ENCODINGS)}")
    make, allowed = ENCODINGS[name]
    if digits is None:
        digits = 6 if name.startswith("Z") else 3
    if isinstance(digits, bool) or not isinstance(digits, int) or digits not in allowed:
        least, most = allowed[0], allowed[-1]
        must = f"a whole number from {least} to {most}" if least < most else str(least)
        raise ValueError(f"digits={digits!r}: must be {must} for {name}")
    return make(name, digits)


def matrix_words(encoding: Encoding, matrix: Array) -> list[str]:
    """The words of a matrix (m, n): its dimensions, then its entries row by row, empty words left out."""
    rows, cols = matrix.shape
    words = [encoding.vocabulary[i] for i in encoding.encode(matrix).reshape(-1)]
    return [f"V{rows}", f"V{cols}", *filter(None, words)]


@lru_cache
def _positional(base_digits: int, name: str, digits: int) -> Encoding:
    """P10 and P1000: a sign, a mantissa in words of `base_digits` digits, and an exponent."""
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
        _largest(digits),
        SMALLEST,
        partial(_encode_positional, digits, base, mantissa_words),
        partial(_decode_positional, base, mantissa_words),
    )


def _encode_positional(digits: int, base: int, words: int, xp: Any, values: Array) -> Array:
    mantissa, exponent = _significand(xp, values, digits, MIN_EXPONENT, SMALLEST)
    _check_exponent(xp, values, exponent, digits)
    sign = xp.astype((values < 0) & (mantissa > 0), xp.int64)
    ids = [sign]
    for power in range(words - 1, -1, -1):
        above = mantissa // base**power
        word = above % base + 3
        # unused leading slots hold the empty word; the last slot always holds a number
        ids.append(word if power == 0 else xp.where(above > 0, word, xp.full_like(word, 2)))
    ids.append(exponent - MIN_EXPONENT + 3 + base)
    return xp.stack(ids, axis=-1)


def _decode_positional(base: int, words: int, xp: Any, ids: Array, powers: Array) -> Array:
    sign, exponent = ids[..., 0], ids[..., -1] - (3 + base) + MIN_EXPONENT
    valid = (sign >= 0) & (sign <= 1) & (exponent >= MIN_EXPONENT) & (exponent <= MAX_EXPONENT)
    mantissa, begun = xp.zeros_like(sign), xp.zeros_like(valid)
    for slot in range(1, words + 1):
        word = ids[..., slot] - 3
        empty = (word == -1) & ~begun if slot < words else xp.zeros_like(valid)
        begun |= word >= 0
        valid &= ((word >= 0) & (word < base)) | empty
        mantissa = mantissa * base + xp.where(empty, xp.zeros_like(word), word)
    power = _take_power(xp, powers, xp.clip(exponent, MIN_EXPONENT, MAX_EXPONENT))
    value = xp.astype(mantissa * (1 - 2 * sign), xp.float64) * power
    return xp.where(valid, value, xp.full_like(value, float("nan")))


@lru_cache
def _balanced(name: str, digits: int) -> Encoding:
    """B1999: a signed mantissa and an exponent."""
    most = 10**digits - 1
    vocabulary = (
        *(f"N{m}" for m in range(-most, most + 1)),
        *(f"E{e}" for e in range(MIN_EXPONENT, MAX_EXPONENT + 1)),
    )
    mantissa, exponent = (0, 2 * most + 1), (2 * most + 1, len(vocabulary))
    return Encoding(
        name,
        digits,
        vocabulary,
        (mantissa, exponent),
        _largest(digits),
        SMALLEST,
        partial(_encode_balanced, digits, most),
        partial(_decode_balanced, most),
    )


def _encode_balanced(digits: int, most: int, xp: Any, values: Array) -> Array:
    mantissa, exponent = _significand(xp, values, digits, MIN_EXPONENT, SMALLEST)
    _check_exponent(xp, values, exponent, digits)
    signed = xp.where(values < 0, -mantissa, mantissa)
    return xp.stack([signed + most, exponent - MIN_EXPONENT + 2 * most + 1], axis=-1)


def _decode_balanced(most: int, xp: Any, ids: Array, powers: Array) -> Array:
    mantissa, exponent = ids[..., 0] - most, ids[..., 1] - (2 * most + 1) + MIN_EXPONENT
    valid = (xp.abs(mantissa) <= most) & (exponent >= MIN_EXPONENT) & (exponent <= MAX_EXPONENT)
    power = _take_power(xp, powers, xp.clip(exponent, MIN_EXPONENT, MAX_EXPONENT))
    value = xp.astype(mantissa, xp.float64) * power
    return xp.where(valid, value, xp.full_like(value, float("nan")))


@lru_cache
def _whole(base_digits: int, lowest_first: bool, name: str, digits: int) -> Encoding:
    """Z10 and Z1000: a sign, and always as many words of `base_digits` digits as `digits` takes."""
    base = 10**base_digits
    count = -(-digits // base_digits)
    vocabulary = ("+", "-", *map(str, range(base)))
    powers = tuple(base**power for power in range(count))
    order = powers if lowest_first else powers[::-1]
    return Encoding(
        name,
        digits,
        vocabulary,
        ((0, 2), *[(2, 2 + base)] * count),
        float(10**digits - 1),
        1.0,
        partial(_encode_whole, digits, base, order),
        partial(_decode_whole, base, order),
        exact=True,
    )


def _encode_whole(digits: int, base: int, order: tuple[int, ...], xp: Any, values: Array) -> Array:
    magnitude = xp.abs(values)
    wrong = ~((magnitude < 10.0**digits) & (xp.round(magnitude) == magnitude))
    if bool(xp.any(wrong)):
        must = f"a whole number of at most {digits} digits"
        raise EncodingError(f"cannot write {float(values[wrong][0]):g}: must be {must}")
    number = xp.astype(magnitude, xp.int64)
    sign = xp.astype(values < 0, xp.int64)
    return xp.stack([sign, *(number // power % base + 2 for power in order)], axis=-1)


def _decode_whole(base: int, order: tuple[int, ...], xp: Any, ids: Array, powers: Array) -> Array:
    sign = ids[..., 0]
    valid = (sign >= 0) & (sign <= 1)
    number = xp.zeros_like(sign)
    for slot, power in enumerate(order, 1):
        word = ids[..., slot] - 2
        valid &= (word >= 0) & (word < base)
        number = number + word * power
    value = xp.astype(number * (1 - 2 * sign), xp.float64)
    return xp.where(valid, value, xp.full_like(value, float("nan")))


# The words of FP15: m·10^0 for each m from -999 to 999; then, for each e from 1 to 15, m·10^e for each m of
# three digits, the negative ones first.
_FLOAT_EXPONENTS = range(16)
_FLOAT_UNIT = -9  # the power of ten that e = 0 stands for
_FLOAT_NAN = 1999 + 15 * 1800


@lru_cache
def _floating(name: str, digits: int) -> Encoding:
    """FP15: a signed mantissa and an exponent in one word."""
    three_digits = [*range(-999, -99), *range(100, 1000)]
    vocabulary = (
        *(f"N{m}e0" for m in range(-999, 1000)),
        *(f"N{m}e{e}" for e in _FLOAT_EXPONENTS[1:] for m in three_digits),
        *("NaN", "-NaN"),
    )
    slots = ((0, len(vocabulary)),)
    return Encoding(name, digits, vocabulary, slots, 9.99e8, 1e-7, _encode_floating, _decode_floating)


def _encode_floating(xp: Any, values: Array) -> Array:
    mantissa, exponent = _significand(xp, values, 3, _FLOAT_UNIT, 0.5 * 10.0**_FLOAT_UNIT)
    e = xp.where(mantissa > 0, exponent - _FLOAT_UNIT, xp.zeros_like(exponent))
    negative = values < 0
    of_three_digits = xp.where(negative, 999 - mantissa, mantissa + 800)
    ids = xp.where(
        e == 0,
        xp.where(negative, 999 - mantissa, mantissa + 999),
        1999 + (e - 1) * 1800 + of_three_digits,
    )
    too_large = xp.astype(negative, xp.int64) + _FLOAT_NAN
    return xp.where(e > _FLOAT_EXPONENTS[-1], too_large, ids)[..., None]


def _decode_floating(xp: Any, ids: Array, powers: Array) -> Array:
    word = ids[..., 0]
    above = xp.clip(word - 1999, 0, _FLOAT_NAN - 2000)
    e, place = above // 1800 + 1, above % 1800
    of_three_digits = place - xp.where(place < 900, xp.full_like(place, 999), xp.full_like(place, 800))
    is_short = word < 1999
    mantissa = xp.where(is_short, word - 999, of_three_digits)
    power = _take_power(xp, powers, xp.where(is_short, xp.zeros_like(e), e))
    value = xp.astype(mantissa, xp.float64) * power / 1e9
    infinite = xp.where(word == _FLOAT_NAN, xp.full_like(value, 1e9), xp.full_like(value, -1e9))
    value = xp.where(word >= _FLOAT_NAN, infinite, value)
    return xp.where((word >= 0) & (word < _FLOAT_NAN + 2), value, xp.full_like(value, float("nan")))


def _significand(xp: Any, values: Array, digits: int, least: int, smallest: float) -> tuple[Array, Array]:
    """Round each value to m·10^e, and return m and e as int64. m has `digits` digits, or fewer where e is at
    its lower limit `least`; m = e = 0 where the magnitude is below `smallest`."""
    magnitude = xp.abs(values)
    finite = xp.isfinite(magnitude)
    if not bool(xp.all(finite)):
        raise EncodingError(f"cannot write {float(values[~finite][0])}: must be finite")
    written = magnitude >= smallest
    magnitude = xp.where(written, magnitude, xp.ones_like(magnitude))
    # the decimal exponent of the leading digit, found by comparison with literal powers of ten
    powers = _powers(xp, magnitude)
    leading = xp.searchsorted(powers, magnitude, side="right") - 1 - _POWER_OF_0
    # at the lower end of the exponents the mantissa loses digits
    exponent = xp.clip(xp.astype(leading, xp.int64) - (digits - 1), least, None)
    scaled = xp.where(
        exponent > 0,
        magnitude / _take_power(xp, powers, xp.clip(exponent, 0, 110)),
        magnitude * _take_power(xp, powers, xp.clip(-exponent, 0, 110)),
    )
    mantissa = xp.astype(xp.round(xp.clip(scaled, 0, 10.0**digits)), xp.int64)
    carried = mantissa == 10**digits
    mantissa = xp.where(carried, mantissa // 10, mantissa)
    exponent = xp.where(carried, exponent + 1, exponent)
    zero = xp.zeros_like(mantissa)
    return xp.where(written, mantissa, zero), xp.where(written, exponent, zero)


def _check_exponent(xp: Any, values: Array, exponent: Array, digits: int) -> None:
    too_large = exponent > MAX_EXPONENT
    if bool(xp.any(too_large)):
        most = 10.0 ** (MAX_EXPONENT + digits)
        raise EncodingError(
            f"cannot write {float(values[too_large][0]):g}: must be of magnitude under {most:g}"
        )


def _largest(digits: int) -> float:
    return float(f"{10**digits - 1}e{MAX_EXPONENT}")


def _powers(xp: Any, like: Array) -> Array:
    return xp.asarray(POWERS, device=array_api_compat.device(like))


def _take_power(xp: Any, powers: Array, exponent: Array) -> Array:
    flat = xp.reshape(exponent + _POWER_OF_0, (-1,))
    return xp.reshape(xp.take(powers, flat, axis=0), exponent.shape)


def _as_array(values: Any) -> Array:
    refuse_masked(values, "values")
    return values if array_api_compat.is_array_api_obj(values) else np.asarray(values)


# name -> a function (name, digits) that makes the encoding, and the numbers of digits it may have
ENCODINGS: dict[str, tuple[Callable[[str, int], Encoding], range]] = {
    "P10": (partial(_positional, 1), range(2, 10)),
    "P1000": (partial(_positional, 3), range(2, 10)),
    "B1999": (_balanced, range(2, 6)),
    "FP15": (_floating, range(3, 4)),
    "Z10": (partial(_whole, 1, False), range(1, 16)),
    "Z10_lowest_first": (partial(_whole, 1, True), range(1, 16)),
    "Z1000": (partial(_whole, 3, False), range(1, 16)),
    "Z1000_lowest_first": (partial(_whole, 3, True), range(1, 16)),
}
