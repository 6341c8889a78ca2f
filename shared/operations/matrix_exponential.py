"""e^A of a symmetric matrix.

*Functions of Matrices* (Higham, 2008), chapter 10. At the usual scale of 10 the answers are large: 2 or less
makes numbers that are easier to learn.
"""

import math

import numpy as np

from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.functions import of_symmetric
from matstream.shared.operation import Answers, Floats, Method, Operation, Part, cubic


def _exponential(inputs: Floats) -> Answers:
    """e^A (B, n, n) of symmetric A (B, n, n) (LAPACK syevd).

    Residual: ‖AQ−QΛ‖_F + ‖A‖_F max|QᵀQ−I|, to first order a bound of the relative error of e^A, whatever the
    units of A.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # to inf, whose residual is refused
        targets, _, error = of_symmetric(np.exp, inputs)
    finite = np.isfinite(targets).all(axis=(1, 2))
    return Answers(targets, np.where(finite, error, np.nan))


OPERATION = Operation(
    group="spectra",
    input_form="symmetric A (n×n)",
    target_form="e^A (n×n)",
    parts=lambda m, n: (Part("e^A", n, n),),
    needs="symmetric",
    target=_exponential,
    residual_bound=1e-10,
    cost=cubic(125),
    magnitudes=lambda usual, largest, m, n: (1.0, math.exp(min(n * largest, 700))),
    methods=(Method("Taylor series", iterations.taylor_series),),
)
