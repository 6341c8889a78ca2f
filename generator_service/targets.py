"""Matrices -> targets, each with the residual that certifies it.

Axes: the batch first, so that a reduction over a matrix gives the same bits in any batch. A matrix that
LAPACK fails on has NaN for target and residual, and harms no other.

What rounding cannot tell from 0 is sent as 0, so that neither a digit nor a sign is noise: λ and σ up to
ROUNDING ‖A‖₂, components of unit vectors up to NOISE. LAPACK answers for a matrix near A, which turns the
vector of a λ or σ by its rounding over its distance to the next (Davis & Kahan 1970; Golub & Van Loan,
*Matrix Computations*, section 8.1): the components before the first that is larger than that are 0 too. Where
they were not, the residual says so, and the sample, whose sign rounding would decide, is drawn again.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from generator_service.lapack import eigh, solve

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Targets = tuple[Floats, Floats]  # targets (B, p, q), residuals (B,)

# A sample whose residual is over its operation's bound is drawn again. The bounds are some hundred times what
# rounding leaves at n = 64; that of the inverses is PAPER.md's, and refuses condition numbers ≳ 1e5.
RESIDUAL_BOUND = {
    "add": 0.0,
    "eigenvalues": 1e-12,
    "eigenvectors": 1e-12,
    "inverse": 1e-10,
    "matmul": 1e-12,
    "matvec": 1e-12,
    "singular_values": 1e-12,
    "svd": 1e-12,
    "symmetric_inverse": 1e-10,
    "transpose": 0.0,
}

ROUNDING = 64 * 2.0**-52  # of λ and σ, relative to ‖A‖₂: over twice the most that was seen, up to n = 128
NOISE = 1e-13  # of a component of a unit vector; a tenth of what its residual may be
MOST_NOISE = 1e-9  # that is looked for in front of the component that decides a sign

# Structures by which a λ or σ repeats, in some matrices or in all: its vectors may be any basis of a space.
NOT_UNIQUE = {
    "eigenvectors": ("circulant", "condition-1", "laplacian"),
    "svd": ("circulant", "condition-1", "kronecker", "laplacian", "orthogonal"),  # kronecker: as 8×9 is
}


def _transpose(inputs: Floats) -> Targets:
    """Aᵀ of A (B, m, n)."""
    return np.ascontiguousarray(inputs.swapaxes(1, 2)), np.zeros(len(inputs))


def _add(inputs: Floats) -> Targets:
    """A+B of [A B] (B, m, 2n)."""
    n = inputs.shape[2] // 2
    return inputs[:, :, :n] + inputs[:, :, n:], np.zeros(len(inputs))


def _matmul(inputs: Floats) -> Targets:
    """AᵀB of [A B] (B, m, 2n)."""
    n = inputs.shape[2] // 2
    return _product(inputs[:, :, :n], inputs[:, :, n:])


def _matvec(inputs: Floats) -> Targets:
    """Aᵀv of [A v] (B, m, n+1)."""
    return _product(inputs[:, :, :-1], inputs[:, :, -1:])


def _product(a: Floats, b: Floats) -> Targets:
    """AᵀB of A (B, m, n), B (B, m, p).

    Residual (Freivalds' check): |rᵀTw − (Ar)ᵀ(Bw)| / (‖A‖_F‖B‖_F) for fixed vectors r, w of ±1.
    """
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    targets = a.swapaxes(1, 2) @ b
    r, w = _signs(a.shape[2], 2), _signs(b.shape[2], 3)
    direct = ((targets * r[:, None]).sum(axis=1) * w).sum(axis=1)
    factored = ((a * r).sum(axis=2) * (b * w).sum(axis=2)).sum(axis=1)
    norms = np.sqrt(_square_norm(a)) * np.sqrt(_square_norm(b))  # their squares' product may overflow
    return targets, np.abs(direct - factored) / _nonzero(norms)


def _eigenvalues(inputs: Floats) -> Targets:
    """Eigenvalues (B, n, 1), descending, of symmetric A (B, n, n) (LAPACK syevd).

    Residual: the larger of |Σλ−tr A| / (n‖A‖_F) and |Σλ²−‖A‖²_F| / ‖A‖²_F; 0 for A = 0.
    """
    n = inputs.shape[1]
    (ascending,) = solve(lambda a: (np.linalg.eigvalsh(a),), inputs, [(n,)])
    values = ascending[:, ::-1] + 0.0  # no −0
    _clear(values, _rounding(values))
    square = _square_norm(inputs)
    trace = np.abs(values.sum(axis=1) - np.trace(inputs, axis1=1, axis2=2)) / (n * np.sqrt(_nonzero(square)))
    squares = np.abs(np.square(values).sum(axis=1) - square) / _nonzero(square)
    return values[:, :, None], np.maximum(trace, squares)


def _eigenvectors(inputs: Floats) -> Targets:
    """Row 0: eigenvalues, descending; rows 1..n: eigenvectors as columns (B, n+1, n), of symmetric A
    (B, n, n) (LAPACK syevd); the first component of a vector that is not 0 is positive.

    Residual: the larger of max|AQ−QΛ| / ‖A‖_F and max|QᵀQ−I|.
    """
    n = inputs.shape[1]
    ascending, vectors = eigh(inputs)
    _clear(vectors, NOISE)
    targets = np.empty((len(inputs), n + 1, n))
    values, q = targets[:, 0], targets[:, 1:]
    values[:] = ascending[:, ::-1]
    q[:] = vectors[:, :, ::-1]
    _clear(values, _rounding(values))
    _clear_leading(q, values, null_space=False)
    q *= _leading_signs(q)[:, None]
    targets += 0.0  # no −0
    off = largest(inputs @ q - q * values[:, None]) / _nonzero(np.sqrt(_square_norm(inputs)))
    return targets, np.maximum(off, _off_orthonormal(q))


def _singular_values(inputs: Floats) -> Targets:
    """Singular values (B, k, 1), descending, of A (B, m, n), k = min(m, n) (LAPACK gesdd).

    Residual: |Σσ²−‖A‖²_F| / ‖A‖²_F; 0 for A = 0.
    """
    k = min(inputs.shape[1:])
    (values,) = solve(lambda a: (np.linalg.svd(a, compute_uv=False),), inputs, [(k,)])
    _clear(values, _rounding(values))
    square = _square_norm(inputs)
    return values[:, :, None], np.abs(np.square(values).sum(axis=1) - square) / _nonzero(square)


def _svd(inputs: Floats) -> Targets:
    """Row 0: σ, descending; next m rows: U (m×k); next n rows: V (n×k), as (B, 1+m+n, k), of A (B, m, n)
    (LAPACK gesdd); the first component of a column of U that is not 0 is positive, and of V where σ = 0.

    Residual: the larger of max|UΣVᵀ−A| / ‖A‖_F, max|UᵀU−I| and max|VᵀV−I|.
    """
    m, n = inputs.shape[1:]
    k = min(m, n)
    left, sigma, right = solve(
        lambda a: tuple(np.linalg.svd(a, full_matrices=False)), inputs, [(m, k), (k,), (k, n)]
    )
    targets = np.empty((len(inputs), 1 + m + n, k))
    values, u, v = targets[:, 0], targets[:, 1 : 1 + m], targets[:, 1 + m :]
    values[:] = sigma
    _clear(values, _rounding(values))
    right = right.swapaxes(1, 2)
    for vectors in (left, right):
        _clear(vectors, NOISE)
        _clear_leading(vectors, values, null_space=m != n)
    signs = _leading_signs(left)
    np.multiply(left, signs[:, None], out=u)
    if not values.all():  # nothing ties the two signs of a pair of σ = 0
        signs = np.where(values == 0, _leading_signs(right), signs)
    np.multiply(right, signs[:, None], out=v)
    targets += 0.0  # no −0
    rebuilt = (u * values[:, None]) @ v.swapaxes(1, 2)
    off = largest(rebuilt - inputs) / _nonzero(np.sqrt(_square_norm(inputs)))
    return targets, np.maximum(off, np.maximum(_off_orthonormal(u), _off_orthonormal(v)))


def _inverse(inputs: Floats) -> Targets:
    """A⁻¹ (B, n, n) of A (B, n, n) (LAPACK gesv). Residual: max|A·A⁻¹−I|."""
    n = inputs.shape[1]
    (inverses,) = solve(lambda a: (np.linalg.inv(a),), inputs, [(n, n)])
    inverses += 0.0  # no −0
    return inverses, largest(inputs @ inverses - np.eye(n))


# operation -> inputs (B, m, w) -> (targets, residuals)
TARGETS: dict[str, Callable[[Floats], Targets]] = {
    "add": _add,
    "eigenvalues": _eigenvalues,
    "eigenvectors": _eigenvectors,
    "inverse": _inverse,
    "matmul": _matmul,
    "matvec": _matvec,
    "singular_values": _singular_values,
    "svd": _svd,
    "symmetric_inverse": _inverse,
    "transpose": _transpose,
}


def unique(operation: str, inputs: Floats, targets: Floats) -> Bools:
    """Whether each target (B, p, q) is the only one its input (B, m, w) has, as (B,): it is not where vectors
    are asked for and two λ or σ are equal to rounding, or one σ of a rectangle and 0."""
    if operation not in NOT_UNIQUE:
        return np.ones(len(targets), dtype=np.bool_)
    values = targets[:, 0]
    distances = _distances(values, null_space=inputs.shape[1] != inputs.shape[2])
    apart: Bools = np.all(distances > _rounding(values), axis=1)
    return apart


def _rounding(values: Floats) -> Floats:
    """The rounding (B, 1) of the λ or σ (B, k), descending, of a matrix."""
    return ROUNDING * _nonzero(np.maximum(np.abs(values[:, :1]), np.abs(values[:, -1:])))


def _distances(values: Floats, null_space: bool) -> Floats:
    """How far each of (B, k) values, descending, is from the next, or from 0 if it has a null space."""
    gaps = np.empty((len(values), values.shape[1] + 1))
    gaps[:, 0] = np.inf
    gaps[:, -1] = values[:, -1] if null_space else np.inf
    np.subtract(values[:, :-1], values[:, 1:], out=gaps[:, 1:-1])
    return np.minimum(gaps[:, :-1], gaps[:, 1:])


def _clear(numbers: Floats, rounding: Floats | float) -> None:
    """Write 0 for each number that is not over its rounding."""
    sizes = np.abs(numbers)
    if not sizes.min() > np.max(rounding):
        numbers[sizes <= rounding] = 0.0


def _clear_leading(columns: Floats, values: Floats, null_space: bool) -> None:
    """In each unit vector, a column of (B, n, k), write 0 for what stands before the first component over its
    rounding: that of its λ or σ in (B, k), descending, over the distance to the next, and at most MOST_NOISE;
    but NOISE where the value repeats, which leaves the vector free."""
    if np.abs(columns[:, 0]).min() > MOST_NOISE:  # this quick look is enough for nearly every batch
        return
    distances, rounding = _distances(values, null_space), _rounding(values)
    turned = np.minimum(rounding / np.maximum(distances, rounding), MOST_NOISE)
    noise = np.abs(columns) <= np.where(distances > rounding, turned, NOISE)[:, None]
    columns[np.logical_and.accumulate(noise, axis=1)] = 0.0


def _leading_signs(columns: Floats) -> Floats:
    """For each column of (B, n, k), ±1: the sign of its first component that is not 0, as (B, k)."""
    leading = columns[:, 0]
    if not leading.all():
        first = (columns != 0).argmax(axis=1)
        leading = np.take_along_axis(columns, first[:, None], axis=1)[:, 0]
    return np.where(leading < 0, -1.0, 1.0)


def _signs(length: int, period: int) -> Floats:
    """A fixed vector of ±1: −1 at every `period`-th place."""
    return np.where(np.arange(1, length + 1) % period == 0, -1.0, 1.0)


def _off_orthonormal(columns: Floats) -> Floats:
    """max|QᵀQ−I| of Q (B, n, k)."""
    return largest(columns.swapaxes(1, 2) @ columns - np.eye(columns.shape[2]))


def _square_norm(matrices: Floats) -> Floats:
    """‖A‖²_F of contiguous A (B, m, n)."""
    norm: Floats = np.square(matrices).reshape(len(matrices), -1).sum(axis=1)
    return norm


def largest(matrices: Floats) -> Floats:
    """The largest magnitude in each of (B, m, n), as (B,)."""
    magnitudes: Floats = np.abs(matrices).reshape(len(matrices), -1).max(axis=1)
    return magnitudes


def _nonzero(divisors: Floats) -> Floats:
    """Divisors with 1 for 0: what is divided by them is 0 there too."""
    return np.where(divisors == 0, 1.0, divisors)
