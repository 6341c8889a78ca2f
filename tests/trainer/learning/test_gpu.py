"""What only a GPU can show: a training there never waits for it, agrees with the processor's, and resumes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from matstream.generator_service.stream import generate
from matstream.shared.wire import from_batch
from matstream.trainer.learning import training_state
from matstream.trainer.learning.loader import Batch, on_device
from matstream.trainer.learning.train import train
from matstream.trainer.learning.training_state import State
from matstream.trainer.model.transformer import device
from matstream.trainer.recipes.reading import read_recipe
from matstream.trainer.runs.run import Run
from matstream.trainer.tokens.tokens import encode

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="for `make gpu-check`, on a machine with an NVIDIA GPU"
)

SEQUENTIAL = {"input_form": "sequential", "output_form": "sequential"}
CASES: dict[str, dict[str, Any]] = {
    "paper's sizes": {"model": {"relations": True, "values": True, "parallel": True}},
    "word by word": {"tokens": SEQUENTIAL, "training": {"near": 0}},
    "as published": {
        "tokens": {"input": "FP15", "output": "FP15", **SEQUENTIAL},
        "model": {"paper": True},
        "training": {"near": 0, "optimizer": "adamw", "average": 0},
    },
    "several sizes": {"stream": {"dim": "2-3"}, "model": {"relations": True}},
}
SIZE = 32


def made(folder: Path, case: str, **training: Any) -> Run:
    changed = CASES[case]
    document = {
        "stream": {"operation": "eigenvalues", "dim": 3} | changed.get("stream", {}),
        "tokens": changed.get("tokens", {}),
        "model": {"width": 32, "heads": 2} | changed.get("model", {}),
        "training": {
            "samples": 640,
            "batch_size": SIZE,
            "warmup": 64,
            "log_every": SIZE,
            "validate_every": 320,
            "checkpoint_every": 320,
        }
        | changed.get("training", {})
        | training,
        "evaluation": {"validation_samples": 64},
    }
    folder.mkdir(exist_ok=True)
    return Run("x", folder, read_recipe(document, {}))


def batches(run: Run, on: torch.device, count: int) -> Iterator[Batch]:
    """The first batches of a run, on a device."""
    recipe = run.recipe
    spec = recipe.stream.spec()
    for start in range(0, count * SIZE, SIZE):
        samples = from_batch(generate(spec, recipe.stream.seed, "train", start, SIZE))
        ids = encode(samples, spec.operation, recipe.input_tokens(), recipe.target_tokens())
        yield from on_device(iter([Batch(*map(torch.from_numpy, ids))]), on)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_step_never_waits_for_the_gpu(tmp_path, case, precision):
    run = made(tmp_path, case, precision=precision)
    state = State(run)
    ready = list(batches(run, device(), 20))
    for batch in ready[:15]:
        state.step(batch)  # memory is allocated, and graphs are recorded
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in ready[15:]:
            state.step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    state.settle()


@pytest.mark.parametrize("case", CASES)
def test_a_gpu_learns_as_the_processor_does(tmp_path, monkeypatch, case):
    losses = {}
    for place in ("cuda", "cpu"):
        monkeypatch.setattr(training_state, "device", lambda place=place: torch.device(place))
        run = made(tmp_path / place, case, precision="fp32")
        state = State(run)
        losses[place] = []
        for batch in batches(run, torch.device(place), 10):
            state.step(batch)
            state.settle()
            losses[place].append(state.position.loss_sum)
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_steps_run_as_graphs_learn_as_others_do(tmp_path, monkeypatch, case):
    losses = []
    for graphs in (training_state.Graphs, lambda step: step):
        monkeypatch.setattr(training_state, "Graphs", graphs)
        run = made(tmp_path, case, precision="fp32")
        state = State(run)
        figures = []
        for batch in [
            *batches(run, device(), 10),
            Batch(*(ids[:5] for ids in next(batches(run, device(), 1)))),
        ]:
            state.step(batch)
            state.settle()
            figures.append(state.position.loss_sum)
        losses.append(figures)
        state.save()  # nothing of a graph stands in the way
        shutil.rmtree(run.folder / "checkpoints")
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_goes_on_on_the_other_device(tmp_path, monkeypatch, case):
    run = made(tmp_path, case, precision="fp32")
    for place in ("cpu", "cuda", "cpu"):
        monkeypatch.setattr(training_state, "device", lambda place=place: torch.device(place))
        state = State(run)
        for batch in batches(run, torch.device(place), 5):
            state.step(batch)
        state.save()
    assert state.position.samples == 15 * SIZE


@pytest.mark.parametrize("case", CASES)
def test_a_run_on_a_gpu_is_trained_scored_and_resumed(tmp_path, client, case):
    """Both halves see the same samples as a whole run; the sums may be rounded differently."""

    def losses(run: Run) -> dict[int, float]:
        lines = map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())
        return {line["samples"]: line["loss"] for line in lines if "loss" in line}

    whole = made(tmp_path / "whole", case, precision="bf16")
    assert train(whole, client).stopped_by is None
    parts = made(tmp_path / "parts", case, precision="bf16", time_limit=0.01)
    assert train(parts, client).stopped_by is not None
    again = made(tmp_path / "parts", case, precision="bf16")
    assert train(again, client).stopped_by is None
    assert losses(parts) == pytest.approx(losses(whole), rel=0.05)
