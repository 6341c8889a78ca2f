"""Laplacians L = D − W of weighted graphs. (Chung, *Spectral Graph Theory*, 1997.)"""

import numpy as np
from numpy.typing import NDArray

from matstream.shared.linear_algebra.norms import largest
from matstream.shared.linear_algebra.rounding import ROUNDING

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def is_laplacian(matrices: Floats) -> Bools:
    """Whether each of (B, n, n) is a Laplacian, (B,): no entry beside the diagonal is above 0, and rows add
    up to 0 up to rounding."""
    n = matrices.shape[1]
    positive = (matrices > 0) & ~np.eye(n, dtype=np.bool_)
    rows = np.abs(matrices.sum(axis=2)).max(axis=1)
    found: Bools = ~positive.any(axis=(1, 2)) & (rows <= n * ROUNDING * largest(matrices))
    return found


def connections(laplacians: Floats) -> Bools:
    """Whether there is a path between each two nodes, (B, n, n)."""
    n = laplacians.shape[1]
    reached = (laplacians != 0) | np.eye(n, dtype=np.bool_)
    for _ in range(max(0, n - 1).bit_length()):  # paths twice as long each time
        reached = np.asarray(reached.astype(np.float32) @ reached.astype(np.float32) > 0)
    return np.asarray(reached)


def made_invertible(laplacians: Floats, connected: Bools) -> Floats:
    """L + μP (B, n, n): P is the projector onto the null space of L, which takes the mean over each connected
    part of the graph; μ is the largest entry of L, so that the sum has L's scale.

    Its inverse is L⁺ + P/μ.
    """
    projector = connected / connected.sum(axis=2, keepdims=True)
    size = largest(laplacians)
    sums: Floats = laplacians + np.where(size == 0, 1.0, size)[:, None, None] * projector
    return sums
