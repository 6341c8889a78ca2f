"""Structured ensembles: random matrices of which only some entries, or only some factors, are free.

Each function draws matrices (B, m, n) of scale s from uniforms (B, words), where `words` is the number of
uniforms that a matrix takes; for symmetric operations, where m = n, the matrices are symmetric. `law` is the
law of the free coefficients; `scale` is a number or (B, 1).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from matstream.generator_service.ensembles.coefficients import choose, coefficients, normal
from matstream.generator_service.ensembles.spectra import mirrored
from matstream.shared.spec import StreamSpec, condition_number

Floats = NDArray[np.float64]
Scale = float | Floats


@dataclass(frozen=True)
class Structure:
    """How many uniforms a matrix takes, and how it is made of them."""

    words: Callable[[int, int, bool], int]  # (m, n, symmetric)
    draw: Callable[[str, Scale, int, int, bool, Floats], Floats]  # (law, scale, m, n, symmetric, uniforms)


def _toeplitz(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """A_ij = t_{i−j}, the t free; t_{−k} = t_k if symmetric. (Gray, *Toeplitz and Circulant Matrices*.)"""
    t = coefficients(law, scale, uniforms)
    offsets = np.subtract.outer(np.arange(m), np.arange(n))
    return _gather(t, np.abs(offsets) if symmetric else offsets + n - 1)


def _circulant(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """A_ij = c_{(i−j) mod n}, the c free; c_{n−k} = c_k if symmetric. (Davis, *Circulant Matrices*, 1979.)"""
    c = coefficients(law, scale, uniforms)
    offsets = np.subtract.outer(np.arange(n), np.arange(n)) % n
    return _gather(c, np.minimum(offsets, n - offsets) if symmetric else offsets)


def _banded(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """A_ij free where |i−j| ≤ b, else 0; the half-width b drawn per sample from 1 to max(1, max(m, n)//2).
    (Golub & Van Loan, *Matrix Computations*, section 1.2.)"""
    width = choose(uniforms[:, 0], 1, max(1, max(m, n) // 2))
    entries = coefficients(law, scale, uniforms[:, 1:])
    matrices = mirrored(entries, n) if symmetric else entries.reshape(-1, m, n)
    offsets = np.abs(np.subtract.outer(np.arange(m), np.arange(n)))
    return np.where(offsets <= width[:, None, None], matrices, 0.0)


def _low_rank(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """UVᵀ/√r + D (V = U if symmetric): U (m×r), V (n×r) drawn at scale √s, D diagonal at scale s, the rank r
    drawn per sample from 1 to max(1, min(m, n)//2). (A spiked model: Johnstone, Ann. Stat. 29, 2001.)"""
    k = min(m, n)
    most = max(1, k // 2)
    rank = choose(uniforms[:, 0], 1, most)
    free = np.arange(most) < rank[:, None]  # (B, most): columns of U and V that are in use
    factors = coefficients(law, np.sqrt(scale), uniforms[:, 1 : uniforms.shape[1] - k])
    u = factors[:, : m * most].reshape(-1, m, most) * free[:, None]
    v = u if symmetric else factors[:, m * most :].reshape(-1, n, most)
    matrices = u @ v.swapaxes(1, 2) / np.sqrt(rank)[:, None, None]
    matrices[:, np.arange(k), np.arange(k)] += coefficients(law, scale, uniforms[:, uniforms.shape[1] - k :])
    return (matrices + matrices.swapaxes(1, 2)) / 2 if symmetric else matrices


def _kronecker(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """B⊗C, with B (p×q) and C (m/p × n/q) drawn at scale √s, symmetric if the product must be; p and q are
    the largest divisors up to √m and √n. (Van Loan, *The ubiquitous Kronecker product*, 2000.)"""
    p, q = _divisor(m), _divisor(n)
    free = coefficients(law, np.sqrt(scale), uniforms)
    if symmetric:
        split = p * (p + 1) // 2
        left, right = mirrored(free[:, :split], p), mirrored(free[:, split:], m // p)
    else:
        left = free[:, : p * q].reshape(-1, p, q)
        right = free[:, p * q :].reshape(-1, m // p, n // q)
    product: Floats = (left[:, :, None, :, None] * right[:, None, :, None, :]).reshape(-1, m, n)
    return product


def _laplacian(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """L = D − W of a random weighted graph: the number k of its edges drawn per sample from 1 to n(n−1)/2,
    all sets of k equally likely, their weights |coefficient|; D has the sums of the rows of W. (Erdős &
    Rényi, Publ. Math. Debrecen 6, 1959; Chung, *Spectral Graph Theory*, 1997.)"""
    pairs = n * (n - 1) // 2
    count, edges = choose(uniforms[:, 0], min(1, pairs), pairs), uniforms[:, 1:]
    ascending = np.sort(np.append(edges, np.ones((len(edges), 1)), axis=1), axis=1)
    p = np.take_along_axis(ascending, count[:, None], axis=1)  # the k smallest of the uniforms lie below it
    # given that u < p, u/p is uniform again: a coefficient is drawn from it, and the weight is its magnitude
    weights = np.abs(coefficients(law, scale, np.minimum(edges / p, 1 - 2.0**-53)))
    triangle = np.zeros((len(uniforms), n * (n + 1) // 2))
    rows, cols = np.tril_indices(n, -1)
    triangle[:, rows * (rows + 1) // 2 + cols] = np.where(edges < p, -weights, 0.0)
    matrices = mirrored(triangle, n)
    matrices[:, np.arange(n), np.arange(n)] = 0.0 - matrices.sum(axis=2)  # no −0
    return matrices


def _orthogonal(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """s·Q, Q of orthonormal columns (rows, if m < n) and Haar-distributed, whatever the law: QR of a normal
    matrix, R's diagonal made positive. (Mezzadri, Notices AMS 54, 2007.)"""
    matrices: Floats = _haar(m, n, uniforms) * np.asarray(scale)[..., None]
    return matrices


def _conditioned(
    kappa: float, law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats
) -> Floats:
    """s·UΣVᵀ with U and V Haar-distributed (V = U if symmetric: positive definite), the singular values in
    geometric progression from 1 to 1/κ. (Higham, *Accuracy and Stability*, section 28.3: randsvd, mode 3.)"""
    k = min(m, n)
    sigma = kappa ** -(np.arange(k) / max(1, k - 1))
    u = _haar(m, k, uniforms[:, : m * k])
    v = u if symmetric else _haar(n, k, uniforms[:, m * k :])
    matrices: Floats = (u * sigma) @ v.swapaxes(1, 2) * np.asarray(scale)[..., None]
    return (matrices + matrices.swapaxes(1, 2)) / 2 if symmetric else matrices


def _haar(m: int, n: int, uniforms: Floats) -> Floats:
    """Q (B, m, n), Haar-distributed: orthonormal columns if m ≥ n, else orthonormal rows."""
    if m < n:
        return np.ascontiguousarray(_haar(n, m, uniforms).swapaxes(1, 2))
    q, r = np.linalg.qr(normal(1.0, uniforms).reshape(-1, m, n))
    diagonal = np.diagonal(r, axis1=1, axis2=2)
    return q * np.where(diagonal < 0, -1.0, 1.0)[:, None]


def structure(spec: StreamSpec) -> Structure:
    """The structure of a spec that has one."""
    own = spec.own_structure
    if own is not None:
        return Structure(lambda m, n, symmetric: own.words(m, n), partial(_own, own.draw))
    kappa = condition_number(spec.structure)
    if kappa is None:
        return _STRUCTURES[spec.structure]
    return Structure(
        lambda m, n, symmetric: min(m, n) * (m if symmetric else m + n),
        lambda *arguments: _conditioned(kappa, *arguments),
    )


def _own(
    draw: Callable[[Floats, int, int], Floats],
    law: str,
    scale: Scale,
    m: int,
    n: int,
    symmetric: bool,
    uniforms: Floats,
) -> Floats:
    """Matrices A of a user's own structure; (A + Aᵀ)/2 where they must be symmetric."""
    matrices = draw(uniforms, m, n)
    return (matrices + matrices.swapaxes(1, 2)) / 2 if symmetric else matrices


def _triangle_or_all(m: int, n: int, symmetric: bool) -> int:
    return n * (n + 1) // 2 if symmetric else m * n


def _kronecker_words(m: int, n: int, symmetric: bool) -> int:
    p, q = _divisor(m), _divisor(n)
    return _triangle_or_all(p, q, symmetric) + _triangle_or_all(m // p, n // q, symmetric)


def _low_rank_words(m: int, n: int, symmetric: bool) -> int:
    k = min(m, n)
    return 1 + max(1, k // 2) * (m if symmetric else m + n) + k


_STRUCTURES: dict[str, Structure] = {
    "banded": Structure(lambda m, n, symmetric: 1 + _triangle_or_all(m, n, symmetric), _banded),
    "circulant": Structure(lambda m, n, symmetric: n // 2 + 1 if symmetric else n, _circulant),
    "kronecker": Structure(_kronecker_words, _kronecker),
    "laplacian": Structure(lambda m, n, symmetric: 1 + n * (n - 1) // 2, _laplacian),
    "low_rank": Structure(_low_rank_words, _low_rank),
    "orthogonal": Structure(lambda m, n, symmetric: m * n, _orthogonal),
    "toeplitz": Structure(lambda m, n, symmetric: n if symmetric else m + n - 1, _toeplitz),
}


def _gather(free: Floats, places: NDArray[np.intp]) -> Floats:
    """Matrices whose entry (i, j) is free[:, places[i, j]]."""
    return np.take(free, places.reshape(-1), axis=1).reshape(-1, *places.shape)


@lru_cache(maxsize=256)
def _divisor(m: int) -> int:
    """The largest divisor of m up to √m."""
    return next(p for p in range(math.isqrt(m), 0, -1) if m % p == 0)
