"""Uniforms -> random numbers by inverse CDF: the laws that entries and eigenvalues are drawn from.

`uniforms` lie in (0, 1); scales and deviations are numbers, or arrays that broadcast against them.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]


def coefficients(law: str, scale: float | Floats, uniforms: Floats) -> Floats:
    """Uniform on [-s, s], or normal with the same deviation s/√3."""
    if law == "uniform":
        return uniform(scale, uniforms)
    return normal(scale / math.sqrt(3), uniforms)


def uniform(bound: float | Floats, uniforms: Floats) -> Floats:
    """Uniform on [-bound, bound]."""
    return (2 * uniforms - 1) * bound


def normal(deviation: float | Floats, uniforms: Floats) -> Floats:
    """Normal with mean 0."""
    drawn: Floats = ndtri(uniforms) * deviation
    return drawn


def laplace(deviation: float | Floats, uniforms: Floats) -> Floats:
    """Laplace with mean 0: scale deviation/√2."""
    centred = uniforms - 0.5
    drawn: Floats = np.copysign(np.log1p(-2 * np.abs(centred)), centred) * (deviation / math.sqrt(2))
    return drawn


def choose(uniforms: Floats, low: int, high: int) -> NDArray[np.int64]:
    """Whole numbers from `low` to `high`, all equally likely."""
    number = (low + np.floor(uniforms * (high - low + 1))).astype(np.int64)
    return np.minimum(number, high)


def choose_weighted(uniforms: Floats, weights: tuple[int, ...]) -> NDArray[np.int64]:
    """Whole numbers from 0 on, each as likely as its weight says."""
    ends = np.cumsum(weights)[:-1] / sum(weights)
    return np.searchsorted(ends, uniforms, side="right").astype(np.int64)
