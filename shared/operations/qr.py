"""The QR decomposition A = QR of a matrix with at least as many rows as columns.

Q has orthonormal columns, R is upper triangular, and the diagonal of R is positive. The stricter score asks
that Q and R are right each by itself. *Matrix Computations* (Golub & Van Loan), section 5.2.
"""

import math

import numpy as np

from matstream.shared.failure_studies import off_values
from matstream.shared.linear_algebra.lapack import solutions, solve
from matstream.shared.linear_algebra.norms import off_orthonormal, square_norm
from matstream.shared.linear_algebra.rounding import NOISE, ROUNDING, clear
from matstream.shared.operation import Answers, Floats, Operation, Part, cubic


def _qr(inputs: Floats) -> Answers:
    """First m rows: Q (m×n); next n rows: R (n×n), as (B, m+n, n), of A (B, m, n) (LAPACK geqrf).

    Residual: the larger of ‖(A−QR)R⁻¹‖_F, which bounds the error of Q, and max|QᵀQ−I|.
    """
    m, n = inputs.shape[1:]
    targets, off = solve(_factored, inputs, [(m + n, n), (n, m)])
    residuals = np.maximum(np.sqrt(square_norm(off)), off_orthonormal(targets[:, :m]))
    return Answers(targets + 0.0, residuals)  # no −0


def _factored(a: Floats) -> tuple[Floats, Floats]:
    q, r = np.linalg.qr(a)
    signs = np.where(np.diagonal(r, axis1=1, axis2=2) < 0, -1.0, 1.0)
    q, r = q * signs[:, None], r * signs[:, :, None]
    clear(q, NOISE)
    clear(r, ROUNDING * np.sqrt(np.square(a).sum(axis=(1, 2)))[:, None, None])
    off = solutions(r.swapaxes(1, 2), (a - q @ r).swapaxes(1, 2))
    return np.concatenate([q, r], axis=1), np.ascontiguousarray(off)


def _beyond(inputs: Floats, targets: Floats, predictions: Floats) -> Floats:
    """The larger of the relative l1 errors of Q and of R."""
    m = inputs.shape[1]
    parts = [
        off_values(*(each[:, rows].reshape(len(each), -1) for each in (targets, predictions)))
        for rows in (slice(m), slice(m, None))
    ]
    return np.maximum(*parts)


OPERATION = Operation(
    group="factorisations",
    input_form="A (m×n), m ≥ n",
    target_form="first m rows: Q (m×n); next n rows: upper triangular R (n×n); QR = A",
    parts=lambda m, n: (Part("Q", m, n), Part("R", n, n)),
    spare_rows=0,
    invertible=True,
    target=_qr,
    residual_bound=1e-10,
    cost=cubic(110),
    magnitudes=lambda usual, largest, m, n: (min(usual, 1), max(math.sqrt(m) * largest, 1)),
    beyond=_beyond,
)
