"""A+B of two matrices of one shape.

*Linear algebra with transformers* (Charton 2021, arXiv 2112.01898), section 4.2.
"""

import numpy as np

from matstream.shared.operation import Answers, Floats, Histogram, Operand, Operation, Part, linear


def _sum(inputs: Floats) -> Answers:
    """A+B of [A B] (B, m, 2n), exact."""
    n = inputs.shape[2] // 2
    return Answers(inputs[:, :, :n] + inputs[:, :, n:], np.zeros(len(inputs)))


OPERATION = Operation(
    group="sums and products",
    input_form="[A B] (m×2n)",
    target_form="A+B (m×n)",
    operands=lambda m, n: (Operand(m, n), Operand(m, n)),
    parts=lambda m, n: (Part("A+B", m, n),),
    target=_sum,
    residual_bound=0.0,
    cost=linear(26),
    magnitudes=lambda usual, largest, m, n: (usual, 2 * largest),
    histogram=Histogram("entries", "sum of two entries"),
)
