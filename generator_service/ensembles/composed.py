"""Structured ensembles that are made of matrices of another structure, their base."""

from collections.abc import Callable

import numpy as np

from matstream.generator_service.ensembles.structure import (
    Floats,
    Scale,
    Structure,
    draw_low_rank,
    low_rank_of,
)
from matstream.shared.structures import sizes_of_parts


def low_rank(base: Structure) -> Structure:
    """UVᵀ/√r + D (V = U if symmetric): U (m×r), V (n×r) drawn at scale √s, D of the base at scale s, diagonal
    if none is named; the rank r drawn per sample from 1 to max(1, min(m, n)//2). (A spiked model: Johnstone,
    Ann. Stat. 29, 2001.)"""

    def sizes(m: int, n: int, symmetric: bool) -> list[int]:
        return [m] if symmetric else [m, n]

    def words(m: int, n: int, symmetric: bool) -> int:
        factors = low_rank_of(min(m, n)) * sum(sizes(m, n, symmetric))
        return 1 + factors + base.words(m, n, symmetric)

    def draw(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
        stop = uniforms.shape[1] - base.words(m, n, symmetric)
        of = sizes(m, n, symmetric)
        matrices, _ = draw_low_rank(law, scale, of, low_rank_of(min(m, n)), uniforms[:, :stop])
        matrices += base.draw(law, scale, m, n, symmetric, uniforms[:, stop:])
        return (matrices + matrices.swapaxes(1, 2)) / 2 if symmetric else matrices

    return Structure(words, draw)


def _of_parts(
    name: str, base: Structure, join: Callable[[list[Floats], int, int], Floats], root: bool = False
) -> Structure:
    """Matrices that `join` makes of matrices of the base, whose sizes are those of the parts of `name`, at
    scale s, or √s with `root`."""

    def shapes(m: int, n: int) -> list[tuple[int, int]]:
        return list(zip(sizes_of_parts(name, m), sizes_of_parts(name, n), strict=False))

    def words(m: int, n: int, symmetric: bool) -> int:
        return sum(base.words(*shape, symmetric) for shape in shapes(m, n))

    def draw(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
        ends = np.cumsum([base.words(*shape, symmetric) for shape in shapes(m, n)])[:-1]
        of = np.sqrt(scale) if root else scale
        parts = zip(shapes(m, n), np.split(uniforms, ends, axis=1), strict=True)
        return join([base.draw(law, of, *shape, symmetric, part) for shape, part in parts], m, n)

    return Structure(words, draw)


def kronecker(base: Structure) -> Structure:
    """B⊗C, with B (p×q) and C (m/p × n/q) of the base at scale √s, symmetric if the product must be; p and q
    are the largest divisors up to √m and √n. (Van Loan, *The ubiquitous Kronecker product*, 2000.)"""

    def join(parts: list[Floats], m: int, n: int) -> Floats:
        left, right = parts
        product: Floats = (left[:, :, None, :, None] * right[:, None, :, None, :]).reshape(-1, m, n)
        return product

    return _of_parts("kronecker", base, join, root=True)


def kronecker_sum(base: Structure) -> Structure:
    """B⊗I + I⊗C, with B (p×p) and C (n/p × n/p) of the base; p is the largest divisor up to √n. (Horn &
    Johnson, *Topics in Matrix Analysis*, section 4.4.)"""

    def join(parts: list[Floats], m: int, n: int) -> Floats:
        left, right = parts
        i, j = np.eye(left.shape[1]), np.eye(right.shape[1])
        first = left[:, :, None, :, None] * j[:, None, :]
        second = i[:, None, :, None] * right[:, None, :, None, :]
        total: Floats = (first + second).reshape(-1, m, n) + 0.0  # no −0
        return total

    return _of_parts("kronecker_sum", base, join)


def block_diagonal(base: Structure) -> Structure:
    """Two blocks of the base on the diagonal, of half the rows and columns each, the first the larger one if
    there is an odd one, and zeros. (With compositions of it: Potapczynski et al., *CoLA*, arXiv
    2309.03060.)"""

    def join(parts: list[Floats], m: int, n: int) -> Floats:
        matrices = np.zeros((len(parts[0]), m, n))
        rows, cols = parts[0].shape[1:]
        matrices[:, :rows, :cols] = parts[0]
        if len(parts) == 2:
            matrices[:, rows:, cols:] = parts[1]
        return matrices

    return _of_parts("block_diagonal", base, join)
