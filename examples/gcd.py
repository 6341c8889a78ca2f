"""The greatest common divisor of whole numbers, given as a matrix of one row:

matstream sample gcd --problems examples/gcd.py --dim 1 --cols 2 --structure whole_numbers -n 5
"""

import numpy as np

import matstream


@matstream.structure(words=lambda m, n: m * n)
def whole_numbers(u, m, n):  # uniforms (B, m·n) -> (B, m, n)
    """Whole numbers from 1 to 999, all equally likely."""
    return 1 + np.floor(999 * u).reshape(-1, m, n)


@matstream.operation(target=lambda m, n: (1, 1))
def gcd(a):  # (B, m, n) -> (B, 1, 1)
    """gcd of all entries"""
    return np.gcd.reduce(a.reshape(len(a), -1).astype(np.int64), axis=1)[:, None, None]
