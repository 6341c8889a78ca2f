"""LAPACK over batches of matrices; a matrix that it fails on does not harm the others of its batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def solve(
    routine: Callable[[Floats], tuple[NDArray[Any], ...]], matrices: Floats, shapes: list[tuple[int, ...]]
) -> list[Floats]:
    """Apply a routine of numpy.linalg to matrices (B, m, n). Its results have `shapes` after the batch axis,
    and are NaN for a matrix that LAPACK fails on.

    NumPy fails the whole batch for one bad matrix; the batch is then halved until that matrix is alone. This
    is rare.
    """
    try:
        return list(routine(matrices))
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return [np.full((1, *shape), np.nan) for shape in shapes]
    middle = len(matrices) // 2
    halves = [solve(routine, half, shapes) for half in (matrices[:middle], matrices[middle:])]
    return [np.concatenate(parts) for parts in zip(*halves, strict=True)]


def inverses(matrices: Floats) -> Floats:
    """A⁻¹ of A (B, n, n)."""
    (found,) = solve(lambda a: (np.linalg.inv(a),), matrices, [matrices.shape[1:]])
    return found


def svd(matrices: Floats) -> tuple[Floats, Floats, Floats]:
    """U (B, m, k), the singular values (B, k), descending, and Vᵀ (B, k, n) of A (B, m, n)."""
    m, n = matrices.shape[1:]
    k = min(m, n)
    left, values, right = solve(
        lambda a: tuple(np.linalg.svd(a, full_matrices=False)), matrices, [(m, k), (k,), (k, n)]
    )
    return left, values, right


def singular_values(matrices: Floats) -> Floats:
    """The singular values (B, k), descending, of A (B, m, n)."""
    k = min(matrices.shape[1:])
    (values,) = solve(lambda a: (np.linalg.svd(a, compute_uv=False),), matrices, [(k,)])
    return values


def eigh(matrices: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues (B, n), ascending, and eigenvectors as columns (B, n, n), of symmetric A (B, n, n)."""
    n = matrices.shape[1]
    values, vectors = solve(lambda a: tuple(np.linalg.eigh(a)), matrices, [(n,), (n, n)])
    return values, vectors
