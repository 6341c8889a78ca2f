"""The singular values σ of a matrix, the largest first.

*Linear algebra with transformers* (Charton 2021, arXiv 2112.01898), section 4.7.
"""

import math

import numpy as np

from matstream.shared import failure_studies
from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.lapack import singular_values
from matstream.shared.linear_algebra.norms import nonzero, square_norm
from matstream.shared.linear_algebra.rounding import clear, rounding
from matstream.shared.operation import Answers, Floats, Histogram, Method, Operation, Part, cubic


def _singular_values(inputs: Floats) -> Answers:
    """σ (B, k, 1), descending, of A (B, m, n), k = min(m, n) (LAPACK gesdd).

    Residual: |Σσ²−‖A‖²_F| / ‖A‖²_F; 0 for A = 0.
    """
    values = singular_values(inputs)
    clear(values, rounding(values))
    square = square_norm(inputs)
    return Answers(values[:, :, None], np.abs(np.square(values).sum(axis=1) - square) / nonzero(square))


def _study(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> failure_studies.Study:
    return {
        **failure_studies.ranked(inputs, targets, predictions, error),
        "by_condition": failure_studies.by_condition(failure_studies.condition_numbers(inputs), error),
    }


OPERATION = Operation(
    group="spectra",
    input_form="A (m×n)",
    target_form="σ, descending (k×1), k = min(m, n)",
    parts=lambda m, n: (Part("σ", min(m, n), 1),),
    target=_singular_values,
    residual_bound=1e-12,
    cost=cubic(55),
    magnitudes=lambda usual, largest, m, n: (usual, math.sqrt(m * n) * largest),
    study=_study,
    histogram=Histogram("singular values", "singular value"),
    methods=(
        Method("QR iteration", lambda a, k: iterations.qr_iteration_of_rectangles(a, k)[0][:, :, None]),
    ),
)
