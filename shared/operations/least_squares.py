"""The x that minimises ‖Ax−b‖₂, of a matrix with more rows than columns and a vector.

*Matrix Computations* (Golub & Van Loan), section 5.3.
"""

import numpy as np

from matstream.shared.linear_algebra import lapack
from matstream.shared.linear_algebra.norms import largest, nonzero
from matstream.shared.operation import Answers, Floats, Operand, Operation, Part, cubic
from matstream.shared.operations import solve
from matstream.shared.operations.inverse import BOUND, LARGEST


def _least_squares(inputs: Floats) -> Answers:
    """x (B, n, 1) of [A b] (B, m, n+1) (LAPACK geqrf, gesv).

    Residual: the step of one iterative refinement, max|R⁻¹R⁻ᵀAᵀ(b−Ax)| / max|x|, A = QR. It estimates the
    error of x relative to max|x|.
    """
    n = inputs.shape[2] - 1
    x, step = lapack.solve(_solved, inputs, [(n, 1), (n, 1)])
    return Answers(x + 0.0, largest(step) / nonzero(largest(x)))  # no −0


def _solved(joined: Floats) -> tuple[Floats, Floats]:
    a, b = joined[:, :, :-1], joined[:, :, -1:]
    q, r = np.linalg.qr(a)
    qt = q.swapaxes(1, 2)
    x = lapack.solutions(r, qt @ b)
    gradient = a.swapaxes(1, 2) @ (b - a @ x)  # not by Q, whose error it would not see
    return x, lapack.solutions(r, lapack.solutions(r.swapaxes(1, 2), gradient))


OPERATION = Operation(
    group="inverses and solves",
    input_form="[A b] (m×(n+1)), m > n",
    target_form="the x that minimises ‖Ax−b‖ (n×1)",
    operands=lambda m, n: (Operand(m, n), Operand(m, 1, vector=True)),
    parts=lambda m, n: (Part("x", n, 1),),
    spare_rows=1,
    invertible=True,
    target=_least_squares,
    residual_bound=BOUND,
    cost=cubic(65),
    magnitudes=lambda usual, largest, m, n: (usual / largest, LARGEST),
    methods=solve.METHODS,
)
