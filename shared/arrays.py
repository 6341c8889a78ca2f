"""Reading the arrays that users pass: NumPy arrays, torch tensors on any device, nested lists."""

from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from matstream.shared.errors import first_line


def real_numbers(given: Any, name: str) -> NDArray[np.float64]:
    """Convert `given` to a float64 array; a tensor is detached from its gradient and copied to the CPU.

    Raises ValueError, which calls the array `name`, if it is not an array of real numbers or an entry is
    masked.
    """
    if array_api_compat.is_torch_array(given):
        given = given.detach().cpu()
        if given.is_floating_point():
            given = given.double()  # NumPy has no bfloat16
    try:
        found = np.ma.asarray(given)  # keeps masks, even those of masked matrices in a list
    except (RuntimeError, TypeError, ValueError) as error:  # a ragged list, or tensors that NumPy cannot read
        raise ValueError(f"{name} are not an array: {first_line(error)}") from None
    if found.dtype.kind not in "fiu":
        raise ValueError(f"{name} of type {found.dtype}: must be real numbers")
    refuse_masked(found, name)
    return np.asarray(found.data, dtype=np.float64)


def refuse_masked(array: Any, name: str) -> None:
    """Raise ValueError if an entry of a NumPy array is masked."""
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        place = ", ".join(map(str, np.argwhere(np.ma.getmaskarray(array))[0]))
        raise ValueError(f"{name}[{place}] is masked: must be a number")
