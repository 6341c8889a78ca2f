"""Symmetric matrices with a chosen law of eigenvalues.

A symmetric matrix A is drawn, with eigenvectors Q, and the result is Q diag(λ) Qᵀ with λ from the law.
σ is √n times the deviation of the coefficients, √n·s/√3 for uniform and gaussian ones: the deviation of the
eigenvalues of a Wigner matrix of them. (Charton 2021, section 2.4; the paper's code writes QᵀΛQ, which has
the same spectrum.)
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from matstream.generator_service.ensembles import coefficients as laws
from matstream.shared.fields import WITH_ZEROS
from matstream.shared.linear_algebra.lapack import eigh
from matstream.shared.linear_algebra.rounding import ROUNDING, clear, rounding

Floats = NDArray[np.float64]

# law of λ: (σ, uniforms (B, n)) -> λ (B, n)
_EIGENVALUES: dict[str, Callable[[float | Floats, Floats], Floats]] = {
    "uniform": lambda sigma, u: laws.uniform(math.sqrt(3) * sigma, u),
    "gaussian": laws.normal,
    "laplace": laws.laplace,
    "abs_laplace": lambda sigma, u: np.abs(laws.laplace(sigma, u)),
}


def words(spectrum: str, n: int) -> int:
    """The number of uniforms that one n×n matrix takes."""
    if spectrum == "marchenko_pastur":
        return n * n
    return n * (n + 1) // 2 + (n if spectrum in _EIGENVALUES else 0)


def draw(spectrum: str, law: str, scale: float | Floats, n: int, uniforms: Floats) -> Floats:
    """Symmetric matrices (B, n, n) from uniforms (B, words); `scale` is a number or (B, 1).

    semicircle: A itself · positive: the |λ| of A · uniform on [−√3σ, √3σ] · gaussian: N(0, σ²) ·
    laplace: of deviation σ · abs_laplace: the magnitude of such a number ·
    marchenko_pastur: GᵀG with G drawn at scale √s.
    """
    if spectrum == "marchenko_pastur":
        g = laws.coefficients(law, np.sqrt(scale), uniforms).reshape(-1, n, n)
        return _symmetrised(g.swapaxes(1, 2) @ g)
    triangle = n * (n + 1) // 2
    matrices = mirrored(laws.coefficients(law, scale, uniforms[:, :triangle]), n)
    if spectrum == "semicircle":
        return matrices
    values, q = eigh(matrices)
    if spectrum == "positive":
        if law in WITH_ZEROS:  # that singular matrices stay singular
            clear(values, rounding(values))
        values = np.abs(values)
    else:
        sigma = math.sqrt(n / 3) * laws.scale_of_uniform(law, scale)
        values = _EIGENVALUES[spectrum](sigma, uniforms[:, triangle:])
    drawn = _symmetrised((q * values[:, None]) @ q.swapaxes(1, 2))
    if law in WITH_ZEROS:  # entries that are 0 but for rounding, as those between parts that nothing connects
        clear(drawn, ROUNDING * np.abs(values).max(axis=1)[:, None, None])
    return drawn


def mirrored(triangle: Floats, n: int) -> Floats:
    """The symmetric matrices (B, n, n) with lower triangles (B, n(n+1)/2), row by row."""
    return np.take(triangle, _places(n), axis=1).reshape(-1, n, n)


def _symmetrised(matrices: Floats) -> Floats:
    # rounding leaves a product QΛQᵀ not exactly symmetric, while LAPACK reads only one triangle
    return (matrices + matrices.swapaxes(1, 2)) / 2


@lru_cache(maxsize=256)
def _places(n: int) -> NDArray[np.intp]:
    """For each entry of a symmetric n×n matrix, row by row, its place in the lower triangle, (n²,)."""
    rows, cols = np.indices((n, n))
    i, j = np.maximum(rows, cols), np.minimum(rows, cols)
    place: NDArray[np.intp] = i * (i + 1) // 2 + j
    return place.reshape(-1)
