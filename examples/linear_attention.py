"""What a fixed layer of linear attention answers (the teacher of "Learning Linear Attention in Polynomial
Time", arXiv 2410.10101): a model learns to imitate it from its answers alone.

matstream sample linear_attention --problems examples/linear_attention.py --dim 2 --cols 4 -n 3
"""

import numpy as np

import matstream

HEADS = 2


def teacher(m):  # the same matrices for everyone: V and Q of each head, (2, HEADS, m, m)
    return np.random.default_rng([2410_10101, m]).normal(size=(2, HEADS, m, m)) / m


@matstream.operation(target=lambda m, n: (m, 1))
def linear_attention(z):  # tokens as columns (B, m, n) -> the answer to the last one (B, m, 1)
    """Σ V_h Z Zᵀ Q_h z, z the last column of Z, over the heads h"""
    v, q = teacher(z.shape[1])
    last = z[:, None, :, -1:]
    scores = z[:, None].swapaxes(2, 3) @ (q @ last)
    return (v @ (z[:, None] @ scores)).sum(axis=1)
