"""What rounding cannot tell from 0 is sent as 0, so that neither a digit nor a sign is noise.

That is λ and σ up to ROUNDING ‖A‖₂, and components of unit vectors up to NOISE. LAPACK answers for a matrix
near A, which turns the vector of a λ or σ by its rounding over its distance to the next (Davis & Kahan 1970;
Golub & Van Loan, *Matrix Computations*, section 8.1): the components before the first that is larger than
that are 0 too. Where they were not, the residual says so, and the sample, whose sign rounding would decide,
is drawn again.
"""

import numpy as np
from numpy.typing import NDArray

from matstream.shared.linear_algebra.norms import nonzero

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ROUNDING = 64 * 2.0**-52  # of λ and σ, relative to ‖A‖₂: over twice the most that was seen, up to n = 128
NOISE = 1e-13  # of a component of a unit vector; a tenth of what its residual may be
MOST_NOISE = 1e-9  # that is looked for in front of the component that decides a sign


def rounding(values: Floats) -> Floats:
    """The rounding (B, 1) of the λ or σ (B, k), descending, of a matrix."""
    return ROUNDING * nonzero(np.maximum(np.abs(values[:, :1]), np.abs(values[:, -1:])))


def distances(values: Floats, null_space: bool) -> Floats:
    """How far each of (B, k) values, descending, is from the next, or from 0 if it has a null space."""
    gaps = np.empty((len(values), values.shape[1] + 1))
    gaps[:, 0] = np.inf
    gaps[:, -1] = values[:, -1] if null_space else np.inf
    np.subtract(values[:, :-1], values[:, 1:], out=gaps[:, 1:-1])
    return np.minimum(gaps[:, :-1], gaps[:, 1:])


def clear(numbers: Floats, up_to: Floats | float) -> None:
    """Write 0 for each number that is not over its rounding."""
    sizes = np.abs(numbers)
    if not sizes.min() > np.max(up_to):
        numbers[sizes <= up_to] = 0.0


def clear_leading(columns: Floats, values: Floats, null_space: bool) -> None:
    """In each unit vector, a column of (B, n, k), write 0 for what stands before the first component over its
    rounding: that of its λ or σ in (B, k), descending, over the distance to the next, and at most MOST_NOISE;
    but NOISE where the value repeats, which leaves the vector free."""
    if np.abs(columns[:, 0]).min() > MOST_NOISE:  # this quick look is enough for nearly every batch
        return
    apart, least = distances(values, null_space), rounding(values)
    turned = np.minimum(least / np.maximum(apart, least), MOST_NOISE)
    noise = np.abs(columns) <= np.where(apart > least, turned, NOISE)[:, None]
    columns[np.logical_and.accumulate(noise, axis=1)] = 0.0


def leading_signs(columns: Floats) -> Floats:
    """For each column of (B, n, k), ±1: the sign of its first component that is not 0, as (B, k)."""
    leading = columns[:, 0]
    if not leading.all():
        first = (columns != 0).argmax(axis=1)
        leading = np.take_along_axis(columns, first[:, None], axis=1)[:, 0]
    return np.where(leading < 0, -1.0, 1.0)


def vectors_unique(inputs: Floats, targets: Floats) -> Bools:
    """Whether the vectors that belong to the λ or σ in row 0 of each target are the only ones, up to the sign
    that a rule decides: not where two of these are equal to rounding, or one of a rectangle's σ and 0."""
    values = targets[:, 0]
    apart = distances(values, null_space=inputs.shape[1] != inputs.shape[2])
    unique: Bools = np.all(apart > rounding(values), axis=1)
    return unique
