"""The determinant, a problem of one's own:

matstream train quickstart --problems examples/determinant.py --stream.operation determinant --stream.dim 2
"""

import numpy as np

import matstream


@matstream.operation(target=lambda m, n: (1, 1), square=True)
def determinant(a):  # (B, n, n) -> (B, 1, 1)
    """det A"""
    return np.linalg.det(a)[:, None, None]
