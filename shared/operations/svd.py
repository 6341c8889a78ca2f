"""The singular value decomposition A = UΣVᵀ, the largest singular value first.

The first non-zero component of each column of U is positive, and so is that of a column of V where σ = 0.
*Linear algebra with transformers* (Charton 2021, arXiv 2112.01898), section 4.7.
"""

import math

import numpy as np

from matstream.shared import failure_studies
from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.lapack import svd
from matstream.shared.linear_algebra.norms import largest, nonzero, off_orthonormal, square_norm
from matstream.shared.linear_algebra.rounding import (
    NOISE,
    clear,
    clear_leading,
    leading_signs,
    rounding,
    vectors_unique,
)
from matstream.shared.operation import Answers, Deviation, Floats, Histogram, Method, Operation, Part, cubic


def _svd(inputs: Floats) -> Answers:
    """Row 0: σ, descending; next m rows: U (m×k); next n rows: V (n×k), as (B, 1+m+n, k), of A (B, m, n)
    (LAPACK gesdd).

    Residual: the larger of max|UΣVᵀ−A| / ‖A‖_F, max|UᵀU−I| and max|VᵀV−I|.
    """
    m, n = inputs.shape[1:]
    k = min(m, n)
    left, sigma, right = svd(inputs)
    targets = np.empty((len(inputs), 1 + m + n, k))
    values, u, v = _parts(targets, m)
    values[:] = sigma
    clear(values, rounding(values))
    right = right.swapaxes(1, 2)
    for vectors in (left, right):
        clear(vectors, NOISE)
        clear_leading(vectors, values, null_space=m != n)
    signs = leading_signs(left)
    np.multiply(left, signs[:, None], out=u)
    if not values.all():  # where σ = 0, nothing ties the sign of v to that of u
        signs = np.where(values == 0, leading_signs(right), signs)
    np.multiply(right, signs[:, None], out=v)
    targets += 0.0  # no −0
    rebuilt = (u * values[:, None]) @ v.swapaxes(1, 2)
    off = largest(rebuilt - inputs) / nonzero(np.sqrt(square_norm(inputs)))
    return Answers(targets, np.maximum(off, np.maximum(off_orthonormal(u), off_orthonormal(v))))


def _parts(targets: Floats, m: int) -> tuple[Floats, Floats, Floats]:
    """σ (B, k), U (B, m, k) and V (B, n, k) in targets (B, 1+m+n, k)."""
    return targets[:, 0], targets[:, 1 : 1 + m], targets[:, 1 + m :]


def _deviation(inputs: Floats, targets: Floats, predictions: Floats) -> Deviation:
    """Δ = UᵀMV−Σ and R = Σ, of the predicted Σ, U and V: whether these fit each other."""
    values, left, right = _parts(predictions, inputs.shape[1])
    reference = values[:, :, None] * np.eye(values.shape[1])
    return Deviation(left.swapaxes(1, 2) @ inputs @ right - reference, reference, reference)


def _beyond(inputs: Floats, targets: Floats, predictions: Floats) -> Floats:
    """The larger of two errors: of the predicted σ, and of the orthonormality of the predicted vectors."""
    values, left, right = _parts(predictions, inputs.shape[1])
    off = np.maximum(off_orthonormal(left), off_orthonormal(right))
    return np.maximum(failure_studies.off_values(targets[:, 0], values), off)


def _study(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> failure_studies.Study:
    values, left, right = _parts(predictions, inputs.shape[1])
    return {
        "values": failure_studies.values(targets[:, 0], values),
        "U": failure_studies.vectors(left, error),
        "V": failure_studies.vectors(right, error),
    }


def _qr_iteration(a: Floats, steps: int) -> Floats:
    values, left, right = iterations.qr_iteration_of_rectangles(a, steps)
    signs = leading_signs(left)[:, None]
    return np.concatenate([values[:, None], left * signs, right * signs], axis=1)


OPERATION = Operation(
    group="factorisations",
    input_form="A (m×n)",
    target_form="row 0: σ, descending; next m rows: U (m×k); next n rows: V (n×k), k = min(m, n)",
    parts=lambda m, n: (Part("σ", 1, min(m, n)), Part("U", m, min(m, n)), Part("V", n, min(m, n))),
    target=_svd,
    residual_bound=1e-12,
    # kronecker: such as 8×9
    not_unique=(
        *("chosen_rank", "circulant", "condition-1", "kronecker", "laplacian", "masked", "orthogonal"),
        "whole_numbers",
    ),
    unique=vectors_unique,
    cost=cubic(160),
    magnitudes=lambda usual, largest, m, n: (min(usual, 1), max(math.sqrt(m * n) * largest, 1)),
    deviation=_deviation,
    beyond=_beyond,
    study=_study,
    histogram=Histogram("singular values", "singular value", first_row=True),
    methods=(Method("QR iteration", _qr_iteration),),
)
