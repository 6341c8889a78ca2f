"""tr A, the sum of the diagonal of a square matrix."""

import math

import numpy as np

from matstream.shared.linear_algebra.norms import nonzero
from matstream.shared.operation import Answers, Floats, Operation, Part, linear


def _trace(inputs: Floats) -> Answers:
    """tr A (B, 1, 1) of A (B, n, n). Residual: its distance from the sum in the other order, relative to
    Σ|A_ii|."""
    diagonal = np.diagonal(inputs, axis1=1, axis2=2)
    values = diagonal.sum(axis=1) + 0.0  # no −0
    other = np.cumsum(diagonal[:, ::-1], axis=1)[:, -1]
    return Answers(values[:, None, None], np.abs(values - other) / nonzero(np.abs(diagonal).sum(axis=1)))


OPERATION = Operation(
    group="spectra",
    input_form="A (n×n)",
    target_form="tr A (1×1)",
    parts=lambda m, n: (Part("tr A", 1, 1),),
    needs="square",
    target=_trace,
    residual_bound=1e-12,
    cost=linear(3),
    magnitudes=lambda usual, largest, m, n: (math.sqrt(n) * usual, n * largest),
)
