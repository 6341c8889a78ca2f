"""Pseudo-inverses in batches, by the singular values that rounding can tell from 0."""

import numpy as np
from numpy.typing import NDArray

from matstream.shared.linear_algebra.lapack import svd
from matstream.shared.linear_algebra.norms import nonzero
from matstream.shared.linear_algebra.rounding import rank_of

Floats = NDArray[np.float64]

_DOUBT = 1e-6  # how uncertain the rank may be, on which the answer depends


def pseudo_inverses(a: Floats) -> tuple[Floats, Floats, Floats]:
    """A⁺ (B, n, m) of A (B, m, n) (LAPACK gesdd), ‖A⁺‖₂ (B,), and what its rank adds to a residual, (B,): 0,
    or infinite where rounding leaves the rank uncertain."""
    left, values, right = svd(a)
    rank, doubt = rank_of(values)
    inverse = np.where(np.arange(values.shape[1]) < rank[:, None], 1 / nonzero(values), 0.0)
    found = (right.swapaxes(1, 2) * inverse[:, None]) @ left.swapaxes(1, 2)
    return found, inverse.max(axis=1), np.where(doubt > _DOUBT, np.inf, 0.0)
