"""Scores of predictions, for a program: as a run is scored, except that no words (tokens) are compared."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matstream.shared import scoring
from matstream.shared.arrays import real_numbers


@dataclass(frozen=True)
class Scored:
    """How good B predictions are.

    `accuracy` is the share of predictions whose relative l1 error is below a tolerance, by tolerance ("0.05",
    "0.02", "0.01", "0.005"); `accuracy_strict` also asks for right values and orthonormal vectors, where the
    published error does not; `errors` (B,) are these l1 errors, -1 where the reference is zero and the
    prediction is not, NaN for an invalid prediction; `invalid` counts predictions that are not all numbers.
    """

    accuracy: Mapping[str, float]
    accuracy_strict: Mapping[str, float]
    errors: NDArray[np.float64]
    invalid: int

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{float(tau):.1%}</td><td>{share:.2%}</td><td>{self.accuracy_strict[tau]:.2%}</td></tr>"
            for tau, share in self.accuracy.items()
        )
        head = "<tr><th>within</th><th>accuracy</th><th>strict</th></tr>"
        return f"<table>{head}{rows}</table><p>{len(self.errors):,} predictions, {self.invalid:,} invalid</p>"


def score(operation: str, inputs: ArrayLike, targets: ArrayLike, predictions: ArrayLike) -> Scored:
    """Score predictions (B, p, q) for problems of one shape, as *Linear algebra with transformers* does.

    >>> s = matstream.sample("eigenvalues", dim=5, count=1000, split="test")
    >>> matstream.score("eigenvalues", s.inputs, s.targets, 1.01 * s.targets).accuracy["0.05"]
    1.0

    `inputs` (B, m, w), `targets` and `predictions` (B, p, q) are arrays, nested lists or tensors. Raises
    ValueError for an unknown operation, for shapes that do not fit, and for masked entries.
    """
    asked, wanted, predicted = map(
        real_numbers, (inputs, targets, predictions), ("inputs", "targets", "predictions")
    )
    found = scoring.score(operation, asked, wanted, predicted)
    if not len(wanted):
        raise ValueError("targets: must be at least one")
    right = scoring.right_by_error(found)
    strictly = scoring.right_strictly(operation, found, asked, wanted, predicted)
    return Scored(
        scoring.by_tolerance(right.mean(axis=0)),
        scoring.by_tolerance(strictly.mean(axis=0)),
        found.l1,
        int(np.isnan(predicted).any(axis=(1, 2)).sum()),
    )
