"""Anyone's predictions for samples of a stream, scored as a run's are, except that no words are compared."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from matstream.shared.encodings import Encoding, EncodingError
from matstream.shared.errors import Problem, RefusedError
from matstream.shared.scoring import (
    TOLERANCES,
    by_tolerance,
    distances,
    right_by_error,
    right_strictly,
    score,
)
from matstream.shared.spec import StreamSpec
from matstream.shared.tasks import Task, by_kind, tasks_of, tasks_of_samples
from matstream.shared.wire import flat, from_batch, select

Floats = NDArray[np.float64]


class Predictions(NamedTuple):
    """Predictions for B consecutive samples: their entries one after another, row by row, and how many each
    has, (B,). An entry that is no number is NaN."""

    entries: Floats
    sizes: NDArray[np.int64]


@dataclass
class _Tally:
    """What was counted of some samples."""

    samples: int = 0
    invalid: int = 0
    right: Floats = field(default_factory=lambda: np.zeros(len(TOLERANCES)))
    strict: Floats = field(default_factory=lambda: np.zeros(len(TOLERANCES)))
    ceiling: Floats = field(default_factory=lambda: np.zeros(len(TOLERANCES)))  # NaN where nothing is known

    def add(self, other: "_Tally") -> None:
        self.samples += other.samples
        self.invalid += other.invalid
        for name in ("right", "strict", "ceiling"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def shares(self) -> dict[str, Any]:
        ceiling = by_tolerance(self.ceiling / self.samples)
        return {
            "accuracy": by_tolerance(self.right / self.samples),
            "accuracy_strict": by_tolerance(self.strict / self.samples),
            "ceiling": None if np.isnan(self.ceiling).any() else ceiling,
            "invalid": self.invalid,
            "test_samples": self.samples,
        }


def mark(
    spec: StreamSpec, batches: Iterable[pa.RecordBatch], predictions: Predictions, encoding: Encoding
) -> tuple[dict[str, Any], Floats]:
    """The scores of predictions for the samples of a spec that `batches` hold, as many and in the same order;
    and their relative l1 errors (B,), infinite for those that are invalid, or not 0 as a target is.

    `accuracy`, `accuracy_strict` and `ceiling` are shares by tolerance, as in shared.scoring; the ceiling is
    what the exact answers score once they are rounded to the words of `encoding`, None if these cannot hold
    them. `invalid` predictions have an entry that is no number. `median_error` is that of the relative l1
    errors, None if most are infinite. `largest_residual` is that of the exact answers. Of several operations
    or sizes, each is in `by_operation` and `by_dimension` too.

    Raises RefusedError, which names the sample, if a prediction has another size than its target.
    """
    tasks = tasks_of(spec)
    tallies: dict[Task, _Tally] = {}
    errors = np.empty(len(predictions.sizes))
    residual, position, starts = 0.0, 0, np.cumsum(predictions.sizes) - predictions.sizes
    for batch in batches:
        samples = from_batch(batch)
        rows = slice(position, position + batch.num_rows)
        _check_sizes(flat(samples.target).shapes, predictions.sizes[rows], samples.index)
        residual = max(residual, float(samples.residual.max()))
        numbers = tasks_of_samples(samples, spec.operation, tasks)
        for number in np.unique(numbers).tolist():
            chosen = np.flatnonzero(numbers == number)
            inputs, targets = select(samples.input, chosen), select(samples.target, chosen)
            places = starts[rows][chosen][:, None] + np.arange(targets[0].size)
            predicted = predictions.entries[places].reshape(targets.shape)
            found, l1 = _scored(tasks[number], inputs, targets, predicted, encoding)
            tallies.setdefault(tasks[number], _Tally()).add(found)
            errors[position + chosen] = l1
        position += batch.num_rows
    return _summary(tallies, errors, residual), errors


def _check_sizes(shapes: NDArray[Any], sizes: NDArray[np.int64], index: NDArray[np.int64]) -> None:
    expected = shapes.prod(axis=1)
    wrong = np.flatnonzero(expected != sizes)
    if len(wrong):
        first = wrong[0]
        rows, cols = shapes[first].tolist()
        reason = f"has {sizes[first]} numbers: must have {expected[first]}, those of a {rows}×{cols} matrix"
        raise RefusedError(
            [Problem("predictions", None, f"the prediction for sample {index[first]} {reason}")]
        )


def _scored(
    task: Task, inputs: Floats, targets: Floats, predicted: Floats, encoding: Encoding
) -> tuple[_Tally, Floats]:
    operation = task.definition
    with np.errstate(over="ignore", invalid="ignore"):
        scores = score(operation, inputs, targets, predicted)
        strict = right_strictly(operation, scores, inputs, targets, predicted)
        try:
            ceiling = right_by_error(score(operation, inputs, targets, encoding.round(targets))).sum(axis=0)
        except EncodingError:
            ceiling = np.full(len(TOLERANCES), np.nan)
    invalid = int(np.isnan(predicted).any(axis=(1, 2)).sum())
    right = right_by_error(scores).sum(axis=0)
    return _Tally(len(targets), invalid, right, strict.sum(axis=0), ceiling), distances(scores)


def _summary(tallies: dict[Task, _Tally], errors: Floats, residual: float) -> dict[str, Any]:
    median = float(np.median(errors))
    found = _together(list(tallies.values())).shares() | {
        "median_error": median if np.isfinite(median) else None,
        "largest_residual": None if np.isnan(residual) else residual,
    }
    for name, groups in by_kind(sorted(tallies.items())).items():
        found[name] = {group: _together(parts).shares() for group, parts in groups.items()}
    return found


def _together(parts: list[_Tally]) -> _Tally:
    whole = _Tally()
    for part in parts:
        whole.add(part)
    return whole
