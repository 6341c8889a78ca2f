"""Anyone's predictions for samples of a stream, scored as a run's are, except that no words are compared."""

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
    """Predictions for B consecutive samples: their entries one after another, row by row; how many each has,
    (B,); and, where it is known, of how many rows each is, (B,). An entry that is no number is NaN."""

    entries: Floats
    sizes: NDArray[np.int64]
    rows: NDArray[np.int64] | None = None


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


class Marks:
    """The scores of predictions for consecutive samples of a spec, whose batches come one after another.

    `errors` (B,) are the relative l1 errors, infinite for predictions that are invalid, or not 0 as a target
    is.
    """

    def __init__(self, spec: StreamSpec, predictions: Predictions, encoding: Encoding) -> None:
        self.errors = np.empty(len(predictions.sizes))
        self._names, self._tasks = spec.operation, tasks_of(spec)
        self._predictions, self._encoding = predictions, encoding
        self._starts = np.cumsum(predictions.sizes) - predictions.sizes
        self._tallies: dict[Task, _Tally] = {}
        self._residual, self._position = 0.0, 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Score the predictions for the samples of the next batch.

        Raises RefusedError, which names the sample, if a prediction has another shape than its target.
        """
        samples = from_batch(batch)
        rows = slice(self._position, self._position + batch.num_rows)
        self._check_shapes(flat(samples.target).shapes, rows, samples.index)
        self._residual = max(self._residual, float(samples.residual.max()))
        numbers = tasks_of_samples(samples, self._names, self._tasks)
        for number in np.unique(numbers).tolist():
            chosen = np.flatnonzero(numbers == number)
            inputs, targets = select(samples.input, chosen), select(samples.target, chosen)
            places = self._starts[rows][chosen][:, None] + np.arange(targets[0].size)
            predicted = self._predictions.entries[places].reshape(targets.shape)
            task = self._tasks[number]
            found, l1 = _scored(task, inputs, targets, predicted, self._encoding)
            self._tallies.setdefault(task, _Tally()).add(found)
            self.errors[self._position + chosen] = l1
        self._position = rows.stop

    def _check_shapes(self, shapes: NDArray[Any], rows: slice, index: NDArray[np.int64]) -> None:
        sizes, given = self._predictions.sizes[rows], self._predictions.rows
        wrong = shapes.prod(axis=1) != sizes
        if given is not None:
            wrong |= shapes[:, 0] != given[rows]
        if not wrong.any():
            return
        first = int(wrong.argmax())
        m, n = shapes[first].tolist()
        has = f"has {sizes[first]} numbers" + (f" in {given[rows][first]} rows" if given is not None else "")
        reason = f"{has}: must have {m * n}, those of a {m}×{n} matrix"
        raise RefusedError(
            [Problem("predictions", None, f"the prediction for sample {index[first]} {reason}")]
        )

    def summary(self) -> dict[str, Any]:
        """All scores.

        `accuracy`, `accuracy_strict` and `ceiling` are shares by tolerance, as in shared.scoring; the ceiling
        is what the exact answers score once they are rounded to the words of the encoding, None if these
        cannot hold them. `invalid` predictions have an entry that is no number. `median_error` is that of the
        relative l1 errors, None if most are infinite. `largest_residual` is that of the exact answers. Of
        several operations or sizes, each is in `by_operation` and `by_dimension` too.
        """
        median = float(np.median(self.errors))
        found = _together(list(self._tallies.values())).shares() | {
            "median_error": median if np.isfinite(median) else None,
            "largest_residual": None if np.isnan(self._residual) else self._residual,
        }
        for name, groups in by_kind(sorted(self._tallies.items())).items():
            found[name] = {group: _together(parts).shares() for group, parts in groups.items()}
        return found


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


def _together(parts: list[_Tally]) -> _Tally:
    whole = _Tally()
    for part in parts:
        whole.add(part)
    return whole
