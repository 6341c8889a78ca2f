"""Complex numbers as rows of two columns, in an order that is always the same."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from matstream.shared.linear_algebra.norms import nonzero

Floats = NDArray[np.float64]

_EQUAL = 1e-9  # real parts that differ by less, relative to the largest value, count as equal


def in_order(values: NDArray[Any]) -> Floats:
    """Complex values (B, n) as (B, n, 2): real and imaginary parts, by descending real part, and by
    descending imaginary part where real parts are equal, as those of a conjugate pair are. Real parts that
    rounding may have made differ count as equal."""
    by_real = np.argsort(-values.real, axis=1, kind="stable")
    values = np.take_along_axis(values, by_real, axis=1)
    step = _EQUAL * nonzero(np.abs(values).max(axis=1))[:, None]
    apart = -np.diff(values.real, axis=1, prepend=values.real[:, :1]) > step
    order = np.lexsort((-values.imag, np.cumsum(apart, axis=1)), axis=1)
    values = np.take_along_axis(values, order, axis=1)
    pairs: Floats = np.stack([values.real, values.imag], axis=2) + 0.0  # no −0
    return pairs
