"""A^½ of a symmetric matrix without negative eigenvalues: the X that has none either and whose square is A.

*Functions of Matrices* (Higham, 2008), chapter 6.
"""

import math

import numpy as np

from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.functions import of_symmetric
from matstream.shared.linear_algebra.norms import nonzero
from matstream.shared.operation import Answers, Floats, Method, Operation, Part, cubic


def _square_root(inputs: Floats) -> Answers:
    """X = A^½ (B, n, n) of symmetric A (B, n, n) (LAPACK syevd); NaN where an eigenvalue is below 0.

    Residual: e / √(λ₁λₖ), where e = ‖AQ−QΛ‖_F + ‖A‖_F max|QᵀQ−I|, and λ₁ and λₖ are the largest and the
    smallest eigenvalue that is not 0. It bounds the error of X relative to ‖X‖₂ where the eigenvalues that
    are sent as 0, up to ROUNDING λ₁, are truly 0, as those of a matrix of low rank are.
    """
    with np.errstate(invalid="ignore"):
        targets, values, error = of_symmetric(np.sqrt, inputs)
    smallest = np.where(values == 0, np.inf, values).min(axis=1)
    smallest = np.where(np.isinf(smallest), 0.0, smallest)  # A = 0
    with np.errstate(invalid="ignore"):
        return Answers(targets, error / nonzero(np.sqrt(values[:, 0]) * np.sqrt(smallest)))


OPERATION = Operation(
    group="spectra",
    input_form="symmetric A without negative eigenvalues (n×n)",
    target_form="A^½ (n×n)",
    parts=lambda m, n: (Part("A^½", n, n),),
    needs="positive",
    target=_square_root,
    residual_bound=1e-10,
    cost=cubic(135),
    magnitudes=lambda usual, largest, m, n: (math.sqrt(usual), math.sqrt(n * largest)),
    methods=(Method("Denman–Beavers", iterations.denman_beavers),),
)
