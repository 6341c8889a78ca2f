"""How large the numbers of a stream are: what an encoding must be able to hold."""

import math
from typing import NamedTuple

from matstream.shared.operations import OPERATIONS
from matstream.shared.spec import IntRange, StreamSpec

_NORMAL = 8.3  # deviations within which the normal variates of a stream stay (uniforms are at least 2⁻⁵⁴)


class Magnitudes(NamedTuple):
    """`largest` bounds the magnitude of every entry; `usual` is the usual magnitude at the smallest scale."""

    usual: float
    largest: float


def of_inputs(spec: StreamSpec) -> Magnitudes:
    """The entries of a stream's inputs."""
    low, high = _scale(spec)
    n = spec.extreme_dims()[1][1]
    # eigenvalues of a chosen law may be as large as this law allows: n deviations √n·s/√3 and more
    largest = high * (_NORMAL * n if set(spec.spectrum) != {"semicircle"} or spec.structure != "none" else 1)
    if spec.coefficients == "gaussian":
        largest *= _NORMAL / math.sqrt(3)
    largest += spec.noise * high / math.sqrt(3) * _NORMAL
    return Magnitudes(low, min(largest, spec.max_abs or math.inf))


def of_targets(spec: StreamSpec) -> Magnitudes:
    """The entries of a stream's targets."""
    low, high = of_inputs(spec.model_copy(update={"noise": 0, "max_abs": None}))
    m, n = spec.extreme_dims()[1]
    found = [OPERATIONS[name].magnitudes(low, high, m, n) for name in spec.operation]
    largest = max(largest for _, largest in found)
    return Magnitudes(min(usual for usual, _ in found), min(largest, spec.max_abs or math.inf))


def _scale(spec: StreamSpec) -> tuple[float, float]:
    return (spec.scale.low, spec.scale.high) if isinstance(spec.scale, IntRange) else (spec.scale, spec.scale)
