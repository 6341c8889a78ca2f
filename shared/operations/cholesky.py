"""The Cholesky factor L of a positive definite matrix A = LLᵀ.

L is lower triangular, and its diagonal is positive. *Matrix Computations* (Golub & Van Loan), section 4.2.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matstream.shared.linear_algebra.lapack import not_definite, solve
from matstream.shared.linear_algebra.norms import square_norm
from matstream.shared.linear_algebra.rounding import ROUNDING
from matstream.shared.operation import Answers, Floats, Operation, Part, cubic


def _cholesky(inputs: Floats) -> Answers:
    """L (B, n, n) of positive definite A (B, n, n) (LAPACK potrf).

    Residual: ‖L⁻¹(LLᵀ−A)L⁻ᵀ‖_F, which bounds the relative error of L; infinite where rounding cannot tell a
    pivot L_kk² from 0, which is where it is at most 2 ROUNDING A_kk. (Sun, *Perturbation bounds for the
    Cholesky and QR factorizations*, BIT 31, 1991.)
    """
    n = inputs.shape[1]
    factors, off = solve(_factored, inputs, [(n, n), (n, n)], not_definite)
    pivots, entries = (np.diagonal(a, axis1=1, axis2=2) for a in (factors, inputs))
    vanished = (np.square(pivots) <= 2 * ROUNDING * entries).any(axis=1)
    return Answers(factors + 0.0, np.where(vanished, np.inf, np.sqrt(square_norm(off))))  # no −0


def _factored(a: Floats) -> tuple[NDArray[Any], ...]:
    factors = np.linalg.cholesky(a)
    half = np.linalg.solve(factors, factors @ factors.swapaxes(1, 2) - a)
    return factors, np.linalg.solve(factors, np.ascontiguousarray(half.swapaxes(1, 2)))


OPERATION = Operation(
    group="factorisations",
    input_form="positive definite A (n×n)",
    target_form="lower triangular L, LLᵀ = A (n×n)",
    parts=lambda m, n: (Part("L", n, n),),
    needs="positive",
    invertible=True,
    target=_cholesky,
    residual_bound=1e-10,
    cost=cubic(75),
    magnitudes=lambda usual, largest, m, n: (math.sqrt(usual), math.sqrt(largest)),
)
