"""Arrays as users give them: NumPy's, torch's tensors wherever they are, nested lists."""

from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from matstream.shared.errors import first_line


def real_numbers(given: Any, name: str) -> NDArray[np.float64]:
    """What is given, called `name`, as float64 numbers; of a tensor its values alone, without its gradient.

    Raises ValueError for what is no array of real numbers, or where some of them are masked.
    """
    if array_api_compat.is_torch_array(given):
        given = given.detach().cpu()
        if given.is_floating_point():
            given = given.double()  # NumPy has no bfloat16
    try:
        found = np.ma.asarray(given)  # of masked matrices in a list, too, the masks are kept
    except (RuntimeError, TypeError, ValueError) as error:  # ragged, or of tensors that NumPy cannot read
        raise ValueError(f"{name} are no array: {first_line(error)}") from None
    if found.dtype.kind not in "fiu":
        raise ValueError(f"{name} of type {found.dtype}: must be real numbers")
    refuse_masked(found, name)
    return np.asarray(found.data, dtype=np.float64)


def refuse_masked(array: Any, name: str) -> None:
    """Raise ValueError if an entry of a NumPy array is masked, and so no number."""
    if np.ma.is_masked(array):
        place = ", ".join(map(str, np.argwhere(np.ma.getmaskarray(array))[0]))
        raise ValueError(f"{name}[{place}] is masked: must be a number")
