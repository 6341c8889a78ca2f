"""Uniforms -> random numbers by inverse CDF: the laws that entries and eigenvalues are drawn from.

`uniforms` lie in (0, 1); scales and deviations are numbers, or arrays that broadcast against them.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from matstream.shared.fields import SPREAD

Floats = NDArray[np.float64]


def coefficients(law: str, scale: float | Floats, uniforms: Floats) -> Floats:
    """Numbers of scale s and of one of the laws in COEFFICIENTS, each from one uniform; none is −0.

    uniform: uniform on [-s, s] · gaussian: normal with the same deviation s/√3 · integers: whole numbers from
    -⌊s⌋ to ⌊s⌋, all equally likely · sparse: 0 with probability ½, otherwise uniform on [-s, s] ·
    log_uniform: of either sign, with a magnitude whose logarithm is uniform, from s/SPREAD to s.
    """
    return _LAWS[law](scale, uniforms)


def scale_of_uniform(law: str, scale: float | Floats) -> float | Floats:
    """The scale at which uniform coefficients have the same deviation as these: √3 times that deviation."""
    return _SCALES_OF_UNIFORM[law](scale)


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


def _integers(scale: float | Floats, uniforms: Floats) -> Floats:
    most = np.floor(scale)
    drawn: Floats = np.minimum(np.floor(uniforms * (2 * most + 1)), 2 * most) - most
    return drawn


def _sparse(scale: float | Floats, uniforms: Floats) -> Floats:
    """The outer quarters of the uniforms are stretched to the two halves of [-s, s]."""
    outer = np.where(uniforms < 0.5, 4 * uniforms - 1, 4 * uniforms - 3)
    return np.where(np.abs(uniforms - 0.5) <= 0.25, 0.0, outer * scale)


def _log_uniform(scale: float | Floats, uniforms: Floats) -> Floats:
    """The lower half of the uniforms has the negative numbers, ascending as all do."""
    centred = 2 * uniforms - 1
    magnitudes = np.exp((np.abs(centred) - 1) * math.log(SPREAD)) * scale
    return np.where(centred < 0, -magnitudes, magnitudes)


_LAWS: dict[str, Callable[[float | Floats, Floats], Floats]] = {
    "uniform": uniform,
    "gaussian": lambda scale, uniforms: normal(scale / math.sqrt(3), uniforms),
    "integers": _integers,
    "sparse": _sparse,
    "log_uniform": _log_uniform,
}
_SCALES_OF_UNIFORM: dict[str, Callable[[float | Floats], float | Floats]] = {
    "uniform": lambda scale: scale,
    "gaussian": lambda scale: scale,
    "integers": lambda scale: np.sqrt(np.floor(scale) * (np.floor(scale) + 1)),
    "sparse": lambda scale: scale / math.sqrt(2),
    "log_uniform": lambda scale: scale * math.sqrt(1.5 * (1 - SPREAD**-2) / math.log(SPREAD)),
}


def choose(uniforms: Floats, low: int, high: int) -> NDArray[np.int64]:
    """Whole numbers from `low` to `high`, all equally likely."""
    number = (low + np.floor(uniforms * (high - low + 1))).astype(np.int64)
    return np.minimum(number, high)


def choose_weighted(uniforms: Floats, weights: tuple[int, ...]) -> NDArray[np.int64]:
    """Whole numbers from 0 on, each as likely as its weight says."""
    ends = np.cumsum(weights)[:-1] / sum(weights)
    return np.searchsorted(ends, uniforms, side="right").astype(np.int64)
