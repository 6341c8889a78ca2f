"""The eigenvalues of a square matrix, which may be complex: one row each, the real part and the imaginary
part.

They stand by descending real part, and by descending imaginary part where real parts are equal, so that a
conjugate pair has its positive imaginary part first. *Matrix Computations* (Golub & Van Loan), section 7.5.
"""

import numpy as np

from matstream.shared.linear_algebra import lapack
from matstream.shared.linear_algebra.complex_values import in_order
from matstream.shared.linear_algebra.norms import nonzero, square_norm
from matstream.shared.linear_algebra.rounding import ROUNDING, clear
from matstream.shared.operation import Answers, Floats, Histogram, Operation, Part, cubic


def _eigenvalues(inputs: Floats) -> Answers:
    """Real and imaginary parts (B, n, 2) of the eigenvalues of A (B, n, n) (LAPACK geev).

    Residual: the largest of κ‖Av−λv‖₂ / ‖A‖_F over the eigenvalues, where κ is the condition number of λ. To
    first order it bounds the error of λ. (Golub & Van Loan, section 7.2.2.)
    """
    n = inputs.shape[1]
    values, vectors, inverses = lapack.solve(_decomposed, inputs, [(n,), (n, n), (n, n)])
    least = ROUNDING * nonzero(np.abs(values).max(axis=1))[:, None]
    for part in (values.real, values.imag):
        clear(part, least)
    off = np.sqrt(np.square(np.abs(inputs @ vectors - vectors * values[:, None])).sum(axis=1))
    with np.errstate(over="ignore", invalid="ignore"):  # of too few eigenvectors: infinite, which is refused
        condition = np.sqrt(np.square(np.abs(inverses)).sum(axis=2))
        error = (off * condition).max(axis=1)
    return Answers(in_order(values), error / nonzero(np.sqrt(square_norm(inputs))))


def _decomposed(a: Floats) -> tuple[Floats, Floats, Floats]:
    values, vectors = (part.astype(np.complex128) for part in np.linalg.eig(a))  # of unit length
    return values, vectors, lapack.inverses(vectors)


OPERATION = Operation(
    group="spectra",
    input_form="A (n×n)",
    target_form="λ, by descending real part: real and imaginary parts (n×2)",
    parts=lambda m, n: (Part("λ", n, 2),),
    needs="square",
    diagonalisable=True,
    target=_eigenvalues,
    residual_bound=1e-10,
    cost=cubic(300),
    magnitudes=lambda usual, largest, m, n: (usual, n * largest),
    histogram=Histogram("real and imaginary parts"),
)
