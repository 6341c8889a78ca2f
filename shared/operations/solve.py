"""A⁻¹b, the solution x of Ax = b of a square matrix and a vector.

*Matrix Computations* (Golub & Van Loan), section 3.4.
"""

from matstream.shared.linear_algebra.solving import solved
from matstream.shared.operation import Answers, Floats, Operand, Operation, Part, cubic
from matstream.shared.operations.inverse import BOUND, LARGEST


def _solution(inputs: Floats) -> Answers:
    """x (B, n, 1) of [A b] (B, n, n+1). Residual: max|A⁻¹(b−Ax)| / max|x|."""
    return Answers(*solved(inputs[:, :, :-1], inputs[:, :, -1:]))


OPERATION = Operation(
    group="inverses and solves",
    input_form="[A b] (n×(n+1))",
    target_form="A⁻¹b (n×1)",
    operands=lambda m, n: (Operand(n, n), Operand(n, 1, vector=True)),
    parts=lambda m, n: (Part("A⁻¹b", n, 1),),
    needs="square",
    invertible=True,
    target=_solution,
    residual_bound=BOUND,
    cost=cubic(45),
    magnitudes=lambda usual, largest, m, n: (usual / largest, LARGEST),
)
