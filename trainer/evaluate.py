"""Scores of a model on held-out samples of a stream."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from shared.files import written_aside
from shared.scoring import accuracy, accuracy_strict, score
from shared.spec import StreamSpec
from shared.wire import Matrices, from_batch
from trainer import client
from trainer.loader import StoppedError
from trainer.model import Transformer
from trainer.tokens import Tokens

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """What a model made of `samples` samples; matrices (B, rows, cols), predictions NaN where invalid."""

    samples: int
    accuracy: dict[str, float]  # by tolerance, the published rule
    accuracy_strict: dict[str, float]  # by tolerance, the error alone
    invalid: int  # outputs that are no matrix of numbers
    loss: float  # mean cross-entropy, summed over the words of a number
    inputs: Floats
    targets: Floats
    predictions: Floats
    l1: Floats  # (B,) relative error, as the accuracies use it


def evaluate(
    model: Transformer,
    input_tokens: Tokens,
    target_tokens: Tokens,
    urls: Sequence[str],
    spec: StreamSpec,
    seed: int,
    split: str,
    count: int,
    batch_size: int,
    cancelled: threading.Event | None = None,
) -> Evaluation:
    """Predict samples [0, count) of a split greedily, and score them.

    Raises StreamError if the stream cannot be had; that or StoppedError soon after `cancelled` is set.
    """
    batches = client.stream(urls, spec, seed, split, 0, count, cancelled=cancelled)
    columns = [from_batch(batch) for batch in batches]
    inputs, targets = (
        np.concatenate([matrices(getattr(c, name)) for c in columns]) for name in ("input", "target")
    )
    input_ids, target_ids = input_tokens.encode(inputs), target_tokens.encode(targets)
    device = next(model.parameters()).device
    predicted, losses = [], []
    model.eval()
    for first in range(0, count, batch_size):
        if cancelled is not None and cancelled.is_set():
            raise StoppedError
        x, y = (
            torch.from_numpy(ids[first : first + batch_size]).to(device) for ids in (input_ids, target_ids)
        )
        with torch.no_grad():
            losses.append(float(model(x, y)) * len(x))
        predicted.append(model.generate(x).cpu().numpy())
    model.train()
    predicted_ids = np.concatenate(predicted)
    predictions = target_tokens.decode(predicted_ids)
    operation = spec.operation[0]
    known, wanted = input_tokens.decode(input_ids), target_tokens.decode(target_ids)
    scores = score(operation, known, wanted, predictions)
    return Evaluation(
        count,
        accuracy(scores, (predicted_ids == target_ids).all(axis=(1, 2))),
        accuracy_strict(operation, scores, known, wanted, predictions),
        int(np.isnan(predictions).any(axis=(1, 2)).sum()),
        sum(losses) / count,
        inputs,
        targets,
        predictions,
        scores.l1,
    )


def matrices(column: Floats | Matrices) -> Floats:
    """A column known to be of one shape."""
    assert not isinstance(column, Matrices)
    return column


def save_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Write inputs, targets, predictions (B, rows, cols) and errors (B,) as a Zarr group, in one piece."""
    with written_aside(path) as aside:
        group = zarr.open_group(aside, mode="w")
        for name in ("inputs", "targets", "predictions"):
            dimensions = ("sample", f"{name}_row", f"{name}_column")
            group.create_array(name, data=getattr(evaluation, name), dimension_names=dimensions)
        group.create_array("errors", data=evaluation.l1, dimension_names=("sample",))
