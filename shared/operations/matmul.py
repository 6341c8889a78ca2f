"""AᵀB of two matrices of one shape.

*Linear algebra with transformers* (Charton 2021, arXiv 2112.01898), section 4.3.
"""

import numpy as np

from matstream.shared.linear_algebra.norms import nonzero, square_norm
from matstream.shared.operation import Answers, Floats, Histogram, Operand, Operation, Part, cubic


def _product(inputs: Floats) -> Answers:
    """AᵀB of [A B] (B, m, 2n). Residual: that of `product`, |rᵀTw − (Ar)ᵀ(Bw)| / (‖A‖_F‖B‖_F) for fixed r and
    w of ±1."""
    n = inputs.shape[2] // 2
    return product(inputs[:, :, :n], inputs[:, :, n:])


def product(a: Floats, b: Floats) -> Answers:
    """AᵀB of A (B, m, n), B (B, m, p).

    Residual (Freivalds' check): |rᵀTw − (Ar)ᵀ(Bw)| / (‖A‖_F‖B‖_F) for fixed vectors r, w of ±1.
    """
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    targets = a.swapaxes(1, 2) @ b
    r, w = _signs(a.shape[2], 2), _signs(b.shape[2], 3)
    direct = ((targets * r[:, None]).sum(axis=1) * w).sum(axis=1)
    factored = ((a * r).sum(axis=2) * (b * w).sum(axis=2)).sum(axis=1)
    norms = np.sqrt(square_norm(a)) * np.sqrt(square_norm(b))  # a product of their squares may overflow
    return Answers(targets, np.abs(direct - factored) / nonzero(norms))


def _signs(length: int, period: int) -> Floats:
    """A fixed vector of ±1: −1 at every `period`-th place."""
    return np.where(np.arange(1, length + 1) % period == 0, -1.0, 1.0)


OPERATION = Operation(
    group="sums and products",
    input_form="[A B] (m×2n)",
    target_form="AᵀB (n×n)",
    operands=lambda m, n: (Operand(m, n), Operand(m, n)),
    parts=lambda m, n: (Part("AᵀB", n, n),),
    target=_product,
    residual_bound=1e-12,
    cost=cubic(36),
    magnitudes=lambda usual, largest, m, n: (usual**2, m * largest**2),
    histogram=Histogram("entries", "entry of a product"),
)
