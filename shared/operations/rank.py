"""The rank of a matrix: how many of its singular values are not 0.

Matrices are drawn with a chosen rank (structure `chosen_rank`): they have whole entries, so that their rank
is exact. Only the very number is right. *Matrix Computations* (Golub & Van Loan), section 5.5.8.
"""

import numpy as np

from matstream.shared.linear_algebra.lapack import singular_values
from matstream.shared.linear_algebra.rounding import rank_of
from matstream.shared.operation import Answers, Floats, Operation, Part, cubic, exact


def _rank(inputs: Floats) -> Answers:
    """The rank (B, 1, 1) of A (B, m, n): the number of σ > ROUNDING σ₁ (LAPACK gesdd).

    Residual: the largest σ that counts as 0, or the rounding error, divided by the smallest that does not.
    """
    values = singular_values(inputs)
    rank, doubt = rank_of(values)
    return Answers(rank.astype(np.float64)[:, None, None], doubt)


OPERATION = Operation(
    group="spectra",
    input_form="A (m×n)",
    target_form="rank A (1×1)",
    parts=lambda m, n: (Part("rank A", 1, 1),),
    structures=("chosen_rank", "laplacian"),
    target=_rank,
    residual_bound=1e-6,
    cost=cubic(55),
    magnitudes=lambda usual, largest, m, n: (1.0, min(m, n)),
    deviation=exact,
)
