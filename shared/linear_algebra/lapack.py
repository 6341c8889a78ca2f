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


def eigh(matrices: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues (B, n), ascending, and eigenvectors as columns (B, n, n), of symmetric A (B, n, n)."""
    n = matrices.shape[1]
    values, vectors = solve(lambda a: tuple(np.linalg.eigh(a)), matrices, [(n,), (n, n)])
    return values, vectors
