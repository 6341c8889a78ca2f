"""Scores of predictions, for a program: as a run is scored, except that no words (tokens) are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matstream.samples import batches_of, read_address
from matstream.shared import scoring
from matstream.shared.arrays import real_numbers
from matstream.shared.encodings import by_name
from matstream.shared.marking import Marks, Predictions
from matstream.shared.spec import StreamSpec


@dataclass(frozen=True)
class Scored:
    """How good B predictions are.

    `accuracy` is the share of predictions whose relative l1 error is below a tolerance, by tolerance ("0.05",
    "0.02", "0.01", "0.005"); `accuracy_strict` also asks for right values and orthonormal vectors, where the
    published error does not; `errors` (B,) are these l1 errors, -1 where the reference is zero and the
    prediction is not, NaN for an invalid prediction; `invalid` counts predictions that are not all numbers.

    Of predictions for a test split, `errors` are infinite where they are not errors, `ceiling` is the
    accuracy of the exact answers rounded to three digits, `largest_residual` that of the exact answers; and
    `by_operation` and `by_dimension` have these shares for each, where there are several.
    """

    accuracy: Mapping[str, float]
    accuracy_strict: Mapping[str, float]
    errors: NDArray[np.float64]
    invalid: int
    ceiling: Mapping[str, float] | None = None
    largest_residual: float | None = None
    by_operation: Mapping[str, Any] = field(default_factory=dict)
    by_dimension: Mapping[str, Any] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{float(tau):.1%}</td><td>{share:.2%}</td><td>{self.accuracy_strict[tau]:.2%}</td></tr>"
            for tau, share in self.accuracy.items()
        )
        head = "<tr><th>within</th><th>accuracy</th><th>strict</th></tr>"
        return f"<table>{head}{rows}</table><p>{len(self.errors):,} predictions, {self.invalid:,} invalid</p>"


def score(
    operation: str | Sequence[str] | StreamSpec,
    inputs: ArrayLike | None = None,
    targets: ArrayLike | None = None,
    predictions: ArrayLike | Sequence[ArrayLike] | None = None,
    *,
    seed: int = 0,
    start: int = 0,
    generator: str | Sequence[str] | None = None,
    **fields: Any,
) -> Scored:
    """Score predictions as *Linear algebra with transformers* does: for the problems that are given, or for
    the samples of a test split.

    >>> s = matstream.sample("eigenvalues", dim=5, count=1000, split="test")
    >>> matstream.score("eigenvalues", s.inputs, s.targets, 1.01 * s.targets).accuracy["0.05"]
    1.0
    >>> matstream.score("eigenvalues", predictions=1.01 * s.targets, dim=5).accuracy["0.05"]
    1.0

    `inputs` (B, m, w), `targets` and `predictions` (B, p, q) are arrays, nested lists or tensors of one
    shape. Without inputs and targets, predictions are for samples [start, start+B) of the test split of a
    seed, of the spec that `operation` and `fields` say, as in `matstream.sample`; where shapes vary they are
    a list of matrices. The samples are drawn in this process, or come from the running generators at
    `generator`.

    Raises ValueError for an unknown operation, for shapes that do not fit, and for masked entries.
    """
    if predictions is None or (inputs is None) != (targets is None):
        raise ValueError("predictions: must be given, with inputs and targets or without both")
    if inputs is None or targets is None:
        return _of_test_split(operation, predictions, seed, start, generator, fields)
    if not isinstance(operation, str) or fields:
        raise ValueError("operation: must be one name, without fields of a spec, if inputs are given")
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


def _of_test_split(
    operation: str | Sequence[str] | StreamSpec,
    predictions: Any,
    seed: int,
    start: int,
    generator: str | Sequence[str] | None,
    fields: dict[str, Any],
) -> Scored:
    each = [real_numbers(matrix, "predictions") for matrix in predictions]
    if not each:
        raise ValueError("predictions: must be at least one")
    rows = np.array([len(matrix) for matrix in each]) if all(matrix.ndim == 2 for matrix in each) else None
    entries = np.concatenate([matrix.reshape(-1) for matrix in each])
    given = Predictions(entries, np.array([matrix.size for matrix in each]), rows)
    spec, samples = read_address(operation, fields, seed=seed, split="test", start=start, count=len(each))
    marks = Marks(spec, given, by_name("P1000"))
    for batch in batches_of(spec, samples, generator):
        marks.add(batch)
    found = marks.summary()
    return Scored(
        found["accuracy"],
        found["accuracy_strict"],
        marks.errors,
        found["invalid"],
        found["ceiling"],
        found["largest_residual"],
        found.get("by_operation", {}),
        found.get("by_dimension", {}),
    )
