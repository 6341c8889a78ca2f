"""Errors of predictions, per operation, as *Linear algebra with transformers* measures them."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.arrays import real_numbers

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
    Raises ValueError for an unknown operation, masked entries or shapes that do not fit.
    """
    if operation not in _ERROR:
        raise ValueError(f"operation={operation!r}: must be one of {', '.join(_ERROR)}")
    inputs, targets, predictions = map(
        real_numbers, (inputs, targets, predictions), ("inputs", "targets", "predictions")
    )
    if targets.ndim != 3 or targets.shape != predictions.shape or len(inputs) != len(targets):
        raise ValueError(
            f"inputs {inputs.shape}, targets {targets.shape}, predictions {predictions.shape}: "
            "must be batches of matrices of equal length, predictions shaped as targets"
        )
    # a prediction may be absurdly large: a product of it overflows to an infinite, hence wrong, error
    with np.errstate(over="ignore", invalid="ignore"):
        delta, reference, entry_scale = _ERROR[operation](inputs, targets, predictions)
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


def right_strictly(
    operation: str, scores: Scores, inputs: Floats, targets: Floats, predictions: Floats
) -> NDArray[np.bool_]:
    """Whether each sample is right at each of TOLERANCES, (B, tolerances), by the error alone.

    The published error of eigenvectors and svd asks only that the prediction fit itself: an output of zeros
    does, and so does any congruence. Here their λ (σ) must also be within τ of the true ones in l1, not
    all zero, and their vectors orthonormal within τ entrywise.
    """
    found = right_by_error(scores)
    if operation in _STRICT:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found &= _STRICT[operation](inputs, targets, predictions)[:, None] < TOLERANCES
    return found


def by_tolerance(shares: NDArray[np.floating[Any]]) -> dict[str, float]:
    """One number for each of TOLERANCES, by its name."""
    return {f"{tau:g}": float(share) for tau, share in zip(TOLERANCES, shares, strict=True)}


def _relative(error: Floats, reference: Floats) -> Floats:
    zero = reference == 0
    relative = error / np.where(zero, 1, reference)
    return np.where(zero & (error > 0), -1.0, relative)


def _flat(matrices: Floats) -> Floats:
    return matrices.reshape(len(matrices), math.prod(matrices.shape[1:]))


# What an error is measured on: the error matrix Δ, its reference R, and the scale of each entry (R, or 1),
# all (B, ...).
Measured = tuple[Floats, Floats, Floats]


def _difference(inputs: Floats, targets: Floats, predictions: Floats) -> Measured:
    """Δ = P−T, R = T."""
    return predictions - targets, targets, targets


def _inverse(inputs: Floats, targets: Floats, predictions: Floats) -> Measured:
    """Δ = M·P−I, R = I: its largest entry is 1, its sums n."""
    identity = np.broadcast_to(np.eye(inputs.shape[1]), inputs.shape)
    return inputs @ predictions - identity, identity, np.ones_like(inputs)


def _eigenvectors(inputs: Floats, targets: Floats, predictions: Floats) -> Measured:
    """Δ = HᵀMH−Λ, R = Λ, of the predicted Λ (row 0) and H."""
    values, vectors = predictions[:, 0], predictions[:, 1:]
    reference = values[:, :, None] * np.eye(values.shape[1])
    return vectors.swapaxes(1, 2) @ inputs @ vectors - reference, reference, reference


def _svd(inputs: Floats, targets: Floats, predictions: Floats) -> Measured:
    """Δ = UᵀMV−Σ, R = Σ, of the predicted Σ (row 0), U and V."""
    m = inputs.shape[1]
    values, left, right = predictions[:, 0], predictions[:, 1 : 1 + m], predictions[:, 1 + m :]
    reference = values[:, :, None] * np.eye(values.shape[1])
    return left.swapaxes(1, 2) @ inputs @ right - reference, reference, reference


_ERROR: dict[str, Callable[[Floats, Floats, Floats], Measured]] = {
    "add": _difference,
    "eigenvalues": _difference,
    "eigenvectors": _eigenvectors,
    "inverse": _inverse,
    "matmul": _difference,
    "matvec": _difference,
    "singular_values": _difference,
    "svd": _svd,
    "symmetric_inverse": _inverse,
    "transpose": _difference,
}


def _off_eigenvectors(inputs: Floats, targets: Floats, predictions: Floats) -> Floats:
    return np.maximum(_off_values(targets, predictions), _off_orthonormal(predictions[:, 1:]))


def _off_svd(inputs: Floats, targets: Floats, predictions: Floats) -> Floats:
    m = inputs.shape[1]
    left, right = predictions[:, 1 : 1 + m], predictions[:, 1 + m :]
    off = np.maximum(_off_orthonormal(left), _off_orthonormal(right))
    return np.maximum(_off_values(targets, predictions), off)


def _off_values(targets: Floats, predictions: Floats) -> Floats:
    """The l1 error of the predicted λ (σ), infinite where they are all zero."""
    true, predicted = targets[:, 0], predictions[:, 0]
    error = np.abs(predicted - true).sum(axis=1) / np.abs(true).sum(axis=1)
    return np.where(predicted.any(axis=1), error, np.inf)


def _off_orthonormal(columns: Floats) -> Floats:
    """max|QᵀQ−I| of Q (B, n, k)."""
    gram = columns.swapaxes(1, 2) @ columns
    off: Floats = _flat(np.abs(gram - np.eye(columns.shape[2]))).max(axis=1)
    return off


# operation -> (inputs, targets, predictions) -> how far off what the published error does not see is, (B,)
_STRICT: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "eigenvectors": _off_eigenvectors,
    "svd": _off_svd,
}
