"""Errors of predictions, per operation, as *Linear algebra with transformers* measures them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOLERANCES = (0.05, 0.02, 0.01, 0.005)


class Scores(NamedTuple):
    """Errors of a batch of predictions, each (B,): relative to the reference R, -1 where R is zero and
    the prediction is not, NaN where the prediction is no matrix."""

    max: Floats
    l1: Floats
    l2_squared: Floats
    fraction_within_1pct: Floats


def score(operation: str, inputs: Floats, targets: Floats, predictions: Floats) -> Scores:
    """Score a batch of one shape: `inputs` (B, m, w), `targets` and `predictions` (B, p, q).

    Inputs and targets as their encodings round them; an invalid prediction has NaN entries.
    Raises ValueError for an unknown operation or shapes that do not fit.
    """
    if operation not in _ERROR:
        raise ValueError(f"operation={operation!r}: must be one of {', '.join(_ERROR)}")
    inputs, targets, predictions = (np.asarray(a, dtype=np.float64) for a in (inputs, targets, predictions))
    if targets.ndim != 3 or targets.shape != predictions.shape or len(inputs) != len(targets):
        raise ValueError(
            f"inputs {inputs.shape}, targets {targets.shape}, predictions {predictions.shape}: "
            "must be batches of matrices of equal length, predictions shaped as targets"
        )
    batch = len(targets)
    delta, reference = _ERROR[operation](inputs, targets, predictions)
    size = np.abs(delta).reshape(batch, math.prod(delta.shape[1:]))
    scale = np.abs(reference).reshape(batch, math.prod(reference.shape[1:]))
    # a prediction may be absurdly large: its square overflows to an infinite, hence wrong, error
    with np.errstate(over="ignore"):
        largest = _relative(size.max(axis=1), scale.max(axis=1))
        within = (size / (scale + 1e-12) < 0.01).mean(axis=1)
        within[largest < 0] = 0
        within[np.isnan(largest)] = np.nan
        return Scores(
            largest,
            _relative(size.sum(axis=1), scale.sum(axis=1)),
            _relative((size**2).sum(axis=1), (scale**2).sum(axis=1)),
            within,
        )


def accuracy(scores: Scores, same_words: NDArray[np.bool_]) -> dict[str, float]:
    """Share of samples right at each tolerance, by the published rule: 0 ≤ l1 error < τ, or every word
    of the prediction equal to the target's (`same_words`, (B,))."""
    return {f"{tau:g}": float((_within(scores, tau) | same_words).mean()) for tau in TOLERANCES}


def accuracy_strict(scores: Scores) -> dict[str, float]:
    """Share of samples right at each tolerance by the error alone: 0 ≤ l1 error < τ."""
    return {f"{tau:g}": float(_within(scores, tau).mean()) for tau in TOLERANCES}


def _within(scores: Scores, tolerance: float) -> NDArray[np.bool_]:
    return (scores.l1 >= 0) & (scores.l1 < tolerance)


def _relative(error: Floats, reference: Floats) -> Floats:
    zero = reference == 0
    relative = error / np.where(zero, 1, reference)
    return np.where(zero & (error > 0), -1.0, relative)


def _difference(inputs: Floats, targets: Floats, predictions: Floats) -> tuple[Floats, Floats]:
    return predictions - targets, targets


# operation -> (inputs, targets, predictions) -> (error matrix Δ, reference R), both (B, ...)
_ERROR: dict[str, Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]] = {
    "add": _difference,
    "eigenvalues": _difference,
    "transpose": _difference,
}
