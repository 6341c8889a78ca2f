"""Structured ensembles: random matrices of which only some entries, or only some factors, are free.

Each function draws matrices (B, m, n) of scale s from uniforms (B, words), where `words` is the number of
uniforms that a matrix takes; for symmetric operations, where m = n, the matrices are symmetric. `law` is the
law of the free coefficients; `scale` is a number or (B, 1).
"""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matstream.generator_service.ensembles import composed
from matstream.generator_service.ensembles.coefficients import (
    choose,
    coefficients,
    normal,
    scale_of_uniform,
)
from matstream.generator_service.ensembles.spectra import mirrored
from matstream.generator_service.ensembles.structure import (
    Floats,
    Scale,
    Structure,
    draw_low_rank,
    low_rank_of,
)
from matstream.shared.operations.regression import NOISE
from matstream.shared.problems import Definition
from matstream.shared.problems import Structure as OwnStructure
from matstream.shared.spec import StreamSpec
from matstream.shared.structures import CONDITION, condition_number


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


def _free(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """Entries drawn freely, below and on the diagonal if symmetric."""
    entries = coefficients(law, scale, uniforms)
    return mirrored(entries, n) if symmetric else entries.reshape(-1, m, n)


def _nonnegative(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """A_ij = |a_ij|, the a free, below and on the diagonal if symmetric."""
    return np.abs(_free(law, scale, m, n, symmetric, uniforms))


def _diagonal(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """A diagonal drawn freely, and zeros."""
    k = min(m, n)
    matrices = np.zeros((len(uniforms), m, n))
    matrices[:, np.arange(k), np.arange(k)] = coefficients(law, scale, uniforms)
    return matrices


def _covariance(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """ΛΛᵀ/√r + Ψ, positive definite: Λ (n×r) drawn at scale √s, its rank r drawn per sample from 1 to max(1,
    n//2), Ψ diagonal and uniform on [s/10, s]. (Factor analysis: Ghahramani & Hinton, *The EM algorithm for
    mixtures of factor analyzers*, 1996.)"""
    matrices, _ = draw_low_rank(law, scale, [n], low_rank_of(n), uniforms[:, : uniforms.shape[1] - n])
    own = (0.1 + 0.9 * uniforms[:, uniforms.shape[1] - n :]) * scale
    matrices[:, np.arange(n), np.arange(n)] += own
    return (matrices + matrices.swapaxes(1, 2)) / 2


def _chosen_rank(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """UVᵀ of whole numbers, so that it is exact, whatever the law: U (m×r) and V (n×r) have entries from −f
    to f, f = max(1, ⌊√s⌋), and the rank r is drawn per sample from 0 to min(m, n). V = U·diag(±1) if
    symmetric. (Where columns of U or V depend on one another, the rank is less than r.)"""
    k = min(m, n)
    rank = choose(uniforms[:, 0], 0, k)
    most = np.maximum(1.0, np.floor(np.sqrt(scale)))
    whole = np.minimum(np.floor(uniforms[:, 1:] * (2 * most + 1)), 2 * most) - most
    u = whole[:, : m * k].reshape(-1, m, k) * (np.arange(k) < rank[:, None])[:, None]
    if symmetric:
        signs = np.where(uniforms[:, 1 + m * k :] < 0.5, -1.0, 1.0)
        v = u * signs[:, None]
    else:
        v = whole[:, m * k :].reshape(-1, n, k)
    matrices: Floats = u @ v.swapaxes(1, 2) + 0.0  # no −0
    return matrices


def _masked(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """UVᵀ/√r of a rank r from 1 to max(1, min(m, n)//2), U and V drawn at scale √s, whose hidden entries are
    0. r rows and r columns are seen whole, which determines all others, and each of these is hidden with
    probability ½. (Candès & Recht, *Exact matrix completion via convex optimization*, 2009.)"""
    most = low_rank_of(min(m, n))
    words = 1 + most * (m + n)
    matrices, rank = draw_low_rank(law, scale, [m, n], most, uniforms[:, :words])
    rest = uniforms[:, words:]
    seen = rest[:, m + n :].reshape(-1, m, n) < 0.5
    seen |= _smallest(rest[:, :m], rank)[:, :, None] | _smallest(rest[:, m : m + n], rank)[:, None]
    return np.where(seen, matrices, 0.0)


def _smallest(keys: Floats, count: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of each row of keys (B, n) are its `count` (B,) smallest."""
    last = np.take_along_axis(np.sort(keys, axis=1), count[:, None] - 1, axis=1)
    return keys <= last


def _linear_model(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """Rows (x, y) of y = wᵀx/√(n−1) + e: w and the n−1 entries of x drawn freely, w with deviation 1, the
    noise e normal with 0.05 times the deviation of y. In the last row there is no noise. (The tasks of von
    Oswald et al., arXiv 2212.07677.)"""
    features = n - 1
    one = math.sqrt(3)
    weights = coefficients(law, one, uniforms[:, :features]) * (one / scale_of_uniform(law, one))
    entries = uniforms[:, features : features + m * features]
    x = coefficients(law, scale, entries).reshape(len(uniforms), m, features)
    y = (x * weights[:, None]).sum(axis=2) / math.sqrt(max(1, features))
    deviation = scale_of_uniform(law, scale) * (NOISE / math.sqrt(3))
    y[:, :-1] += normal(deviation, uniforms[:, features + m * features :])
    return np.concatenate([x, y[:, :, None]], axis=2)


def _whole_numbers(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """Whole numbers from 0 to s−1, all equally likely, whatever the law; s is rounded up."""
    count = np.ceil(scale)
    entries = np.minimum(np.floor(uniforms * count), count - 1)
    return mirrored(entries, n) if symmetric else entries.reshape(-1, m, n)


def _laplacian(law: str, scale: Scale, m: int, n: int, symmetric: bool, uniforms: Floats) -> Floats:
    """L = D − W of a random weighted graph: the number k of its edges drawn per sample from 1 to n(n−1)/2,
    all sets of k equally likely, their weights |coefficient|, where one of weight 0 is no edge after all; D
    has the sums of the rows of W. (Erdős & Rényi, Publ. Math. Debrecen 6, 1959; Chung, *Spectral Graph
    Theory*, 1997.)"""
    pairs = n * (n - 1) // 2
    count, edges = choose(uniforms[:, 0], min(1, pairs), pairs), uniforms[:, 1:]
    ascending = np.sort(np.append(edges, np.ones((len(edges), 1)), axis=1), axis=1)
    p = np.take_along_axis(ascending, count[:, None], axis=1)  # the k smallest of the uniforms lie below it
    # given that u < p, u/p is uniform again: a coefficient is drawn from it, and the weight is its magnitude
    weights = np.abs(coefficients(law, scale, np.minimum(edges / p, 1 - 2.0**-53)))
    triangle = np.zeros((len(uniforms), n * (n + 1) // 2))
    rows, cols = np.tril_indices(n, -1)
    triangle[:, rows * (rows + 1) // 2 + cols] = np.where(edges < p, 0.0 - weights, 0.0)  # no −0
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


def structure(spec: StreamSpec, name: str) -> Structure:
    """One of the structures of a spec, by its name."""
    return _named(name, spec.definitions.structures)


def _named(name: str, own: Mapping[str, Definition[OwnStructure]]) -> Structure:
    first, *base = name.split(":", 1)
    if first in _COMPOSED:
        make, usual = _COMPOSED[first]
        return make(_named(base[0], own) if base else usual)
    if first in own:
        made = own[first].made
        return Structure(lambda m, n, symmetric: made.words(m, n), partial(_own, made.draw))
    kappa = condition_number(first)
    if kappa is not None:
        return Structure(
            lambda m, n, symmetric: min(m, n) * (m if symmetric else m + n),
            lambda *arguments: _conditioned(kappa, *arguments),
        )
    return _STRUCTURES[first]


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


_DIAGONAL = Structure(lambda m, n, symmetric: min(m, n), _diagonal)

_STRUCTURES: dict[str, Structure] = {
    "banded": Structure(lambda m, n, symmetric: 1 + _triangle_or_all(m, n, symmetric), _banded),
    "chosen_rank": Structure(
        lambda m, n, symmetric: 1 + min(m, n) * (m + 1 if symmetric else m + n), _chosen_rank
    ),
    "circulant": Structure(lambda m, n, symmetric: n // 2 + 1 if symmetric else n, _circulant),
    "covariance": Structure(lambda m, n, symmetric: 1 + low_rank_of(n) * n + n, _covariance),
    "laplacian": Structure(lambda m, n, symmetric: 1 + n * (n - 1) // 2, _laplacian),
    "linear_model": Structure(lambda m, n, symmetric: (n - 1) * (m + 1) + m - 1, _linear_model),
    "masked": Structure(lambda m, n, symmetric: 1 + (low_rank_of(min(m, n)) + 1) * (m + n) + m * n, _masked),
    "none": Structure(lambda m, n, symmetric: _triangle_or_all(m, n, symmetric), _free),
    "nonnegative": Structure(lambda m, n, symmetric: _triangle_or_all(m, n, symmetric), _nonnegative),
    "orthogonal": Structure(lambda m, n, symmetric: m * n, _orthogonal),
    "toeplitz": Structure(lambda m, n, symmetric: n if symmetric else m + n - 1, _toeplitz),
    "whole_numbers": Structure(lambda m, n, symmetric: _triangle_or_all(m, n, symmetric), _whole_numbers),
}
# structures that are made of a base, and the base that they have if none is named
_COMPOSED: dict[str, tuple[Callable[[Structure], Structure], Structure]] = {
    "block_diagonal": (composed.block_diagonal, _STRUCTURES["none"]),
    "kronecker": (composed.kronecker, _STRUCTURES["none"]),
    "kronecker_sum": (composed.kronecker_sum, _STRUCTURES["none"]),
    "low_rank": (composed.low_rank, _DIAGONAL),
}


def described() -> dict[str, str]:
    """What each structure that comes with matstream is, by name."""
    functions: dict[str, Callable[..., Any]] = {name: made.draw for name, made in _STRUCTURES.items()}
    functions |= {name: make for name, (make, _) in _COMPOSED.items()}
    functions[f"{CONDITION}κ"] = _conditioned
    return {
        name: " ".join((inspect.getdoc(function) or "").split())
        for name, function in sorted(functions.items())
    }


def _gather(free: Floats, places: NDArray[np.intp]) -> Floats:
    """Matrices whose entry (i, j) is free[:, places[i, j]]."""
    return np.take(free, places.reshape(-1), axis=1).reshape(-1, *places.shape)
