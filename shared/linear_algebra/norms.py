"""Norms of matrices in a batch, and divisions by them."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def square_norm(matrices: Floats) -> Floats:
    """‖A‖²_F of contiguous A (B, m, n)."""
    norm: Floats = np.square(matrices).reshape(len(matrices), -1).sum(axis=1)
    return norm


def largest(matrices: Floats) -> Floats:
    """The largest magnitude in each of (B, m, n), as (B,)."""
    magnitudes: Floats = np.abs(matrices).reshape(len(matrices), -1).max(axis=1)
    return magnitudes


def off_orthonormal(columns: Floats) -> Floats:
    """max|QᵀQ−I| of Q (B, n, k), as (B,)."""
    return largest(columns.swapaxes(1, 2) @ columns - np.eye(columns.shape[2]))


def nonzero(divisors: Floats) -> Floats:
    """Divisors with 1 in place of 0, for quotients whose numerator is 0 there too."""
    return np.where(divisors == 0, 1.0, divisors)
