"""The LU decomposition with partial pivoting of a square matrix: PA = LU.

The answer is one matrix below the permutation. In row 0, column i names the row of A, counted from 1, that
becomes row i of PA. Below stands U on and above the diagonal, and under it the multipliers of L, whose
diagonal is 1 and is left out. The pivot of a column is its largest entry; where several are as large, the
first is taken, and rounding may decide which that is. The stricter score asks for the very permutation, and
that the matrix is right by itself. *Matrix Computations* (Golub & Van Loan), section 3.4.
"""

import math

import numpy as np

from matstream.shared.failure_studies import off_values
from matstream.shared.linear_algebra.lapack import solutions
from matstream.shared.linear_algebra.norms import square_norm
from matstream.shared.operation import Answers, Bools, Floats, Operation, Part, cubic

_TIE = 1e-10  # multipliers so near ±1 belong to entries that are equally large up to rounding


def _lu(inputs: Floats) -> Answers:
    """Row 0: the permutation; rows 1..n: L and U in one, as (B, n+1, n), of A (B, n, n).

    The elimination runs over all matrices at once. Residual: ‖L⁻¹(LU−PA)U⁻¹‖_F, which bounds the relative
    errors of L and U. (Higham, *Accuracy and Stability of Numerical Algorithms*, section 9.11.)
    """
    count, n = inputs.shape[:2]
    batch = np.arange(count)
    work = np.array(inputs)
    order = np.tile(np.arange(n), (count, 1))
    for k in range(n - 1):
        pivot = k + np.abs(work[:, k:, k]).argmax(axis=1)
        for rows in (work, order):
            rows[batch, pivot], rows[:, k] = rows[:, k].copy(), rows[batch, pivot]
        with np.errstate(divide="ignore", invalid="ignore"):  # singular matrices, which are refused below
            work[:, k + 1 :, k] /= work[:, k, None, k]
            work[:, k + 1 :, k + 1 :] -= work[:, k + 1 :, k, None] * work[:, k, None, k + 1 :]
    targets = np.concatenate([order[:, None] + 1.0, work], axis=1)
    lower, upper = np.tril(work, -1) + np.eye(n), np.triu(work)
    wrong = lower @ upper - np.take_along_axis(inputs, order[:, :, None], axis=1)
    left, right = np.linalg.solve(lower, wrong), np.ascontiguousarray(upper.swapaxes(1, 2))
    off = solutions(right, np.ascontiguousarray(left.swapaxes(1, 2)))
    return Answers(targets + 0.0, np.sqrt(square_norm(off)))  # no −0


def _no_tie(inputs: Floats, targets: Floats) -> Bools:
    """Whether no multiplier is ±1 up to rounding, (B,): otherwise another row could be the pivot as well."""
    multipliers = np.abs(np.tril(targets[:, 1:], -1))
    return np.asarray(multipliers.max(axis=(1, 2), initial=0.0) < 1 - _TIE)


def _beyond(inputs: Floats, targets: Floats, predictions: Floats) -> Floats:
    """The relative l1 error of L and U; infinite where the permutation is another."""
    flat = (each[:, 1:].reshape(len(each), -1) for each in (targets, predictions))
    same = (np.rint(predictions[:, 0]) == targets[:, 0]).all(axis=1)
    return np.where(same, off_values(*flat), np.inf)


OPERATION = Operation(
    group="factorisations",
    input_form="A (n×n)",
    target_form="row 0: the permutation P; rows 1..n: L and U in one, LU = PA ((n+1)×n)",
    parts=lambda m, n: (Part("P", 1, n), Part("LU", n, n)),
    needs="square",
    invertible=True,
    target=_lu,
    residual_bound=1e-10,
    not_unique=("whole_numbers",),
    unique=_no_tie,
    cost=cubic(130),
    # pivoting bounds multipliers by 1, and lets entries grow by 2 a step at most
    magnitudes=lambda usual, largest, m, n: (min(usual, 1), max(n, math.ldexp(largest, min(n - 1, 60)))),
    beyond=_beyond,
)
