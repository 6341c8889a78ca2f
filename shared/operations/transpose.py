"""Aᵀ, the transpose.

*Linear algebra with transformers* (Charton 2021, arXiv 2112.01898), section 4.1.
"""

import numpy as np

from matstream.shared.operation import Answers, Floats, Histogram, Operation, Part, linear


def _transpose(inputs: Floats) -> Answers:
    """Aᵀ of A (B, m, n), exact."""
    return Answers(np.ascontiguousarray(inputs.swapaxes(1, 2)), np.zeros(len(inputs)))


OPERATION = Operation(
    group="sums and products",
    input_form="A (m×n)",
    target_form="Aᵀ (n×m)",
    parts=lambda m, n: (Part("Aᵀ", n, m),),
    target=_transpose,
    residual_bound=0.0,
    cost=linear(9),
    magnitudes=lambda usual, largest, m, n: (usual, largest),
    histogram=Histogram("entries", "entry"),
)
