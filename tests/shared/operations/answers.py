"""Samples of one operation, for the test of its targets."""

import numpy as np
from numpy.typing import NDArray

import matstream
from tests.specs import fields_of

Floats = NDArray[np.float64]


def answers(operation: str, m: int, n: int | None = None, count: int = 20, **fields) -> tuple[Floats, Floats]:
    """Inputs and targets of an operation on m×n matrices."""
    samples = matstream.sample(**fields_of(operation, m, n), count=count, **fields)
    return np.asarray(samples.inputs), np.asarray(samples.targets)


def close(found, expected, error: float = 1e-9) -> bool:
    """Whether two arrays agree, relative to the largest entry of the second."""
    expected = np.asarray(expected)
    return bool(np.abs(found - expected).max() <= error * max(np.abs(expected).max(), 1e-300))
