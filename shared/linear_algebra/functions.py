"""Functions of symmetric matrices: f(A) = Q f(Λ) Qᵀ. (Higham, *Functions of Matrices*, 2008.)"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from matstream.shared.linear_algebra.lapack import eigh
from matstream.shared.linear_algebra.norms import off_orthonormal, square_norm
from matstream.shared.linear_algebra.rounding import ROUNDING, clear, rounding

Floats = NDArray[np.float64]


def of_symmetric(function: Callable[[Floats], Floats], a: Floats) -> tuple[Floats, Floats, Floats]:
    """f(A) (B, n, n) of symmetric A (B, n, n), f entrywise on its eigenvalues (LAPACK syevd); the eigenvalues
    (B, n), descending; and the error (B,) of their decomposition, in the units of A.

    That error is ‖AQ−QΛ‖_F + ‖A‖_F max|QᵀQ−I|: Λ and Q belong to a matrix so near A. Entries that rounding
    cannot tell from 0, those up to ROUNDING ‖f(A)‖₂, are 0.
    """
    ascending, vectors = eigh(a)
    values, q = ascending[:, ::-1].copy(), np.ascontiguousarray(vectors[:, :, ::-1])
    clear(values, rounding(values))
    of_values = function(values)
    result = (q * of_values[:, None]) @ q.swapaxes(1, 2)
    result = (result + result.swapaxes(1, 2)) / 2
    size = np.abs(of_values).max(axis=1)
    clear(result, ROUNDING * np.where(np.isfinite(size), size, 0.0)[:, None, None])
    off = np.sqrt(square_norm(a @ q - q * values[:, None]))
    return result + 0.0, values, off + np.sqrt(square_norm(a)) * off_orthonormal(q)  # no −0
