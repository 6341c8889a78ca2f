"""Uniforms -> matrices: which words of a sample's row become what, and the ensembles they are drawn from."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from shared.operations import OPERATIONS, Shape
from shared.spec import IntRange, StreamSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """The layout of a sample's row of uniforms, fixed by the spec: what is not drawn takes no word."""

    choices: dict[str, int]  # the place of each choice the spec leaves open
    coefficients: int  # where they start
    noise: int
    words: int  # length of the row, a multiple of 4


@lru_cache(maxsize=1024)
def row_layout(spec: StreamSpec) -> Row:
    """Lay out the row of a spec: first the draws that choose, then coefficients, then noise."""
    drawn = {
        "operation": len(spec.operation) > 1,
        "rows": not spec.dim.fixed,
        "cols": spec.cols is not None and not spec.cols.fixed,
        "scale": isinstance(spec.scale, IntRange),
    }
    choices = [name for name, needed in drawn.items() if needed]
    m, n = spec.extreme_dims()[1]
    shapes = [OPERATIONS[name].input_shape(m, n) for name in spec.operation]
    coefficients = max(_coefficient_count(name, m, n) for name in spec.operation)
    noise = max(rows * cols for rows, cols in shapes) if spec.noise else 0
    words = len(choices) + coefficients + noise
    return Row(
        choices={name: place for place, name in enumerate(choices)},
        coefficients=len(choices),
        noise=len(choices) + coefficients,
        words=-(-words // 4) * 4,
    )


class Draws(NamedTuple):
    """B inputs of one operation and one shape."""

    rows: NDArray[np.intp] | slice  # where they stand among the uniforms they were drawn from
    operation: str
    exact: Floats  # (B, m, w), what the target is computed from
    inputs: Floats  # (B, m, w), the same with noise; the same array if there is none


def draw(spec: StreamSpec, uniforms: Floats) -> Iterator[Draws]:
    """Draw one input per row of `uniforms` (B, row_layout(spec).words), grouped by operation and shape."""
    layout = row_layout(spec)
    scale = _scale(spec, layout, uniforms)
    for rows, operation, (m, n) in _groups(spec, layout, uniforms):
        group = uniforms[rows]
        shape = OPERATIONS[operation].input_shape(m, n)
        group_scale = scale if isinstance(scale, float) else scale[rows, None]
        used = group[:, layout.coefficients : layout.coefficients + _coefficient_count(operation, m, n)]
        entries = _coefficients(spec.coefficients, group_scale, used)
        if OPERATIONS[operation].symmetric:
            entries = np.take(entries, _mirror(n), axis=1)
        exact = entries.reshape(-1, *shape)
        yield Draws(rows, operation, exact, _with_noise(spec, layout, group, group_scale, exact))


def _groups(
    spec: StreamSpec, layout: Row, uniforms: Floats
) -> Iterator[tuple[NDArray[np.intp] | slice, str, Shape]]:
    """The rows of each (operation, (m, n)), in a fixed order."""
    if layout.choices.keys() <= {"scale"}:
        yield slice(None), spec.operation[0], spec.extreme_dims()[0]
        return
    operation = _choose(uniforms, layout, "operation", 0, len(spec.operation) - 1)
    m = _choose(uniforms, layout, "rows", spec.dim.low, spec.dim.high)
    n = m if spec.cols is None else _choose(uniforms, layout, "cols", spec.cols.low, spec.cols.high)
    kind = np.stack([operation, m, n], axis=1)
    kinds, inverse = np.unique(kind, axis=0, return_inverse=True)
    for i, (which, rows, cols) in enumerate(kinds.tolist()):
        yield np.flatnonzero(inverse == i), spec.operation[which], (rows, cols)


def _choose(uniforms: Floats, layout: Row, name: str, low: int, high: int) -> NDArray[np.int64]:
    """A whole number from low to high per row (B,), each as likely."""
    if name not in layout.choices:
        return np.full(len(uniforms), low)
    number = (low + np.floor(uniforms[:, layout.choices[name]] * (high - low + 1))).astype(np.int64)
    return np.minimum(number, high)


def _scale(spec: StreamSpec, layout: Row, uniforms: Floats) -> float | Floats:
    """The scale s: one for all, or (B,) where it is drawn per sample."""
    if isinstance(spec.scale, IntRange):
        return _choose(uniforms, layout, "scale", spec.scale.low, spec.scale.high).astype(np.float64)
    return float(spec.scale)


def _coefficient_count(operation: str, m: int, n: int) -> int:
    if OPERATIONS[operation].symmetric:
        return n * (n + 1) // 2
    rows, cols = OPERATIONS[operation].input_shape(m, n)
    return rows * cols


def _coefficients(law: str, scale: float | Floats, uniforms: Floats) -> Floats:
    """Coefficients by inverse CDF: uniform on [-s, s], or normal with deviation s/√3."""
    if law == "uniform":
        return (2 * uniforms - 1) * scale
    return _normal(uniforms) * (scale / math.sqrt(3))


def _with_noise(
    spec: StreamSpec, layout: Row, uniforms: Floats, scale: float | Floats, exact: Floats
) -> Floats:
    if not spec.noise:
        return exact
    size = math.prod(exact.shape[1:])
    normal = _normal(uniforms[:, layout.noise : layout.noise + size])
    return exact + (normal * (spec.noise * scale / math.sqrt(3))).reshape(exact.shape)


def _normal(uniforms: Floats) -> Floats:
    normal: Floats = ndtri(uniforms)
    return normal


@lru_cache(maxsize=256)
def _mirror(n: int) -> NDArray[np.intp]:
    """For each entry of a symmetric n×n matrix, row by row, its place in the lower triangle, (n²,)."""
    rows, cols = np.indices((n, n))
    i, j = np.maximum(rows, cols), np.minimum(rows, cols)
    place: NDArray[np.intp] = i * (i + 1) // 2 + j
    return place.reshape(-1)
