"""Random matrices of one's own, for any problem:

matstream sample eigenvalues --problems examples/my_ensemble.py --dim 4 --structure checkerboard
"""

import numpy as np

import matstream


@matstream.structure(words=lambda m, n: m * n)
def checkerboard(u, m, n):  # uniforms (B, m·n) -> (B, m, n)
    """Uniform on [-10, 10] where row + column is even, 0 elsewhere."""
    black = np.add.outer(np.arange(m), np.arange(n)) % 2 == 0
    return np.where(black, 20 * u.reshape(-1, m, n) - 10, 0.0)
