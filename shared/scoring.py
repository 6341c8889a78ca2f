"""Errors of predictions, per operation, as *Linear algebra with transformers* measures them."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from matstream.shared.arrays import real_numbers
from matstream.shared.operation import Operation
from matstream.shared.problems import operation_named

Floats = NDArray[np.float64]

TOLERANCES = (0.05, 0.02, 0.01, 0.005)


class Scores(NamedTuple):
    """Errors of a batch of predictions, each (B,): relative to the reference R, -1 where R is zero and
    the error is not, NaN where the prediction is invalid."""

    max: Floats
    l1: Floats
    l2_squared: Floats
    fraction_within_1pct: Floats


def score(operation: str | Operation, inputs: Floats, targets: Floats, predictions: Floats) -> Scores:
    """Score a batch of one shape: `inputs` (B, m, w), `targets` and `predictions` (B, p, q), of an operation
    or of the one that has this name.

    The paper's scores take inputs and targets as their encodings round them. An invalid prediction has NaN
    entries. Raises ValueError for an unknown operation, masked entries or shapes that do not fit.
    """
    if isinstance(operation, str):
        operation = operation_named(operation)
    inputs, targets, predictions = map(
        real_numbers, (inputs, targets, predictions), ("inputs", "targets", "predictions")
    )
    if targets.ndim != 3 or targets.shape != predictions.shape or len(inputs) != len(targets):
        raise ValueError(
            f"inputs {inputs.shape}, targets {targets.shape}, predictions {predictions.shape}: "
            "must be batches of matrices of equal length, predictions shaped as targets"
        )
    # a prediction may be absurdly large: its products overflow to an error that is infinite, and so wrong
    with np.errstate(over="ignore", invalid="ignore"):
        delta, reference, entry_scale = operation.deviation(inputs, targets, predictions)
        size, scale = _flat(np.abs(delta)), _flat(np.abs(reference))
        largest = _relative(size.max(axis=1), scale.max(axis=1))
        within = (size / (_flat(np.abs(entry_scale)) + 1e-12) < 0.01).mean(axis=1)
        within[largest < 0] = 0
        within[np.isnan(largest)] = np.nan
        return Scores(
            largest,
            _relative(size.sum(axis=1), scale.sum(axis=1)),
            _relative((size**2).sum(axis=1), (scale**2).sum(axis=1)),
            within,
        )


def right(scores: Scores, same_words: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each sample is right at each of TOLERANCES, (B, tolerances), by the published rule: 0 ≤ l1
    error < τ, or every word of the prediction equal to the target's (`same_words`, (B,))."""
    return right_by_error(scores) | same_words[:, None]


def right_by_error(scores: Scores) -> NDArray[np.bool_]:
    """Whether 0 ≤ l1 error < τ for each sample and each of TOLERANCES, (B, tolerances)."""
    error = scores.l1[:, None]
    return (error >= 0) & (error < TOLERANCES)


def distances(scores: Scores) -> Floats:
    """The l1 errors (B,) as numbers to be put in order: infinite where a prediction is invalid, or not zero
    as the reference is."""
    return np.where(np.isnan(scores.l1) | (scores.l1 < 0), np.inf, scores.l1)


def right_strictly(
    operation: str | Operation, scores: Scores, inputs: Floats, targets: Floats, predictions: Floats
) -> NDArray[np.bool_]:
    """Whether each sample is right at each of TOLERANCES, (B, tolerances), by a stricter rule, for which
    equal words do not count.

    The published error of eigenvectors and svd only asks whether the predicted values and vectors fit each
    other: an output of zeros does, and so does any congruence. Here the predicted λ (σ) must also be within τ
    of the true ones in l1 and not all zero, and the vectors orthonormal within τ entrywise.
    """
    found = right_by_error(scores)
    if isinstance(operation, str):
        operation = operation_named(operation)
    if operation.beyond is not None:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found &= operation.beyond(inputs, targets, predictions)[:, None] < TOLERANCES
    return found


def by_tolerance(shares: NDArray[np.floating[Any]]) -> dict[str, float]:
    """Shares, one for each of TOLERANCES, by the tolerance as a text such as "0.05"."""
    return {f"{tau:g}": float(share) for tau, share in zip(TOLERANCES, shares, strict=True)}


def _relative(error: Floats, reference: Floats) -> Floats:
    zero = reference == 0
    relative = error / np.where(zero, 1, reference)
    return np.where(zero & (error > 0), -1.0, relative)


def _flat(matrices: Floats) -> Floats:
    return matrices.reshape(len(matrices), math.prod(matrices.shape[1:]))
