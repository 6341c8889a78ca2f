"""Numbers that rounding cannot tell from 0 are sent as 0, so that no digit and no sign of them is noise.

These are λ and σ up to ROUNDING ‖A‖₂, and components of unit vectors up to NOISE. Besides, LAPACK's answer is
that of a matrix near A, in which the vector of a λ or σ is turned by about the rounding error of this value
divided by its distance to the next (Davis & Kahan 1970; Golub & Van Loan, *Matrix Computations*, section
8.1). The components of a vector before the first that is larger than this angle are therefore set to 0 too.
If they were not 0 in truth, the residual shows it, and the sample is drawn again: rounding would decide its
sign.
"""

import numpy as np
from numpy.typing import NDArray

from matstream.shared.linear_algebra.norms import nonzero

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ROUNDING = 64 * 2.0**-52  # of λ and σ, relative to ‖A‖₂: over twice the largest that was seen, up to n = 128
NOISE = 1e-13  # of a component of a unit vector: a tenth of the residual that is allowed
MOST_NOISE = 1e-9  # the most that is taken for noise in the components before the one that decides a sign


def rounding(values: Floats) -> Floats:
    """The rounding error (B, 1) of the λ or σ (B, k) of each matrix, which are in descending order."""
    return ROUNDING * nonzero(np.maximum(np.abs(values[:, :1]), np.abs(values[:, -1:])))


def distances(values: Floats, null_space: bool) -> Floats:
    """The distance of each of (B, k) values, in descending order, to its nearest neighbour; where the matrix
    has a null space, 0 is a neighbour too."""
    gaps = np.empty((len(values), values.shape[1] + 1))
    gaps[:, 0] = np.inf
    gaps[:, -1] = values[:, -1] if null_space else np.inf
    np.subtract(values[:, :-1], values[:, 1:], out=gaps[:, 1:-1])
    return np.minimum(gaps[:, :-1], gaps[:, 1:])


def rank_of(values: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The number of singular values (B, k), descending, that are not 0 up to rounding, (B,); and how
    uncertain it is, (B,): the largest value that counts as 0, or the rounding error if that is larger,
    divided by the smallest that does not. 0 where all are exactly 0."""
    least = rounding(values)
    rank = (values > least).sum(axis=1)
    padded = np.pad(values, ((0, 0), (1, 1)))  # values[r−1] is padded[r], and values[r], if any, padded[r+1]
    kept, dropped = (np.take_along_axis(padded, (rank + i)[:, None], axis=1)[:, 0] for i in (0, 1))
    doubt = np.maximum(dropped, least[:, 0]) / nonzero(kept)
    return rank, np.where(np.isnan(values[:, 0]), np.nan, np.where(rank == 0, 0.0, doubt))


def clear(numbers: Floats, up_to: Floats | float) -> None:
    """Set to 0, in place, each number whose magnitude is at most its rounding error `up_to`."""
    sizes = np.abs(numbers)
    if not sizes.min() > np.max(up_to):
        numbers[sizes <= up_to] = 0.0


def clear_leading(columns: Floats, values: Floats, null_space: bool) -> None:
    """In each unit vector, a column of (B, n, k), set to 0 the components before the first that exceeds the
    vector's rounding error.

    That error is the rounding error of its λ or σ, in `values` (B, k), descending, divided by the distance to
    the next value, and at most MOST_NOISE. Where the value repeats, so that the vector is not unique, the
    error is NOISE.
    """
    if np.abs(columns[:, 0]).min() > MOST_NOISE:  # this quick look is enough for nearly every batch
        return
    apart, least = distances(values, null_space), rounding(values)
    turned = np.minimum(least / np.maximum(apart, least), MOST_NOISE)
    noise = np.abs(columns) <= np.where(apart > least, turned, NOISE)[:, None]
    columns[np.logical_and.accumulate(noise, axis=1)] = 0.0


def leading_signs(columns: Floats) -> Floats:
    """The sign ±1 of the first non-zero component of each column of (B, n, k), as (B, k)."""
    leading = columns[:, 0]
    if not leading.all():
        first = (columns != 0).argmax(axis=1)
        leading = np.take_along_axis(columns, first[:, None], axis=1)[:, 0]
    return np.where(leading < 0, -1.0, 1.0)


def vectors_unique(inputs: Floats, targets: Floats) -> Bools:
    """Whether the vectors of each target are unique, as (B,), given the rule that decides their signs.

    Row 0 of a target holds the λ or σ of the vectors. They are not unique where two of these values are equal
    to within rounding, or where, for a rectangular matrix, one of them is 0 to within rounding.
    """
    values = targets[:, 0]
    apart = distances(values, null_space=inputs.shape[1] != inputs.shape[2])
    unique: Bools = np.all(apart > rounding(values), axis=1)
    return unique
