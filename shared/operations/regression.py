"""Regression in context: examples (x, y) of a linear model and a query x, of which y is asked for.

Each row of the input is an example, y in its last column; the last row is the query, whose y is hidden and
sent as 0 (structure `linear_model`). The weights w of the model are drawn anew for each sample, and the
examples have noise, so that no method is always right. The answer is the y of the query without noise.
*Transformers Learn In-Context by Gradient Descent* (von Oswald et al., arXiv 2212.07677).
"""

import numpy as np

from matstream.shared.operation import Answers, Floats, Operation, Part, linear

NOISE = 0.05  # the deviation of the noise of an example, divided by that of its y


def _answer(inputs: Floats) -> Answers:
    """y (B, 1, 1) of the query of a whole table (B, m, n), exact."""
    return Answers(inputs[:, -1:, -1:].copy(), np.zeros(len(inputs)))


def _shown(inputs: Floats) -> Floats:
    """The table without the y of the query."""
    shown = inputs.copy()
    shown[:, -1, -1] = 0.0
    return shown


OPERATION = Operation(
    group="learning in context",
    input_form="rows (x, y), the last one (x, 0) (m×n)",
    target_form="the y of the last row (1×1)",
    parts=lambda m, n: (Part("y", 1, 1),),
    structures=("linear_model",),
    shown=_shown,
    target=_answer,
    residual_bound=0.0,
    cost=linear(3),
    magnitudes=lambda usual, largest, m, n: (usual, largest),
)
