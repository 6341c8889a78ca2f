"""Sums modulo 97:

matstream sample sum_modulo_97 --problems examples/modular.py --dim 1 --cols 2 --structure residues -n 5
"""

import numpy as np

import matstream

P = 97


@matstream.structure(words=lambda m, n: m * n)
def residues(u, m, n):  # uniforms (B, m·n) -> (B, m, n)
    """Whole numbers from 0 to 96, all equally likely."""
    return np.floor(P * u).reshape(-1, m, n)


@matstream.operation(target=lambda m, n: (1, 1))
def sum_modulo_97(a):  # (B, m, n) -> (B, 1, 1)
    """a + b mod 97"""
    return np.floor(a).sum(axis=(1, 2), keepdims=True) % P
