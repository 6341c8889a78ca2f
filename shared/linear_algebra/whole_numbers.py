"""Whole numbers, as floats."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

EXACT = 2.0**53  # under it, whole numbers are exact


def are_whole(matrices: Floats) -> Bools:
    """Whether all entries of each of (B, m, n) are whole numbers, (B,)."""
    found: Bools = (matrices == np.rint(matrices)).all(axis=(1, 2))
    return found
