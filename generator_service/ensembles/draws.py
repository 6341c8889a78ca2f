"""Uniforms -> inputs: which uniforms of a sample's row become what."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from matstream.generator_service.ensembles import spectra
from matstream.generator_service.ensembles.coefficients import choose, choose_weighted, coefficients, normal
from matstream.generator_service.ensembles.structures import structure
from matstream.shared.fields import WITH_ZEROS, IntRange, Mixture
from matstream.shared.operation import Operand
from matstream.shared.spec import StreamSpec
from matstream.shared.structures import parts, rules

Floats = NDArray[np.float64]
Rows = NDArray[np.intp] | slice  # which rows of a table


@dataclass(frozen=True)
class Row:
    """The layout of a sample's row of uniforms, fixed by the spec: what is not drawn takes no uniform."""

    choices: dict[str, int]  # the place of each choice that the spec leaves open
    coefficients: int  # where the coefficients start
    noise: int  # where the noise starts
    words: int  # length of the row, a multiple of 4


class Ensemble(NamedTuple):
    """What samples that are drawn together have in common."""

    operation: str
    spectrum: str
    coefficients: str
    structure: str
    m: int
    n: int


@lru_cache(maxsize=1024)
def row_layout(spec: StreamSpec) -> Row:
    """Lay out the row of a spec: first the choices, then the coefficients, then the noise."""
    drawn = {
        "operation": len(spec.operation) > 1,
        "spectrum": len(spec.spectrum) > 1,
        "law": len(spec.coefficients) > 1,
        "structure": len(spec.structure) > 1,
        "rows": not spec.dim.fixed,
        "cols": spec.cols is not None and not spec.cols.fixed,
        "scale": isinstance(spec.scale, IntRange),
    }
    choices = [name for name, needed in drawn.items() if needed]
    m, n = spec.extreme_dims()[1]
    # the number of uniforms grows with the dimensions, except for a Kronecker product, whose factors may
    # shrink, and perhaps for a user's own structure; it is the same for all laws of the coefficients
    free = max(
        _coefficient_words(spec, Ensemble(operation, spectrum, spec.coefficients[0], structured, *dim))
        for operation, spectrum, structured in itertools.product(
            spec.operation, spec.spectrum, spec.structure
        )
        for dim in (_all_dims(spec) if _varies(spec, structured) else [(m, n)])
    )
    shapes = [operation.input_shape(m, n) for operation in spec.operations.values()]
    noise = max(rows * cols for rows, cols in shapes) if spec.noise else 0
    words = len(choices) + free + noise
    return Row(
        choices={name: place for place, name in enumerate(choices)},
        coefficients=len(choices),
        noise=len(choices) + free,
        words=-(-words // 4) * 4,
    )


def _varies(spec: StreamSpec, structured: str) -> bool:
    """Whether smaller matrices of a structure may take more uniforms."""
    return rules(structured).divided or not spec.definitions.structures.keys().isdisjoint(parts(structured))


class Draws(NamedTuple):
    """B inputs of one ensemble."""

    rows: Rows  # the rows of uniforms from which they were drawn
    operation: str
    structure: str
    m: int
    n: int
    exact: Floats  # (B, m, w), what the target is computed from
    inputs: Floats  # (B, m, w), what of it is sent, with noise; the same array if it is sent as it is


def draw(spec: StreamSpec, uniforms: Floats) -> Iterator[Draws]:
    """Draw one input per row of `uniforms` (B, row_layout(spec).words), ensemble by ensemble."""
    layout = row_layout(spec)
    scales = _scale(spec, layout, uniforms)
    for rows, ensemble in _ensembles(spec, layout, uniforms):
        group = uniforms[rows]
        scale = scales if isinstance(scales, float) else scales[rows, None]
        words = _coefficient_words(spec, ensemble)
        free = group[:, layout.coefficients : layout.coefficients + words]
        exact = _inputs(spec, ensemble, scale, free)
        if ensemble.coefficients in WITH_ZEROS:
            exact += 0.0  # no −0, which 0 times a negative number is
        noisy = exact
        if spec.noise:
            size = math.prod(exact.shape[1:])
            deviation = scale * (spec.noise / math.sqrt(3))
            added = normal(deviation, group[:, layout.noise : layout.noise + size])
            noisy = exact + added.reshape(exact.shape)
        shown = spec.operations[ensemble.operation].shown
        sent = noisy if shown is None else shown(noisy)
        yield Draws(rows, ensemble.operation, ensemble.structure, ensemble.m, ensemble.n, exact, sent)


def _ensembles(spec: StreamSpec, layout: Row, uniforms: Floats) -> Iterator[tuple[Rows, Ensemble]]:
    """The rows of each ensemble, in a fixed order."""
    if layout.choices.keys() <= {"scale"}:
        names = spec.operation[0], spec.spectrum[0], spec.coefficients[0], spec.structure[0]
        yield slice(None), Ensemble(*names, *spec.extreme_dims()[0])
        return
    operation = _drawn_name(uniforms, layout, "operation", spec.operation)
    spectrum = _drawn_name(uniforms, layout, "spectrum", spec.spectrum)
    law = _drawn_name(uniforms, layout, "law", spec.coefficients)
    structured = _drawn_name(uniforms, layout, "structure", spec.structure)
    m = _choice(uniforms, layout, "rows", spec.dim.low, spec.dim.high)
    n = m if spec.cols is None else _choice(uniforms, layout, "cols", spec.cols.low, spec.cols.high)
    kind = (operation * len(spec.spectrum) + spectrum) * len(spec.coefficients) + law
    kind = kind * len(spec.structure) + structured
    ensemble = (kind * (m.max() + 1) + m) * (n.max() + 1) + n
    by_ensemble = np.argsort(ensemble, kind="stable")
    for rows in np.split(by_ensemble, np.flatnonzero(np.diff(ensemble[by_ensemble])) + 1):
        i = rows[0]
        yield (
            rows,
            Ensemble(
                spec.operation[operation[i]],
                spec.spectrum[spectrum[i]],
                spec.coefficients[law[i]],
                spec.structure[structured[i]],
                int(m[i]),
                int(n[i]),
            ),
        )


def _choice(uniforms: Floats, layout: Row, name: str, low: int, high: int) -> NDArray[np.int64]:
    """A choice (B,): drawn if the spec leaves it open, else its only value `low`."""
    if name not in layout.choices:
        return np.full(len(uniforms), low)
    return choose(uniforms[:, layout.choices[name]], low, high)


def _drawn_name(uniforms: Floats, layout: Row, name: str, names: Mixture) -> NDArray[np.int64]:
    """Places (B,) in a mixture of names, drawn by their weights."""
    if set(names.weights) == {1}:
        return _choice(uniforms, layout, name, 0, len(names) - 1)
    return choose_weighted(uniforms[:, layout.choices[name]], names.weights)


def _scale(spec: StreamSpec, layout: Row, uniforms: Floats) -> float | Floats:
    """The scale s: one for all, or (B,) where it is drawn per sample."""
    if isinstance(spec.scale, IntRange):
        return _choice(uniforms, layout, "scale", spec.scale.low, spec.scale.high).astype(np.float64)
    return float(spec.scale)


def _coefficient_words(spec: StreamSpec, ensemble: Ensemble) -> int:
    operation = spec.operations[ensemble.operation]
    if ensemble.structure != "none":
        operands = operation.operands(ensemble.m, ensemble.n)
        return sum(_operand_words(spec, ensemble, operand) for operand in operands)
    if operation.symmetric:
        return spectra.words(ensemble.spectrum, ensemble.n)
    return math.prod(operation.input_shape(ensemble.m, ensemble.n))


def _operand_words(spec: StreamSpec, ensemble: Ensemble, operand: Operand) -> int:
    if operand.vector:
        return operand.rows
    symmetric = spec.operations[ensemble.operation].symmetric
    return structure(spec, ensemble.structure).words(operand.rows, operand.cols, symmetric)


def _all_dims(spec: StreamSpec) -> list[tuple[int, int]]:
    rows = range(spec.dim.low, spec.dim.high + 1)
    if spec.cols is None:
        return [(m, m) for m in rows]
    return list(itertools.product(rows, range(spec.cols.low, spec.cols.high + 1)))


def _inputs(spec: StreamSpec, ensemble: Ensemble, scale: float | Floats, free: Floats) -> Floats:
    """Inputs (B, m, w) of one ensemble from their uniforms (B, words)."""
    operation = spec.operations[ensemble.operation]
    if ensemble.structure != "none":
        return _structured(spec, ensemble, scale, free)
    if operation.symmetric:
        return spectra.draw(ensemble.spectrum, ensemble.coefficients, scale, ensemble.n, free)
    return coefficients(ensemble.coefficients, scale, free).reshape(
        -1, *operation.input_shape(ensemble.m, ensemble.n)
    )


def _structured(spec: StreamSpec, ensemble: Ensemble, scale: float | Floats, free: Floats) -> Floats:
    """Inputs (B, m, w) whose matrices have the ensemble's structure, each drawn independently."""
    operation = spec.operations[ensemble.operation]
    operands, start = [], 0
    for operand in operation.operands(ensemble.m, ensemble.n):
        stop = start + _operand_words(spec, ensemble, operand)
        words, start = free[:, start:stop], stop
        if operand.vector:
            operands.append(coefficients(ensemble.coefficients, scale, words)[:, :, None])
        else:
            make = structure(spec, ensemble.structure).draw
            shape = operand.rows, operand.cols
            operands.append(make(ensemble.coefficients, scale, *shape, operation.symmetric, words))
    return operands[0] if len(operands) == 1 else np.concatenate(operands, axis=2)
