"""A⁺, the Moore–Penrose inverse of a matrix.

*Matrix Computations* (Golub & Van Loan), section 5.5.2.
"""

import numpy as np

from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.norms import largest, nonzero, square_norm
from matstream.shared.linear_algebra.pseudo_inverses import pseudo_inverses
from matstream.shared.linear_algebra.rounding import ROUNDING, clear
from matstream.shared.operation import Answers, Floats, Method, Operation, Part, cubic
from matstream.shared.operations.inverse import BOUND, LARGEST


def _pseudo_inverse(inputs: Floats) -> Answers:
    """X = A⁺ (B, n, m) of A (B, m, n) (LAPACK gesdd).

    Residual: the largest of max|AXA−A| / ‖A‖_F, max|XAX−X| / ‖X‖_F, and the asymmetry of AX and of XA, the
    four conditions of Penrose; infinite where rounding leaves the rank uncertain.
    """
    x, size, uncertain = pseudo_inverses(inputs)
    clear(x, ROUNDING * size[:, None, None])
    ax, xa = inputs @ x, x @ inputs
    conditions = [
        largest(ax @ inputs - inputs) / nonzero(np.sqrt(square_norm(inputs))),
        largest(xa @ x - x) / nonzero(np.sqrt(square_norm(x))),
        largest(ax - ax.swapaxes(1, 2)),
        largest(xa - xa.swapaxes(1, 2)),
    ]
    return Answers(x + 0.0, np.maximum.reduce([*conditions, uncertain]))  # no −0


OPERATION = Operation(
    group="inverses and solves",
    input_form="A (m×n)",
    target_form="A⁺ (n×m)",
    parts=lambda m, n: (Part("A⁺", n, m),),
    target=_pseudo_inverse,
    residual_bound=BOUND,
    cost=cubic(220),
    magnitudes=lambda usual, largest, m, n: (1 / (largest * max(m, n)), LARGEST / usual),
    methods=(Method("Newton–Schulz", iterations.newton_schulz),),
)
