"""Scores of a model on held-out samples of a stream."""

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from matstream.shared.files import written_aside
from matstream.shared.scoring import by_tolerance, right, right_by_error, right_strictly, score
from matstream.shared.spec import StreamSpec
from matstream.shared.tasks import Task, by_kind, tasks_of_samples
from matstream.shared.wire import flat, from_batch, select
from matstream.trainer.client import Client
from matstream.trainer.learning.loader import StoppedError
from matstream.trainer.model.inference import Solver
from matstream.trainer.runs.folder import OF_ANSWERS

_AS_WELL, _RARE, _BEYOND = 0.95, 0.005, 1.1  # of sizes_done_well; it reaches a tenth beyond what was tested
_CHUNK_BYTES = 1 << 28  # of an array in one file; codecs take at most 2 GiB

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """A model's answers to N samples of one task, in their order, and their scores. A sample is right, or
    not, at each of four tolerances."""

    task: Task
    index: NDArray[np.int64]  # (N,) of the samples in their stream
    inputs: Floats  # (N, rows, cols)
    targets: Floats  # (N, rows, cols)
    predictions: Floats  # like the targets, NaN where the words form no number
    errors: Floats  # (N,) relative, in l1, as the accuracies use it
    right: Bools  # (N, 4) by the published rule
    strict: Bools  # (N, 4) by the error alone, and for vectors more (shared.scoring)
    unrounded: Bools  # (N, 4) by the error against the unrounded input and target
    ceiling: Bools  # (N, 4) likewise, of the exact answer rounded to its words
    loss: float  # the model's, in nats, summed over all words
    positions: int  # of all answers


def answers(
    solver: Solver,
    client: Client,
    spec: StreamSpec,
    seed: int,
    split: str,
    count: int,
    batch_size: int,
    *,
    cancelled: threading.Event | None = None,
    done: Callable[[int], None] | None = None,
) -> list[Answers]:
    """Answer samples [0, count) of a split greedily, and score them; one entry for each task among them.

    `done` is called with the number of samples that were answered each time.

    Raises StreamError if the stream cannot be had; that or StoppedError soon after `cancelled` is set.
    """
    found: dict[int, list[Answers]] = {}
    with closing(client.stream(spec, seed, split, 0, count, cancelled=cancelled)) as batches:
        for batch in batches:
            samples = from_batch(batch)
            tasks = tasks_of_samples(samples, spec.operation, solver.read.tasks)
            for task in np.unique(tasks).tolist():
                chosen = np.flatnonzero(tasks == task)
                for part in np.array_split(chosen, -(-len(chosen) // batch_size)):
                    if cancelled is not None and cancelled.is_set():
                        raise StoppedError
                    inputs, targets = select(samples.input, part), select(samples.target, part)
                    scored = _score(solver, task, samples.index[part], inputs, targets)
                    found.setdefault(task, []).append(scored)
                    if done is not None:
                        done(len(part))
    return [_joined(parts) for _, parts in sorted(found.items())]


def _score(solver: Solver, number: int, index: NDArray[np.int64], inputs: Floats, targets: Floats) -> Answers:
    task, read, write = solver.read.tasks[number], solver.read, solver.write
    tasks = np.full(len(index), number)
    input_ids, target_ids = read.encode(flat(inputs), tasks), write.encode(flat(targets), tasks)
    predicted_ids = solver.solve(input_ids, number)
    target_ids = target_ids[:, : predicted_ids.shape[1]]
    loss = solver.loss(input_ids, target_ids, number)
    predictions = write.decode(predicted_ids, number)
    # input and target as their words round them
    known, wanted = read.decode(input_ids, number), write.decode(target_ids, number)
    operation = task.definition
    scores = score(operation, known, wanted, predictions)
    same_words = ((predicted_ids == target_ids) | (target_ids < 0)).all(axis=(1, 2))
    return Answers(
        task,
        index,
        inputs,
        targets,
        predictions,
        scores.l1,
        right(scores, same_words),
        right_strictly(operation, scores, known, wanted, predictions),
        right_by_error(score(operation, inputs, targets, predictions)),
        right_by_error(score(operation, inputs, targets, wanted)),
        loss,
        int((target_ids >= 0).any(axis=2).sum()),
    )


def summary(found: Sequence[Answers]) -> dict[str, Any]:
    """The scores of answers as shares of all samples, by tolerance; and how many answers are invalid."""
    shares = {
        name: by_tolerance(np.concatenate([getattr(part, rule) for part in found]).mean(axis=0))
        for name, rule in (
            ("accuracy", "right"),
            ("accuracy_strict", "strict"),
            ("accuracy_unrounded", "unrounded"),
            ("ceiling", "ceiling"),
        )
    }
    invalid = sum(int(np.isnan(part.predictions).any(axis=(1, 2)).sum()) for part in found)
    return {**shares, "invalid": invalid, "test_samples": sum(len(part.index) for part in found)}


def summaries(found: Sequence[Answers]) -> dict[str, Any]:
    """The summary of all answers, with `loss`, and in mixtures `by_operation` and `by_dimension`."""
    whole = summary(found)
    whole["loss"] = sum(part.loss for part in found) / sum(part.positions for part in found)
    for name, groups in by_kind((part.task, part) for part in found).items():
        whole[name] = {group: summary(parts) for group, parts in groups.items()}
    return whole


def sizes_done_well(found: Sequence[Answers]) -> list[float] | None:
    """From which magnitude to which the largest entry of an input may be for a model to do about as well as
    it does in general: there, of the hundredths of the samples, at least 0.95 times as many are right within
    5% as of all, but for chance: a hundredth may be worse if the next one outwards is not. The 0.5% with the
    smallest and the largest are beyond it, since little is known of them.

    None if all inputs are zero.
    """
    sizes = np.concatenate([np.abs(part.inputs).max(axis=(1, 2)) for part in found])
    good = np.concatenate([part.right[:, 0] for part in found])[sizes > 0]
    sizes = sizes[sizes > 0]
    if not len(sizes):
        return None
    parts = np.array_split(np.argsort(sizes, kind="stable"), max(1, min(100, len(sizes) // 50)))
    shares = np.array([good[part].mean() for part in parts])
    share, chance = good.mean(), math.sqrt(good.var() * len(parts) / len(good))  # of a part to be lower
    bad = np.pad(shares < _AS_WELL * share - chance / 2, 1, constant_values=True)  # a last one alone counts
    middle = len(parts) // 2
    below = np.flatnonzero((bad[1:-1] & bad[:-2])[:middle])
    above = np.flatnonzero((bad[1:-1] & bad[2:])[middle:])
    first = (below.max() + 1) / len(parts) if len(below) else 0.0
    last = (middle + above.min()) / len(parts) if len(above) else 1.0
    low, high = np.quantile(sizes, [max(first, _RARE), min(last, 1 - _RARE)]).tolist()
    return [low / _BEYOND, high * _BEYOND]


def save(found: Sequence[Answers], path: Path, spec: StreamSpec) -> None:
    """Write the answers to a stream, with inputs and targets, as a Zarr group with named dimensions.

    `inputs`, `targets`, `predictions` (sample, row, column), padded with NaN where shapes vary; for each
    sample the `rows` and `columns` of its input, its `target_rows` and `target_columns`, its error in
    `errors`, its `index` in the stream, and its `operation`, a position in the attribute `operations`. This
    attribute is separated by commas, and the attribute `spec` is JSON: both are text, which netCDF can hold.
    """
    operations = sorted({part.task.operation for part in found})
    order = np.argsort(np.concatenate([part.index for part in found]))
    columns: dict[str, tuple[NDArray[Any], tuple[str, ...]]] = {
        name: (
            _padded([getattr(part, name) for part in found])[order],
            ("sample", f"{side}_row", f"{side}_column"),
        )
        for name, side in (("inputs", "input"), ("targets", "target"), ("predictions", "target"))
    }
    of_tasks = {
        "rows": [part.task.input_shape[0] for part in found],
        "columns": [part.task.input_shape[1] for part in found],
        "target_rows": [part.task.target_shape[0] for part in found],
        "target_columns": [part.task.target_shape[1] for part in found],
        "operation": [operations.index(part.task.operation) for part in found],
    }
    sizes = [len(part.index) for part in found]
    of_samples = {name: np.repeat(np.array(values), sizes) for name, values in of_tasks.items()}
    of_samples |= {
        name: np.concatenate([getattr(part, name) for part in found]) for name in ("errors", "index")
    }
    columns |= {name: (values[order], ("sample",)) for name, values in of_samples.items()}
    with written_aside(path, OF_ANSWERS) as aside:
        attributes: dict[str, Any] = {"spec": spec.canonical(), "operations": ",".join(operations)}
        with zarr.config.set(zarr.config.defaults[0]):  # whatever zarr's own settings say
            group = zarr.open_group(aside, mode="w", zarr_format=3, attributes=attributes)
            for name, (values, dimensions) in columns.items():
                group.create_array(name, data=values, dimension_names=dimensions, chunks=_chunks(values))


def _chunks(values: NDArray[Any]) -> tuple[int, ...]:
    """The shape of the parts in which an array is written: one, unless the array is too large for a codec."""
    sample = values[:1].nbytes or 1
    return min(max(len(values), 1), max(_CHUNK_BYTES // sample, 1)), *values.shape[1:]


def _joined(parts: Sequence[Answers]) -> Answers:
    """Several batches of answers of one task as one."""
    arrays = [name for name, value in vars(parts[0]).items() if isinstance(value, np.ndarray)]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays
    }
    return replace(
        parts[0],
        **joined,
        loss=sum(part.loss for part in parts),
        positions=sum(part.positions for part in parts),
    )


def _padded(matrices: Sequence[Floats]) -> Floats:
    """Batches of matrices, each of one shape, as one batch of the largest shape, padded with NaN."""
    rows, cols = np.max([batch.shape[1:] for batch in matrices], axis=0)
    around = [((0, 0), (0, rows - batch.shape[1]), (0, cols - batch.shape[2])) for batch in matrices]
    return np.concatenate(
        [np.pad(batch, width, constant_values=np.nan) for batch, width in zip(matrices, around, strict=True)]
    )
