"""The roots of the polynomial xⁿ + c₁xⁿ⁻¹ + … + cₙ: one row each, the real part and the imaginary part.

They stand by descending real part, and by descending imaginary part where real parts are equal. *Matrix
Computations* (Golub & Van Loan), section 7.4.6.
"""

import numpy as np

from matstream.shared.linear_algebra import iterations
from matstream.shared.linear_algebra.complex_values import in_order
from matstream.shared.linear_algebra.lapack import solve
from matstream.shared.linear_algebra.norms import nonzero
from matstream.shared.linear_algebra.rounding import ROUNDING, clear
from matstream.shared.operation import Answers, Floats, Histogram, Method, Operand, Operation, Part, cubic


def _roots(inputs: Floats) -> Answers:
    """Real and imaginary parts (B, n, 2) of the roots of the polynomials with coefficients c (B, n, 1): the
    eigenvalues of their companion matrices (LAPACK geev).

    Residual: the largest of (|p(x)| + ε Σ|c||x|ᵏ) / |p'(x)| over the roots x, relative to the largest |x|: a
    step of Newton's method, and how far rounding may have moved it. It estimates how far x is from the root.
    """
    coefficients = inputs[:, :, 0]
    n = coefficients.shape[1]
    companion = np.zeros((len(inputs), n, n))
    companion[:, 0] = -coefficients
    companion[:, np.arange(1, n), np.arange(n - 1)] = 1.0
    (values,) = solve(lambda a: (np.linalg.eigvals(a).astype(np.complex128),), companion, [(n,)])
    size = nonzero(np.abs(values).max(axis=1))
    for part in (values.real, values.imag):
        clear(part, ROUNDING * size[:, None])
    polynomial, derivative = np.ones_like(values), np.zeros_like(values)
    terms = np.ones(values.shape)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for k in range(n):  # Horner's method
            derivative = derivative * values + polynomial
            polynomial = polynomial * values + coefficients[:, k, None]
            terms = terms * np.abs(values) + np.abs(coefficients[:, k, None])
        steps = (np.abs(polynomial) + np.finfo(np.float64).eps * terms) / np.abs(derivative)
    steps[terms == 0] = 0.0  # x = 0, of xⁿ for n = 1
    return Answers(in_order(values), steps.max(axis=1) / size)


OPERATION = Operation(
    group="spectra",
    input_form="c₁ … cₙ (n×1)",
    target_form="the roots of xⁿ + c₁xⁿ⁻¹ + … + cₙ: real and imaginary parts (n×2)",
    operands=lambda m, n: (Operand(n, 1, vector=True),),
    parts=lambda m, n: (Part("x", n, 2),),
    needs="square",
    structures=("none",),
    target=_roots,
    residual_bound=1e-10,
    cost=cubic(150),
    magnitudes=lambda usual, largest, m, n: (1.0, 1 + largest),
    histogram=Histogram("real and imaginary parts"),
    methods=(Method("Durand–Kerner", lambda c, k: in_order(iterations.durand_kerner(c[:, :, 0], k))),),
)
