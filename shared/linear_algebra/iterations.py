"""Iterative methods of numerical linear algebra, so many steps of them, on batches.

They are what a model's answers are compared with: each is written for clarity, starts where its textbook
says, and takes no shortcut that the textbook does not. (Golub & Van Loan, *Matrix Computations*; Saad,
*Iterative Methods for Sparse Linear Systems*.)
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matstream.shared.linear_algebra.lapack import inverses
from matstream.shared.linear_algebra.norms import nonzero

Floats = NDArray[np.float64]

_ENOUGH = 1e-28  # of the square of the first residual: conjugate gradients that have found x go no further


def _dot(a: Floats, b: Floats) -> Floats:
    """Inner products (B, 1, 1) of columns (B, n, 1)."""
    products: Floats = (a * b).sum(axis=(1, 2))[:, None, None]
    return products


def conjugate_gradients(a: Floats, b: Floats, steps: int) -> Floats:
    """x (B, n, 1) of Ax = b after `steps` from x = 0, A symmetric and positive semidefinite, b in its range.
    (Golub & Van Loan, section 11.3.)"""
    x = np.zeros_like(b)
    residual = b.copy()
    direction, square = residual.copy(), _dot(residual, residual)
    enough = _ENOUGH * square
    for _ in range(steps):
        image = a @ direction
        length = np.where(square > enough, square / nonzero(_dot(direction, image)), 0.0)
        x = x + length * direction
        residual = residual - length * image
        new = _dot(residual, residual)
        direction, square = residual + new / nonzero(square) * direction, new
    return x


def conjugate_gradients_of_normal_equations(a: Floats, b: Floats, steps: int) -> Floats:
    """x (B, n, 1) of AᵀAx = Aᵀb after `steps` from x = 0, of A (B, m, n) and b (B, m, 1). (Saad, section
    8.3.)"""
    at = a.swapaxes(1, 2)
    x = np.zeros((len(a), a.shape[2], 1))
    residual = b.copy()
    direction = at @ residual
    square = _dot(direction, direction)
    enough = _ENOUGH * square
    for _ in range(steps):
        image = a @ direction
        length = np.where(square > enough, square / nonzero(_dot(image, image)), 0.0)
        x = x + length * direction
        residual = residual - length * image
        gradient = at @ residual
        new = _dot(gradient, gradient)
        direction, square = gradient + new / nonzero(square) * direction, new
    return x


def gradient_descent(a: Floats, b: Floats, steps: int) -> Floats:
    """x (B, n, 1) after so many steps down the gradient of ‖Ax−b‖² from x = 0, each as long as is best.
    (Saad, section 5.3.)"""
    at = a.swapaxes(1, 2)
    x = np.zeros((len(a), a.shape[2], 1))
    for _ in range(steps):
        gradient = at @ (b - a @ x)
        image = a @ gradient
        x = x + _dot(gradient, gradient) / nonzero(_dot(image, image)) * gradient
    return x


def newton_schulz(a: Floats, steps: int) -> Floats:
    """The inverse or pseudo-inverse (B, n, m) of A (B, m, n): X ← X(2I − AX) from X = Aᵀ/(‖A‖₁‖A‖_∞).
    (Ben-Israel & Cohen, SIAM J. Numer. Anal. 3, 1966.)"""
    size = np.abs(a).sum(axis=1).max(axis=1) * np.abs(a).sum(axis=2).max(axis=1)
    x = a.swapaxes(1, 2) / nonzero(size)[:, None, None]
    for _ in range(steps):
        x = 2 * x - x @ a @ x
    return x


def qr_iteration(a: Floats, steps: int) -> tuple[Floats, Floats]:
    """Eigenvalues (B, n), descending, and vectors as columns (B, n, n) of symmetric A: A ← RQ of A = QR,
    without shifts. (Golub & Van Loan, section 8.2.)"""
    q = np.broadcast_to(np.eye(a.shape[1]), a.shape)
    for _ in range(steps):
        turn, r = np.linalg.qr(a)
        a, q = r @ turn, q @ turn
    return _descending(np.diagonal(a, axis1=1, axis2=2), q)


def jacobi(a: Floats, steps: int) -> tuple[Floats, Floats]:
    """Eigenvalues (B, n), descending, and vectors as columns (B, n, n) of symmetric A after so many sweeps of
    Jacobi rotations, row by row. (Golub & Van Loan, section 8.5.)"""
    n = a.shape[1]
    a, q = a.copy(), np.tile(np.eye(n), (len(a), 1, 1))
    for _ in range(steps):
        for i in range(n):
            for j in range(i + 1, n):
                off, gap = a[:, i, j], a[:, j, j] - a[:, i, i]
                angle = 0.5 * np.arctan2(2 * off, gap)
                angle = np.where(angle > math.pi / 4, angle - math.pi / 2, angle)  # the smaller of two
                angle = np.where(angle < -math.pi / 4, angle + math.pi / 2, angle)
                turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], axis=1)
                turn = turn.reshape(-1, 2, 2)
                a[:, :, [i, j]] = a[:, :, [i, j]] @ turn
                a[:, [i, j]] = turn.swapaxes(1, 2) @ a[:, [i, j]]
                q[:, :, [i, j]] = q[:, :, [i, j]] @ turn
    return _descending(np.diagonal(a, axis1=1, axis2=2), q)


def qr_iteration_of_rectangles(a: Floats, steps: int) -> tuple[Floats, Floats, Floats]:
    """Singular values (B, k), descending, and the vectors U (B, m, k) and V (B, n, k) of A (B, m, n): QR
    decompositions of R and of Rᵀ in turn. (Golub & Van Loan, section 8.6; Chandrasekaran & Ipsen, 1995.)"""
    m, n = a.shape[1:]
    if m < n:
        values, right, left = qr_iteration_of_rectangles(np.ascontiguousarray(a.swapaxes(1, 2)), steps)
        return values, left, right
    u, r = np.linalg.qr(a)
    v = np.broadcast_to(np.eye(n), (len(a), n, n))
    for step in range(steps):
        turn, r = np.linalg.qr(r.swapaxes(1, 2))  # Rᵀ = QR', so that A = U R'ᵀ Qᵀ Vᵀ
        if step % 2:
            u = u @ turn
        else:
            v = v @ turn
    values = np.diagonal(r, axis1=1, axis2=2)
    order = np.argsort(-np.abs(values), axis=1, kind="stable")
    u, v = (np.take_along_axis(x, order[:, None], axis=2) for x in (u, v))
    values = np.take_along_axis(values, order, axis=1)
    return np.abs(values), u, v * np.where(values < 0, -1.0, 1.0)[:, None]


def _descending(values: Floats, vectors: Floats) -> tuple[Floats, Floats]:
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(vectors, order[:, None], axis=2)


def taylor_series(a: Floats, steps: int) -> Floats:
    """e^A (B, n, n), the terms up to A^steps/steps!."""
    term = np.broadcast_to(np.eye(a.shape[1]), a.shape)
    total = term.copy()
    for k in range(1, steps + 1):
        term = term @ a / k
        total = total + term
    return total


def denman_beavers(a: Floats, steps: int) -> Floats:
    """A^½ (B, n, n): Y ← (Y + Z⁻¹)/2 and Z ← (Z + Y⁻¹)/2 from Y = A and Z = I. (Higham, *Functions of
    Matrices*, section 6.3.) NaN where a matrix cannot be inverted."""
    y, z = a, np.broadcast_to(np.eye(a.shape[1]), a.shape)
    for _ in range(steps):
        y, z = (y + inverses(z)) / 2, (z + inverses(y)) / 2
    return y


def durand_kerner(coefficients: Floats, steps: int) -> NDArray[Any]:
    """The roots (B, n) of xⁿ + c₁xⁿ⁻¹ + … of coefficients (B, n), all at once: x ← x − p(x)/Π(x − other x)
    from points on a circle. (Kerner, Numer. Math. 8, 1966.)"""
    n = coefficients.shape[1]
    radius = 1 + np.abs(coefficients).max(axis=1, keepdims=True)
    x: NDArray[Any] = radius * np.exp(2j * np.pi * (np.arange(n) + 0.25) / n)
    for _ in range(steps):
        value = np.ones_like(x)
        for k in range(n):
            value = value * x + coefficients[:, k, None]
        apart = x[:, :, None] - x[:, None] + np.eye(n)
        x = x - value / np.where(apart == 0, 1, apart).prod(axis=2)
    return x
