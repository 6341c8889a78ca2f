"""How large the numbers of a stream are: what an encoding must be able to hold."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from matstream.shared.fields import SPREAD, WITH_ZEROS
from matstream.shared.operation import Operation
from matstream.shared.problems import Structure
from matstream.shared.spec import StreamSpec
from matstream.shared.structures import condition_number, parts, rules

_SMALLEST, _LARGEST = 2.0**-54, 1 - 2.0**-53  # uniforms
_NORMAL = 8.3  # deviations within which the normal variates of a stream stay, for that reason


class Magnitudes(NamedTuple):
    """`largest` bounds the magnitude of every entry, or for a user's own structure or operation estimates
    this; `usual` is the usual magnitude at the smallest scale."""

    usual: float
    largest: float


class Seen(NamedTuple):
    """What a model has seen of the magnitudes of its inputs' entries: the smallest that is expected, the
    largest that is possible, and whether there are entries that are exactly 0."""

    smallest: float
    largest: float
    zeros: bool


def seen_in(streams: Sequence[StreamSpec], operation: Operation, entries: int) -> Seen:
    """What is seen in so many entries of inputs for an operation, which may come from any of the streams.

    Of numbers uniform on [-s, s], the smallest of N magnitudes is near s/N; other densities near 0 are not
    far from theirs.
    """
    return Seen(
        min(_smallest(spec, structure, entries) for spec in streams for structure in spec.structure),
        max(of_inputs(spec).largest for spec in streams),
        operation.shown is not None or any(_has_zeros(spec) for spec in streams),
    )


def _smallest(spec: StreamSpec, structure: str, entries: int) -> float:
    """The smallest magnitude, but for 0, that is expected among entries of one of a spec's structures; 0 if
    nothing is known of it."""
    kappas = [condition_number(part) for part in parts(structure)]
    if structure in spec.own_structures or 1.0 in kappas:  # multiples of the identity, up to rounding
        return 0.0
    low, _ = spec.extreme_scales()
    if spec.noise:
        return low * min(1, spec.noise) / entries
    if rules(structure).whole:
        return 1.0
    if structure != "none" or set(spec.spectrum) != {"semicircle"}:
        return low / entries
    bounds = {"integers": 1.0, "log_uniform": low / SPREAD}
    return min(bounds.get(law, low / entries) for law in spec.coefficients)


def _has_zeros(spec: StreamSpec) -> bool:
    if spec.own_structures:
        return True  # for all that is known
    drawn = any(rules(name).zeros for name in spec.structure) or set(spec.coefficients) & set(WITH_ZEROS)
    return not spec.noise and bool(drawn)


def of_inputs(spec: StreamSpec) -> Magnitudes:
    """The entries of a stream's inputs."""
    m, n = spec.extreme_dims()[1]
    found = [_of_own(own, m, n) for own in spec.own_structures.values()]
    found += [_of_law(spec, name, m, n) for name in spec.structure if name not in spec.own_structures]
    if len(found) == len(spec.own_structures) and spec.have_vectors():
        found.append(_of_law(spec, spec.structure[0], m, n))
    largest = max(part.largest for part in found)
    largest += spec.noise * spec.extreme_scales()[1] / math.sqrt(3) * _NORMAL
    return Magnitudes(min(part.usual for part in found), min(largest, spec.max_abs or math.inf))


def of_targets(spec: StreamSpec) -> Magnitudes:
    """The entries of a stream's targets."""
    low, high = of_inputs(spec.model_copy(update={"noise": 0, "max_abs": None}))
    m, n = spec.extreme_dims()[1]
    found = [operation.magnitudes(low, high, m, n) for operation in spec.operations.values()]
    largest = max(largest for _, largest in found)
    return Magnitudes(min(usual for usual, _ in found), min(largest, spec.max_abs or math.inf))


def _of_law(spec: StreamSpec, structure: str, m: int, n: int) -> Magnitudes:
    """The entries of matrices of up to m rows and n columns, of a structure that comes with matstream,
    without noise."""
    low, high = spec.extreme_scales()
    if structure == "whole_numbers":  # whatever the law
        return Magnitudes(1, max(1, math.ceil(high) - 1))
    if structure == "chosen_rank":
        return Magnitudes(1, min(m, n) * max(1, math.isqrt(math.floor(high))) ** 2)
    coefficient = _NORMAL / math.sqrt(3) if "gaussian" in spec.coefficients else 1.0
    times = coefficient
    if structure != "none":
        times = _growth(structure, coefficient, m, n)
    elif set(spec.spectrum) != {"semicircle"}:
        # eigenvalues of a chosen law may be as large as this law allows: n deviations √n·s/√3 and more, and
        # integers deviate up to √2 times as much as uniform coefficients, at scale 1
        times = _NORMAL * n * max(coefficient, math.sqrt(2) if "integers" in spec.coefficients else 1)
    # half of the magnitudes of log_uniform are below this
    usual = low / math.sqrt(SPREAD) if "log_uniform" in spec.coefficients else low
    return Magnitudes(usual, times * high)


def _growth(structure: str, coefficient: float, m: int, n: int) -> float:
    """How many times the scale an entry of a structure may be, if a coefficient is up to `coefficient` times
    its own scale."""
    first, *base = structure.split(":", 1)
    inner = _growth(base[0], coefficient, m, n) if base else coefficient
    # what r products of two factors, of the root of the scale each, come to once they are divided by √r
    products = coefficient**2 * math.sqrt(max(1, min(m, n) // 2))
    rounded = 1 + 1e-12  # a unit vector's entry
    known = {
        **dict.fromkeys(("banded", "circulant", "toeplitz"), coefficient),
        "block_diagonal": inner,
        "covariance": products + 1,
        "kronecker": inner**2,
        "kronecker_sum": 2 * inner,
        "laplacian": coefficient * max(1, n - 1),
        "linear_model": coefficient * _NORMAL * n,
        "low_rank": products + inner,
        "masked": products,
        "orthogonal": rounded,
    }
    return rounded if condition_number(first) is not None else known.get(first, coefficient)


def _of_own(structure: Structure, m: int, n: int) -> Magnitudes:
    """The entries of a user's own structure, as found in samples, among them those of the smallest and of the
    largest uniforms: entries of others may be larger."""
    words = structure.words(m, n)
    uniforms = np.random.default_rng(0).uniform(size=(256, words))
    uniforms[0], uniforms[1] = _SMALLEST, _LARGEST
    sizes = np.abs(structure.draw(uniforms, m, n))
    entries = sizes[sizes > 0]
    return Magnitudes(float(np.median(entries)), float(entries.max())) if len(entries) else Magnitudes(1, 1)
