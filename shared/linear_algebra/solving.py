"""Linear systems in batches, with the error of each solution."""

import numpy as np
from numpy.typing import NDArray

from matstream.shared.linear_algebra.lapack import solutions
from matstream.shared.linear_algebra.norms import largest, nonzero

Floats = NDArray[np.float64]


def solved(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """x = A⁻¹b (B, n, p) of A (B, n, n) and b (B, n, p) (LAPACK gesv), and its error (B,).

    The error is that of one step of iterative refinement: max|A⁻¹(b−Ax)| / max|x|, which estimates how far x
    is from the solution. (Higham, *Accuracy and Stability of Numerical Algorithms*, chapter 12.)
    """
    x = solutions(a, b)
    step = solutions(a, b - a @ x)
    return x + 0.0, largest(step) / nonzero(largest(x))  # no −0
