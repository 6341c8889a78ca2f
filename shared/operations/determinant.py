"""det A, the determinant of a square matrix.

A determinant that rounding cannot tell from 0 is 0. *Matrix Computations* (Golub & Van Loan), section 3.2.
"""

import math

import numpy as np

from matstream.shared.linear_algebra.norms import nonzero
from matstream.shared.linear_algebra.rounding import ROUNDING
from matstream.shared.operation import Answers, Floats, Operation, Part, cubic


def _determinant(inputs: Floats) -> Answers:
    """det A (B, 1, 1) of A (B, n, n) (LAPACK getrf).

    Residual: the larger distance of det A from the determinants of Aᵀ and of A with its rows and columns
    reversed, divided by |det A|. |det A| up to ROUNDING ∏‖row‖₂, its bound by Hadamard, counts as 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.linalg.det(inputs)
        others = [
            np.linalg.det(np.ascontiguousarray(a)) for a in (inputs.swapaxes(1, 2), inputs[:, ::-1, ::-1])
        ]
        bound = np.sqrt(np.square(inputs).sum(axis=2)).prod(axis=1)
        values = np.where(np.abs(values) <= ROUNDING * bound, 0.0, values)
        off = np.maximum(*(np.abs(values - other) for other in others))
        residuals = np.where(values == 0, 0.0, off / nonzero(np.abs(values)))
    return Answers(values[:, None, None], residuals)


def _magnitudes(usual: float, largest: float, m: int, n: int) -> tuple[float, float]:
    # by Hadamard's bound; the usual one is that of free entries, or less, since structures have smaller ones
    most = n * (math.log(largest) + math.log(n) / 2)
    return math.exp(min(n * math.log(usual) + math.lgamma(n + 1) / 2, 0)), math.exp(min(most, 700))


OPERATION = Operation(
    group="spectra",
    input_form="A (n×n)",
    target_form="det A (1×1)",
    parts=lambda m, n: (Part("det A", 1, 1),),
    needs="square",
    target=_determinant,
    residual_bound=1e-10,
    cost=cubic(45),
    magnitudes=_magnitudes,
)
