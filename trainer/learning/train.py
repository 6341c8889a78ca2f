"""The training loop, in plain order. Training is a function of samples seen, never of the clock."""

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from matstream.trainer.client import PATIENCE, Client, StreamError
from matstream.trainer.display.progress import TrainingProgress
from matstream.trainer.learning.loader import Batch, Loader, StoppedError, on_device
from matstream.trainer.learning.optimiser import learning_rate
from matstream.trainer.learning.training_state import Position, State
from matstream.trainer.model.inference import Solver
from matstream.trainer.model.transformer import device
from matstream.trainer.recipes.recipe import Recipe, TrainingSection
from matstream.trainer.runs.metrics import Metrics
from matstream.trainer.runs.run import Run
from matstream.trainer.scoring.answers import Answers, answers, summaries

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """How training ended. `stopped_by` is None when the recipe's samples were all seen."""

    position: Position
    stopped_by: str | None


def train(run: Run, client: Client) -> Trained:
    """Train in the run's folder, from its last checkpoint if it has one.

    Writes metrics.jsonl, tensorboard/ and checkpoints/. SIGINT, SIGTERM and the recipe's time limit, which
    counts from this start alone, end it at the next step with a checkpoint. Raises StreamError, after a
    checkpoint, if the stream is lost; TrainingError if the loss is not finite or diverges.
    """
    training = run.recipe.training
    state = State(run)
    position, solver = state.position, state.solver()
    client.replicas.patience = _patience(run, position)
    if position.validated == training.samples:
        return Trained(position, None)
    if position.fingerprints:
        client.replicas.expect(list(position.fingerprints)[-1])
    _warn_if_all_stages(run.recipe)
    metrics = Metrics(run.folder, position.samples, position.validated)

    def due(every: int, last: int) -> bool:
        now = position.samples
        return last // every < now // every or last < now == training.samples

    def write(record: dict[str, Any]) -> None:
        metrics.write(record)
        progress.report(record)

    stopped_by: str | None = None
    logged, saved, begun = replace(position), position.samples, position.seconds
    with (
        _signals() as stop,
        TrainingProgress(run.name, position.samples, training.samples) as progress,
        closing(metrics),
        closing(_loader(run, client, position.samples, solver)) as loader,
        _told_of_waiting(client, progress),
    ):
        batches = on_device(_batches(loader, training, stop), device())
        try:
            if position.samples == 0:
                state.save()
            while True:
                if due(training.validate_every, position.validated):
                    state.settle()
                    scores = summaries(validate(run, solver, client, "valid", stop))
                    state.save_if_best(scores["accuracy"]["0.05"])
                    write(_validation_record(position, scores))
                    position.validated = position.samples
                if due(training.checkpoint_every, saved):
                    state.save()
                    saved = position.samples
                if stop.is_set() or position.samples == training.samples:
                    break
                if position.seconds - begun >= (training.time_limit or math.inf):
                    stopped_by = f"time limit of {training.time_limit:g} s"
                    break
                started, waited = time.perf_counter(), loader.waited
                state.step(next(batches))
                log = due(training.log_every, logged.samples)
                if log:
                    state.settle()
                position.seconds += time.perf_counter() - started
                position.waited += loader.waited - waited
                _note_fingerprints(position, loader)
                client.replicas.patience = _patience(run, position)
                if log:
                    write(_training_record(training, logged, position))
                    position.loss_sum, position.loss_steps = 0.0, 0
                    logged = replace(position)
        except StoppedError:
            pass
        except StreamError as error:
            if not stop.is_set():
                state.save()
                kept = f"all that was trained is kept in {run.folder}: go on with --resume"
                raise StreamError(f"{error}; {kept}") from error
        if stop.is_set():
            stopped_by = stop.name
        if stopped_by is not None:
            state.save()
    return Trained(position, stopped_by)


def validate(
    run: Run, solver: Solver, client: Client, split: str, cancelled: threading.Event | None = None
) -> list[Answers]:
    """Score a model on held-out samples of the run's own stream, as many as its recipe says for `split`."""
    stream, evaluation = run.recipe.stream, run.recipe.evaluation
    count = evaluation.test_samples if split == "test" else evaluation.validation_samples
    size = evaluation.batch_size
    return answers(solver, client, stream.spec(), stream.seed, split, count, size, cancelled=cancelled)


def _warn_if_all_stages(recipe: Recipe) -> None:
    """Say so if the training is over before the stages of its curriculum are."""
    if recipe.segments()[-1].stream != recipe.stream:
        stages = sum(stage.samples for stage in recipe.curriculum)
        what = "the stages of [[curriculum]] last %s samples, so that none is of the stream that is scored"
        logger.warning(f"training.samples=%s: {what}", f"{recipe.training.samples:,}", f"{stages:,}")


def _loader(run: Run, client: Client, position: int, solver: Solver) -> Loader:
    recipe = run.recipe
    return Loader(
        client,
        recipe.segments(),
        "train",
        position,
        solver.read,
        solver.write,
        connections=recipe.fetch.connections,
        request_samples=recipe.fetch.request_samples,
    )


def _batches(loader: Loader, training: TrainingSection, stop: threading.Event) -> Iterator[Batch]:
    """The batches that the steps learn from, in order; the last may be smaller."""
    while loader.position < training.samples:
        yield loader.take(min(training.batch_size, training.samples - loader.position), stop)


@contextmanager
def _told_of_waiting(client: Client, progress: TrainingProgress) -> Iterator[None]:
    """Let `progress` show what the client waits for, until the body is done."""
    before, client.replicas.on_waiting = client.replicas.on_waiting, progress.waiting
    try:
        yield
    finally:
        client.replicas.on_waiting = before


def _patience(run: Run, position: Position) -> float:
    """Seconds for which generators may be away: by default as many as were trained, at least PATIENCE."""
    return run.recipe.fetch.patience or max(PATIENCE, position.seconds)


def _note_fingerprints(position: Position, loader: Loader) -> None:
    for fingerprint, start in loader.fingerprints:
        if start < position.samples and fingerprint not in position.fingerprints:
            if position.fingerprints:
                logger.warning("numerics %s from sample %d on", fingerprint, start)
            position.fingerprints[fingerprint] = start


def _training_record(training: TrainingSection, logged: Position, now: Position) -> dict[str, Any]:
    seconds = now.seconds - logged.seconds
    return {
        "samples": now.samples,
        "seconds": round(now.seconds, 3),
        "loss": now.loss_sum / now.loss_steps,
        "learning_rate": learning_rate(training, now.samples),  # of the step to come
        "samples_per_second": round((now.samples - logged.samples) / seconds, 1),
        "data_wait": round((now.waited - logged.waited) / seconds, 4),
    }


def _validation_record(now: Position, scores: dict[str, Any]) -> dict[str, Any]:
    return {
        "samples": now.samples,
        "seconds": round(now.seconds, 3),
        "validation_loss": scores["loss"],
        "accuracy": scores["accuracy"]["0.05"],
        **{f"accuracy_{tau}": share for tau, share in scores["accuracy"].items() if tau != "0.05"},
        "accuracy_strict": scores["accuracy_strict"]["0.05"],
        "invalid": scores["invalid"],
    }


class _Stop(threading.Event):
    """Set when a signal asks training to stop; `name` is the signal's."""

    name = ""


@contextmanager
def _signals() -> Iterator[_Stop]:
    """Let SIGINT and SIGTERM set an event; a second one ends the process as usual. A signal that is ignored,
    as SIGINT is in what a script runs in the background, stays ignored."""
    stop = _Stop()

    def ask(number: int, frame: object) -> None:
        stop.name = signal.Signals(number).name
        stop.set()
        signal.signal(number, handlers[number])

    here = threading.current_thread() is threading.main_thread()  # only it may set handlers
    handlers: dict[int, Any] = {
        number: signal.signal(number, ask)
        for number in (signal.SIGINT, signal.SIGTERM)
        if here and signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
