"""The training loop, in plain order. Training is a function of samples seen, never of the clock."""

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared.errors import UserError
from trainer import checkpoint
from trainer.evaluate import Evaluation, evaluate
from trainer.loader import Loader, StoppedError
from trainer.metrics import Metrics
from trainer.model import Sequences, Transformer
from trainer.progress import TrainingProgress
from trainer.recipe import Recipe, TrainingSection
from trainer.run import Run

logger = logging.getLogger(__name__)


class TrainingError(UserError):
    """A loss that is no number any more."""


@dataclass
class Position:
    """How far a run has come; saved with every checkpoint."""

    samples: int = 0
    validated: int = 0  # the samples after which it was last scored
    seconds: float = 0.0  # of training, validation and checkpoints aside
    waited: float = 0.0  # of these, waiting for samples
    loss_sum: float = 0.0  # since the last loss in metrics.jsonl
    loss_steps: int = 0
    fingerprint: str = ""  # of the generator's numerics


@dataclass(frozen=True)
class Trained:
    """How training ended. `stopped_by` is None when the recipe's samples were all seen."""

    model: Transformer
    position: Position
    stopped_by: str | None


def train(run: Run, urls: Sequence[str]) -> Trained:
    """Train in the run's folder, from its last checkpoint if it has one.

    Writes metrics.jsonl, tensorboard/ and checkpoints/. SIGINT, SIGTERM and the recipe's time limit, which
    is on this go alone, end it at the next step with a checkpoint. Raises StreamError, after a checkpoint,
    if the stream is lost; TrainingError if the loss is not finite.
    """
    recipe, training = run.recipe, run.recipe.training
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(recipe).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(0.9, 0.98), weight_decay=training.weight_decay, fused=True
    )
    position = _restore(run.folder, model, optimizer)
    if position.validated == training.samples:
        return Trained(model, position, None)
    metrics = Metrics(run.folder, position.samples, position.validated)
    loader = Loader(
        urls,
        recipe.stream.spec(),
        recipe.stream.seed,
        "train",
        position.samples,
        training.samples,
        recipe.input_tokens(),
        recipe.target_tokens(),
        connections=recipe.fetch.connections,
        request_samples=recipe.fetch.request_samples,
    )

    def due(every: int, last: int) -> bool:
        now = position.samples
        return last // every < now // every or last < now == training.samples

    def save() -> None:
        state = {"optimizer": optimizer.state_dict(), "position": asdict(position)}
        metrics.flush()
        checkpoint.save(run.folder / "checkpoints", position.samples, model, state)

    stopped_by: str | None = None
    logged, saved, begun = Position(**asdict(position)), position.samples, position.seconds
    with _signals() as stop, TrainingProgress(run.name, position.samples, training.samples) as progress:
        try:
            while True:
                if due(training.validate_every, position.validated):
                    record = _validation_record(position, validate(run, model, urls, "valid", stop))
                    metrics.write(record)
                    progress.report(record)
                    position.validated = position.samples
                if due(training.checkpoint_every, saved):
                    save()
                    saved = position.samples
                if stop.is_set() or position.samples == training.samples:
                    break
                if position.seconds - begun >= (training.time_limit or math.inf):
                    stopped_by = f"time limit of {training.time_limit:g} s"
                    break
                started, waited = time.perf_counter(), loader.waited
                size = min(training.batch_size, training.samples - position.samples)
                inputs, targets = loader.take(size, stop)
                rate = learning_rate(training, position.samples)
                loss = _step(model, optimizer, training, rate, inputs.to(device), targets.to(device))
                position.samples += size
                position.loss_sum += loss
                position.loss_steps += 1
                position.seconds += time.perf_counter() - started
                position.waited += loader.waited - waited
                if position.fingerprint not in ("", loader.fingerprint):
                    logger.warning(
                        "the generator's numerics are %s, were %s: samples may differ in their last bits",
                        loader.fingerprint,
                        position.fingerprint,
                    )
                position.fingerprint = loader.fingerprint
                if due(training.log_every, logged.samples):
                    record = _training_record(training, logged, position)
                    if not math.isfinite(record["loss"]):
                        raise TrainingError(
                            f"the loss is not finite in samples [{logged.samples}, {position.samples}) of "
                            "the stream: lower training.learning_rate"
                        )
                    metrics.write(record)
                    progress.report(record)
                    position.loss_sum, position.loss_steps = 0.0, 0
                    logged = Position(**asdict(position))
        except StoppedError:
            pass
        except TrainingError:
            raise
        except UserError:
            if not stop.is_set():
                save()
                raise
        finally:
            loader.close()
            metrics.close()
        if stop.is_set():
            stopped_by = stop.name
        if stopped_by is not None:
            save()
    return Trained(model, position, stopped_by)


def build_model(recipe: Recipe) -> Transformer:
    """The recipe's model with its first weights."""
    read, write = recipe.input_tokens(), recipe.target_tokens()
    sequences = Sequences(read.length, read.alphabets, write.length, write.alphabets)
    sizes = recipe.model
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn on the CPU
        torch.manual_seed(recipe.training.seed)
        return Transformer(sequences, sizes.width, sizes.heads, sizes.encoder_layers, sizes.decoder_layers)


def _step(
    model: Transformer,
    optimizer: torch.optim.Optimizer,
    training: TrainingSection,
    rate: float,
    inputs: Tensor,
    targets: Tensor,
) -> float:
    """One step of the optimiser at a learning rate; returns the loss before it."""
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=training.precision == "bf16"):
        loss = model(inputs, targets)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip)
    optimizer.step()
    return loss.item()


def learning_rate(training: TrainingSection, samples: int) -> float:
    """The rate of the step that begins after `samples`: a linear rise, then a cosine down."""
    if samples < training.warmup:
        return (
            training.learning_rate * (samples + training.batch_size) / (training.warmup + training.batch_size)
        )
    share = (samples - training.warmup) / max(1, training.samples - training.warmup)
    lowest = training.final_learning_rate
    return training.learning_rate * (lowest + (1 - lowest) * (1 + math.cos(math.pi * share)) / 2)


def validate(
    run: Run,
    model: Transformer,
    urls: Sequence[str],
    split: str,
    cancelled: threading.Event | None = None,
) -> Evaluation:
    """Score the model on held-out samples of the run's own stream, as many as its recipe says for `split`."""
    recipe, evaluation = run.recipe, run.recipe.evaluation
    return evaluate(
        model,
        recipe.input_tokens(),
        recipe.target_tokens(),
        urls,
        recipe.stream.spec(),
        recipe.stream.seed,
        split,
        evaluation.test_samples if split == "test" else evaluation.validation_samples,
        evaluation.batch_size,
        cancelled,
    )


def _restore(folder: Path, model: Transformer, optimizer: torch.optim.Optimizer) -> Position:
    newest = checkpoint.latest(folder / "checkpoints")
    if newest is None:
        return Position()
    state = checkpoint.load(newest, model)
    optimizer.load_state_dict(state["optimizer"])
    return Position(**state["position"])


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


def _validation_record(now: Position, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "samples": now.samples,
        "seconds": round(now.seconds, 3),
        "validation_loss": evaluation.loss,
        "accuracy": evaluation.accuracy["0.05"],
        "invalid": evaluation.invalid,
    }


class _Stop(threading.Event):
    """Set when a signal asks training to stop; `name` is the signal's."""

    name = ""


@contextmanager
def _signals() -> Iterator[_Stop]:
    """Let SIGINT and SIGTERM set an event; a second one ends the process as usual."""
    stop = _Stop()

    def ask(number: int, frame: object) -> None:
        stop.name = signal.Signals(number).name
        stop.set()
        signal.signal(number, handlers[number])

    handlers = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
