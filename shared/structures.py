"""What is known of each structure that comes with matstream, whoever draws its matrices.

A structure is named by a word, like "toeplitz"; by "condition-κ"; or, where it is made of others, by both,
like "block_diagonal:toeplitz", a block-diagonal matrix with Toeplitz blocks. The one after the colon is its
base.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

CONDITION = "condition-"


@dataclass(frozen=True)
class Rules:
    """Which matrices a structure has."""

    square: bool = False  # square ones only
    symmetric: bool = True  # also symmetric ones
    positive: bool = False  # its symmetric matrices have no eigenvalue below 0
    singular: bool = False  # its matrices have no inverse
    base: bool = False  # it is made of matrices of another structure, which may be named
    divided: bool = False  # its dimensions must have divisors
    whole: bool = False  # its entries are whole numbers
    rooted: bool = False  # the coefficients of its factors, or of its parts, have the root of the scale
    zeros: bool = False  # some entries of its matrices are 0, whatever the law of the coefficients
    regular: bool = False  # coefficients that are 0 do not make its matrices singular


_RULES = {
    "banded": Rules(zeros=True),
    "block_diagonal": Rules(base=True, zeros=True),
    "chosen_rank": Rules(singular=True, whole=True, regular=True, zeros=True),
    "circulant": Rules(square=True),
    "covariance": Rules(square=True, positive=True, rooted=True, regular=True),
    "kronecker": Rules(base=True, divided=True, rooted=True),
    "kronecker_sum": Rules(square=True, base=True, divided=True, zeros=True),
    "laplacian": Rules(square=True, positive=True, singular=True, zeros=True),
    "linear_model": Rules(symmetric=False, singular=True),
    "low_rank": Rules(base=True, rooted=True),
    "masked": Rules(symmetric=False, singular=True, zeros=True),
    "none": Rules(),
    "nonnegative": Rules(),
    "orthogonal": Rules(symmetric=False, regular=True),
    "toeplitz": Rules(),
    "whole_numbers": Rules(whole=True, regular=True, zeros=True),
}
_CONDITIONED = Rules(positive=True, regular=True)

STRUCTURES = tuple(_RULES)
COMPOSED = tuple(name for name, rules in _RULES.items() if rules.base)
BASES = tuple(name for name in _RULES if name not in ("none", "linear_model", "masked"))
MAX_DEPTH = 3  # the most structures that a name is made of


def parts(structure: str) -> list[str]:
    """The structures that a name is made of, the outermost first."""
    return structure.split(":")


def condition_number(structure: str) -> float | None:
    """The κ of a structure "condition-κ", None for any other."""
    return float(structure.removeprefix(CONDITION)) if structure.startswith(CONDITION) else None


def rules(structure: str) -> Rules:
    """The rules of a structure, the same as of entries drawn freely for one that is not built in. One that
    has a base takes on what its base cannot do."""
    first, *base = structure.split(":", 1)
    own = _CONDITIONED if condition_number(first) is not None else _RULES.get(first, Rules())
    if not base:
        return own
    inner = rules(base[0])
    return Rules(
        square=own.square or inner.square,
        symmetric=inner.symmetric,
        positive=inner.positive,
        singular=inner.singular,
        divided=own.divided or inner.divided,
        whole=inner.whole,
        zeros=own.zeros or (inner.zeros and first != "low_rank"),  # to which a matrix without zeros is added
        regular=inner.regular,
    )


def least_integers(structure: str) -> int | None:
    """The smallest scale at which a structure that is made of others may have integers coefficients, where
    its matrices must be invertible: its parts are so by chance, and all of them only if few coefficients are
    0, at most every seventh. None if any scale will do."""
    names = parts(structure)
    if names[0] not in COMPOSED or rules(structure).regular:
        return None
    return int(3**2 ** sum(rules(name).rooted for name in names))


def sizes_of_parts(structure: str, size: int) -> tuple[int, ...]:
    """The numbers of rows, or of columns, that the parts of a composed matrix have if it has `size` of
    them."""
    if _RULES[structure].divided:
        return largest_divisor(size), size // largest_divisor(size)
    if structure == "block_diagonal":
        return tuple(part for part in (size - size // 2, size // 2) if part)
    return (size,)


def prime_within(structure: str, size: int) -> int | None:
    """A prime that this number of rows or columns comes to where it must have divisors, None if there is
    none."""
    first, *base = structure.split(":", 1)
    if first in COMPOSED and _RULES[first].divided and size > 1 and largest_divisor(size) == 1:
        return size
    found = [prime_within(base[0], part) for part in sizes_of_parts(first, size)] if base else []
    return next((prime for prime in found if prime is not None), None)


@lru_cache(maxsize=8192)
def largest_divisor(number: int) -> int:
    """The largest divisor of a number up to its root."""
    return next(p for p in range(math.isqrt(number), 0, -1) if number % p == 0)
