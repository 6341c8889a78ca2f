"""LAPACK over batches of matrices; a matrix that it fails on does not harm the others of its batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matstream.shared.linear_algebra.rounding import ROUNDING, rounding

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def solve(
    routine: Callable[[Floats], tuple[NDArray[Any], ...]],
    matrices: Floats,
    shapes: list[tuple[int, ...]],
    hopeless: Callable[[Floats], Bools] | None = None,
) -> list[Floats]:
    """Apply a routine of numpy.linalg to matrices (B, m, n). Its results have `shapes` after the batch axis,
    and are NaN for a matrix that LAPACK fails on.

    NumPy fails the whole batch for one bad matrix. The matrices that are `hopeless`, as (B,), are then left
    out: where entries are often 0, they are many. If it still fails, the batch is halved until the bad matrix
    is alone, which is rare. A matrix for which LAPACK may have an answer that is accepted must not be
    hopeless, or the answer would depend on the batch.
    """
    try:
        return list(routine(matrices))
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return [np.full((1, *shape), np.nan) for shape in shapes]
    if hopeless is not None:
        left = ~hopeless(matrices)
        results = [np.full((len(matrices), *shape), np.nan) for shape in shapes]
        if left.any():
            for number, part in enumerate(solve(routine, matrices[left], shapes)):
                results[number] = results[number].astype(part.dtype)
                results[number][left] = part
        return results
    middle = len(matrices) // 2
    halves = [solve(routine, half, shapes) for half in (matrices[:middle], matrices[middle:])]
    return [np.concatenate(parts) for parts in zip(*halves, strict=True)]


def singular(matrices: NDArray[Any]) -> Bools:
    """Whether LAPACK's elimination (getrf) meets a pivot of exactly 0, (B,), of A (B, n, n): then it has no
    inverse, and no equation is solved with it."""
    with np.errstate(divide="ignore", invalid="ignore"):  # of NaN, or of denormal numbers
        return np.asarray(np.linalg.slogdet(matrices).sign == 0)


def not_definite(matrices: Floats) -> Bools:
    """Whether a pivot of symmetric A (B, n, n) is at most ROUNDING times the diagonal entry, (B,): that of
    the Cholesky decomposition (LAPACK potrf), if there is one, is then at most twice as large."""
    n = matrices.shape[1]
    work, found = matrices.copy(), np.zeros(len(matrices), dtype=np.bool_)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(n):
            pivot = work[:, k, k]
            found |= ~(pivot > ROUNDING * matrices[:, k, k])
            row = work[:, k, k + 1 :] / np.where(found, 1.0, pivot)[:, None]
            work[:, k + 1 :, k + 1 :] -= work[:, k + 1 :, k, None] * row[:, None]
    return found


def inverses(matrices: NDArray[Any]) -> NDArray[Any]:
    """A⁻¹ of A (B, n, n), real or complex."""
    (found,) = solve(lambda a: (np.linalg.inv(a),), matrices, [matrices.shape[1:]], singular)
    return found


def solutions(a: Floats, b: Floats) -> Floats:
    """A⁻¹B (B, n, p) of A (B, n, n) and B (B, n, p)."""
    n, p = b.shape[1:]
    (found,) = solve(
        lambda both: (np.linalg.solve(both[:, :, :n], both[:, :, n:]),),
        np.concatenate([a, b], axis=2),
        [(n, p)],
        lambda both: singular(both[:, :, :n]),
    )
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


def of_full_rank(matrices: Floats) -> Bools:
    """Whether no singular value of A (B, m, n) is 0 up to rounding, (B,)."""
    values = singular_values(matrices)
    return np.asarray(values[:, -1] > rounding(values)[:, 0])


def eigh(matrices: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues (B, n), ascending, and eigenvectors as columns (B, n, n), of symmetric A (B, n, n)."""
    n = matrices.shape[1]
    values, vectors = solve(lambda a: tuple(np.linalg.eigh(a)), matrices, [(n,), (n, n)])
    return values, vectors
