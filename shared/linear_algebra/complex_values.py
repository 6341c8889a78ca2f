"""Complex numbers as rows of two columns, in an order that is always the same."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def in_order(values: NDArray[Any]) -> Floats:
    """Complex values (B, n) as (B, n, 2): real and imaginary parts, by descending real part, and by
    descending imaginary part where real parts are equal, as those of a conjugate pair are."""
    order = np.lexsort((-values.imag, -values.real), axis=1)
    sorted_values = np.take_along_axis(values, order, axis=1)
    pairs: Floats = np.stack([sorted_values.real, sorted_values.imag], axis=2) + 0.0  # no −0
    return pairs
