"""The eigenvalues λ of a symmetric matrix, the largest first, and an orthonormal basis of eigenvectors.

The first non-zero component of each eigenvector is positive.
*Linear algebra with transformers* (Charton 2021, arXiv 2112.01898), section 4.5.
"""

import numpy as np

from matstream.shared import failure_studies
from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.lapack import eigh
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


def _eigenvectors(inputs: Floats) -> Answers:
    """Row 0: λ, descending; rows 1..n: eigenvectors as columns (B, n+1, n), of symmetric A (B, n, n) (LAPACK
    syevd).

    Residual: the larger of max|AQ−QΛ| / ‖A‖_F and max|QᵀQ−I|.
    """
    n = inputs.shape[1]
    ascending, vectors = eigh(inputs)
    clear(vectors, NOISE)
    targets = np.empty((len(inputs), n + 1, n))
    values, q = targets[:, 0], targets[:, 1:]
    values[:] = ascending[:, ::-1]
    q[:] = vectors[:, :, ::-1]
    clear(values, rounding(values))
    clear_leading(q, values, null_space=False)
    q *= leading_signs(q)[:, None]
    targets += 0.0  # no −0
    off = largest(inputs @ q - q * values[:, None]) / nonzero(np.sqrt(square_norm(inputs)))
    return Answers(targets, np.maximum(off, off_orthonormal(q)))


def _deviation(inputs: Floats, targets: Floats, predictions: Floats) -> Deviation:
    """Δ = HᵀMH−Λ and R = Λ, of the predicted Λ (row 0) and H: whether these two fit each other."""
    values, vectors = predictions[:, 0], predictions[:, 1:]
    reference = values[:, :, None] * np.eye(values.shape[1])
    return Deviation(vectors.swapaxes(1, 2) @ inputs @ vectors - reference, reference, reference)


def _beyond(inputs: Floats, targets: Floats, predictions: Floats) -> Floats:
    """The larger of two errors: of the predicted λ, and of the orthonormality of the predicted vectors."""
    return np.maximum(
        failure_studies.off_values(targets[:, 0], predictions[:, 0]), off_orthonormal(predictions[:, 1:])
    )


def _study(inputs: Floats, targets: Floats, predictions: Floats, error: Floats) -> failure_studies.Study:
    return {
        "values": failure_studies.values(targets[:, 0], predictions[:, 0]),
        "vectors": failure_studies.vectors(predictions[:, 1:], error),
    }


def _answer(values: Floats, vectors: Floats) -> Floats:
    return np.concatenate([values[:, None], vectors * leading_signs(vectors)[:, None]], axis=1)


OPERATION = Operation(
    group="factorisations",
    input_form="symmetric A (n×n)",
    target_form="row 0: λ, descending; rows 1..n: eigenvectors as columns ((n+1)×n)",
    parts=lambda m, n: (Part("λ", 1, n), Part("Q", n, n)),
    needs="symmetric",
    target=_eigenvectors,
    residual_bound=1e-12,
    not_unique=("chosen_rank", "circulant", "condition-1", "laplacian", "whole_numbers"),
    unique=vectors_unique,
    cost=cubic(115),
    magnitudes=lambda usual, largest, m, n: (min(usual, 1), max(n * largest, 1)),
    deviation=_deviation,
    beyond=_beyond,
    study=_study,
    histogram=Histogram("eigenvalues", "eigenvalue", first_row=True),
    methods=(
        Method("QR iteration", lambda a, steps: _answer(*iterations.qr_iteration(a, steps))),
        Method("Jacobi sweeps", lambda a, steps: _answer(*iterations.jacobi(a, steps))),
    ),
)
