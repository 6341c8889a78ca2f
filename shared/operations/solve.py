"""A⁻¹b, the solution x of Ax = b of a square matrix and a vector.

*Matrix Computations* (Golub & Van Loan), section 3.4.
"""

from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.solving import solved
from matstream.shared.operation import Answers, Floats, Method, Operand, Operation, Part, cubic
from matstream.shared.operations.inverse import BOUND, LARGEST


def _solution(inputs: Floats) -> Answers:
    """x (B, n, 1) of [A b] (B, n, n+1). Residual: max|A⁻¹(b−Ax)| / max|x|."""
    return Answers(*solved(inputs[:, :, :-1], inputs[:, :, -1:]))


def _conjugate_gradients(inputs: Floats, steps: int) -> Floats:
    return iterations.conjugate_gradients_of_normal_equations(inputs[:, :, :-1], inputs[:, :, -1:], steps)


def _gradient_descent(inputs: Floats, steps: int) -> Floats:
    return iterations.gradient_descent(inputs[:, :, :-1], inputs[:, :, -1:], steps)


METHODS = (
    Method("conjugate gradients of AᵀA", _conjugate_gradients),
    Method("gradient descent", _gradient_descent),
)

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
    methods=METHODS,
)
