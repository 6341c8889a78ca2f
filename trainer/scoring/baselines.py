"""What a model's accuracy is worth: numerical methods, in so many steps, and constant answers, on the same
samples.

They get the inputs as they were sent, with all their digits, and are compared with the exact answers, as the
model's answers are for this table.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from matstream.shared.operation import Operation
from matstream.shared.scoring import Scores, by_tolerance, distances, right_by_error, right_strictly, score
from matstream.trainer.scoring.answers import Answers

SAMPLES = 2_000  # that methods answer, of each task
CANDIDATES = 200  # for the best constant answer

Floats = NDArray[np.float64]


class Part(NamedTuple):
    """The samples of one task, (B, …), with a model's predictions if there is one."""

    definition: Operation
    inputs: Floats
    targets: Floats
    predictions: Floats | None = None

    def first(self, count: int) -> "Part":
        """The first samples of it."""
        given = None if self.predictions is None else self.predictions[:count]
        return Part(self.definition, self.inputs[:count], self.targets[:count], given)


def baselines(found: Sequence[Answers]) -> list[dict[str, Any]]:
    """For each operation among a model's answers, what `compared` says."""
    records = []
    for name in sorted({part.task.operation for part in found}):
        of_task = [part for part in found if part.task.operation == name]
        parts = [Part(a.task.definition, a.inputs, a.targets, a.predictions) for a in of_task]
        records += compared(name, parts)
    return records


def compared(operation: str, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The model, if there is one, every method of an operation with its steps, and the best constant answer,
    on the first SAMPLES of each part. Each is a record of `operation`, `method`, `steps`, `samples`, and of
    what `_scored` says of it."""
    few = [part.first(SAMPLES) for part in parts]
    about = {"operation": operation, "samples": sum(len(part.inputs) for part in few)}
    return [
        about | {"method": method, "steps": steps} | _scored(few, answers)
        for method, steps, answers in _answered(few)
    ]


def _answered(parts: Sequence[Part]) -> Iterator[tuple[str, int, list[Floats]]]:
    """The name of each method, its steps, and its answers to each part."""
    given = [part.predictions for part in parts if part.predictions is not None]
    if given:
        yield "this model", 0, given
    for number, method in enumerate(parts[0].definition.methods):
        for steps in method.steps:
            with warnings.catch_warnings(), np.errstate(all="ignore"):  # a method may fail on a matrix
                warnings.simplefilter("ignore")
                yield (
                    method.name,
                    steps,
                    [part.definition.methods[number].answer(part.inputs, steps) for part in parts],
                )
    yield "best constant answer", 0, [_constant(part) for part in parts]


def _constant(part: Part) -> Floats:
    """The answer that is right for the most samples within 5%, of some of the targets, their mean and their
    median; as the answer to each sample."""
    step = max(1, len(part.targets) // CANDIDATES)
    candidates = [part.targets.mean(axis=0), np.median(part.targets, axis=0), *part.targets[::step]]
    shares = []
    for candidate in candidates:
        answers = np.broadcast_to(candidate, part.targets.shape)
        shares.append(right_by_error(_score(part, answers))[:, 0].mean())
    return np.broadcast_to(candidates[int(np.argmax(shares))], part.targets.shape)


def _score(part: Part, answers: Floats) -> Scores:
    with np.errstate(all="ignore"):
        return score(part.definition, part.inputs, part.targets, answers)


def _scored(parts: Sequence[Part], answers: Iterable[Floats]) -> dict[str, Any]:
    """`accuracy` and `accuracy_strict` by tolerance; `median_error`, of the relative l1 errors; and
    `relative_rmse`, the root of the mean square of Δ over all entries, divided by that of the targets.
    Answers that are no numbers count as 0 in this, and as wrong."""
    right, strict, errors, squares, sizes = [], [], [], 0.0, 0.0
    for part, given in zip(parts, answers, strict=True):
        scores = _score(part, given)
        right.append(right_by_error(scores))
        with np.errstate(all="ignore"):
            strict.append(right_strictly(part.definition, scores, part.inputs, part.targets, given))
            off = np.where(np.isfinite(given), given, 0.0) - part.targets
            squares += float(np.square(off).sum())
        errors.append(distances(scores))
        sizes += float(np.square(part.targets).sum())
    median = float(np.median(np.concatenate(errors)))
    return {
        "accuracy": by_tolerance(np.concatenate(right).mean(axis=0)),
        "accuracy_strict": by_tolerance(np.concatenate(strict).mean(axis=0)),
        "median_error": median if np.isfinite(median) else None,
        "relative_rmse": float(np.sqrt(squares / sizes)) if sizes > 0 else None,
    }
