"""What a structure is, and what several are made of.

Matrices are (B, m, n), of scale s, drawn from uniforms (B, words). `law` is the law of the free coefficients;
`scale` is a number or (B, 1).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matstream.generator_service.ensembles.coefficients import choose, coefficients

Floats = NDArray[np.float64]
Scale = float | Floats


@dataclass(frozen=True)
class Structure:
    """How many uniforms a matrix takes, and how it is made of them."""

    words: Callable[[int, int, bool], int]  # (m, n, symmetric)
    draw: Callable[[str, Scale, int, int, bool, Floats], Floats]  # (law, scale, m, n, symmetric, uniforms)


def draw_low_rank(
    law: str, scale: Scale, sizes: list[int], most: int, uniforms: Floats
) -> tuple[Floats, NDArray[np.int64]]:
    """UVᵀ/√r and the rank r (B,), drawn from 1 to `most`: U and V, which is U if one size is given, have
    `sizes` rows and r columns, drawn at scale √s."""
    rank = choose(uniforms[:, 0], 1, most)
    used = (np.arange(most) < rank[:, None])[:, None]
    drawn = coefficients(law, np.sqrt(scale), uniforms[:, 1:])
    ends = np.cumsum([size * most for size in sizes])[:-1]
    parts = np.split(drawn, ends, axis=1)
    factors = [part.reshape(-1, size, most) * used for part, size in zip(parts, sizes, strict=True)]
    return factors[0] @ factors[-1].swapaxes(1, 2) / np.sqrt(rank)[:, None, None], rank


def low_rank_of(k: int) -> int:
    """The largest rank of a matrix that is said to be of low rank."""
    return max(1, k // 2)
