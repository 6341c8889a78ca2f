"""det A, the determinant of a square matrix.

That of a matrix which rounding cannot tell from a singular one is 0. *Matrix Computations* (Golub & Van
Loan), section 3.2.
"""

import math

import numpy as np

from matstream.shared.linear_algebra.lapack import singular_values
from matstream.shared.linear_algebra.norms import nonzero
from matstream.shared.linear_algebra.rounding import ROUNDING
from matstream.shared.operation import Answers, Floats, Operation, Part, cubic

NEAR = 1e-6  # of Hadamard's bound, for whose sake σ are computed


def _determinant(inputs: Floats) -> Answers:
    """det A (B, 1, 1) of A (B, n, n) (LAPACK getrf).

    Residual: the larger distance of det A from the determinants of Aᵀ and of A with its rows and columns
    reversed, divided by |det A|. Where the smallest σ is at most ROUNDING times the largest (LAPACK gesdd),
    the determinant is 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.linalg.det(inputs)
        others = [
            np.linalg.det(np.ascontiguousarray(a)) for a in (inputs.swapaxes(1, 2), inputs[:, ::-1, ::-1])
        ]
        # ∏‖row‖₂ bounds |det A| (Hadamard): only where it is far smaller can A be near a singular matrix
        bound = np.sqrt(np.square(inputs).sum(axis=2)).prod(axis=1)
        near = np.flatnonzero(np.abs(values) <= NEAR * bound)
        sigma = singular_values(inputs[near])
        values[near[sigma[:, -1] <= ROUNDING * sigma[:, 0]]] = 0.0
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
