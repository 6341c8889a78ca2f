"""log det A, the logarithm of the determinant of a positive definite matrix.

*Matrix Computations* (Golub & Van Loan), section 4.2.
"""

import math

import numpy as np

from matstream.shared.linear_algebra.lapack import not_definite, solve
from matstream.shared.linear_algebra.rounding import ROUNDING, clear
from matstream.shared.operation import Answers, Floats, Operation, Part, cubic


def _log_determinant(inputs: Floats) -> Answers:
    """log det A (B, 1, 1) of positive definite A (B, n, n): 2Σ log L_ii of its Cholesky factor (LAPACK
    potrf).

    Residual: its distance from Σ log λ (LAPACK syevd), which is the relative error of the determinant. A
    logarithm up to ROUNDING κ, which rounding cannot tell from 0, is 0.
    """
    n = inputs.shape[1]
    factors, eigenvalues = solve(
        lambda a: (np.linalg.cholesky(a), np.linalg.eigvalsh(a)), inputs, [(n, n), (n,)], not_definite
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        values = 2 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1) + 0.0  # no −0
        residuals = np.abs(values - np.log(eigenvalues).sum(axis=1))
        clear(values, ROUNDING * eigenvalues[:, -1] / eigenvalues[:, 0])
    return Answers(values[:, None, None], residuals)


OPERATION = Operation(
    group="spectra",
    input_form="positive definite A (n×n)",
    target_form="log det A (1×1)",
    parts=lambda m, n: (Part("log det A", 1, 1),),
    needs="positive",
    invertible=True,
    target=_log_determinant,
    residual_bound=1e-9,
    cost=cubic(65),
    # a residual within the bound refuses matrices whose smallest λ is under about 1e-7 of the largest
    magnitudes=lambda usual, largest, m, n: (1.0, n * (abs(math.log(n * largest)) + 40)),
)
