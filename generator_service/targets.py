"""Matrices -> targets, each with the residual that certifies it.

Axes: the batch first, so that a reduction over a matrix gives the same bits in any batch.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Targets = tuple[Floats, Floats]  # targets (B, p, q), residuals (B,)

# A sample whose residual is over its operation's bound is drawn again.
RESIDUAL_BOUND = {
    "add": 0.0,
    "eigenvalues": 1e-12,
    "transpose": 0.0,
}


def _transpose(inputs: Floats) -> Targets:
    """Aᵀ of A (B, m, n)."""
    return np.ascontiguousarray(inputs.swapaxes(1, 2)), np.zeros(len(inputs))


def _add(inputs: Floats) -> Targets:
    """A+B of [A B] (B, m, 2n)."""
    n = inputs.shape[2] // 2
    return inputs[:, :, :n] + inputs[:, :, n:], np.zeros(len(inputs))


def _eigenvalues(inputs: Floats) -> Targets:
    """Eigenvalues (B, n, 1), descending, of symmetric A (B, n, n) (LAPACK syevd).

    Residual: the larger of |Σλ−tr A| / (n‖A‖_F) and |Σλ²−‖A‖²_F| / ‖A‖²_F; 0 for A = 0.
    """
    n = inputs.shape[1]
    values = np.ascontiguousarray(np.linalg.eigvalsh(inputs)[:, ::-1])
    square = np.square(inputs).reshape(len(inputs), -1).sum(axis=1)
    norm2 = np.where(square > 0, square, 1)
    trace = np.abs(values.sum(axis=1) - np.trace(inputs, axis1=1, axis2=2)) / (n * np.sqrt(norm2))
    squares = np.abs(np.square(values).sum(axis=1) - square) / norm2
    return values[:, :, None], np.maximum(trace, squares)


# operation -> inputs (B, m, w) -> (targets, residuals)
TARGETS: dict[str, Callable[[Floats], Targets]] = {
    "add": _add,
    "eigenvalues": _eigenvalues,
    "transpose": _transpose,
}
