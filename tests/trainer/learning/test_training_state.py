import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from matstream.shared.errors import UserError
from matstream.trainer.learning.loader import Batch
from matstream.trainer.learning.training_state import State, TrainingError
from matstream.trainer.recipes.reading import read_recipe
from matstream.trainer.runs import checkpoints
from matstream.trainer.runs.run import Run
from tests.trainer.checksums import sign


@pytest.fixture
def run(tmp_path) -> Run:
    document = {
        "stream": {"operation": "transpose", "dim": 2},
        "model": {"width": 16, "heads": 2},
        "training": {"samples": 9},
    }
    return Run("x", tmp_path, read_recipe(document, {}))


def state_file(run: Run) -> Path:
    newest = checkpoints.latest(run.folder / "checkpoints")
    assert newest is not None
    return newest / "training.pt"


def test_a_loss_diverges_when_it_is_far_above_that_of_guessing_however_low_it_began(run, monkeypatch):
    losses = iter([0.001, 0.02, 100.0])
    monkeypatch.setattr(
        "matstream.trainer.learning.training_state.backward", lambda *_: torch.tensor(next(losses))
    )
    state, batch = State(run), Batch(*torch.zeros(3, 1, dtype=torch.int64))
    for _ in range(2):
        state.step(batch)
        state.settle()
    state.step(batch)
    with pytest.raises(TrainingError, match=r"at samples \[2, 3\), where guessing costs 12\.9"):
        state.settle()


def test_a_batch_that_does_not_fit_into_memory_is_said_in_a_sentence(run, monkeypatch):
    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("matstream.trainer.learning.training_state.backward", full)
    with pytest.raises(TrainingError, match=r"training\.batch_size=64 in training\.accumulate=1 parts"):
        State(run).step(Batch(*torch.zeros(3, 1, dtype=torch.int64)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("optimiser"),
        lambda state: state.update(optimiser=[]),
        lambda state: state["position"].update(odd=1),
        lambda state: state["position"].pop("best"),
        lambda state: state.pop("average"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_by_its_file(run, spoil: Callable[[dict], object]):
    State(run).save()
    path = state_file(run)
    state = torch.load(path, weights_only=True)
    spoil(state)
    torch.save(state, path)
    sign(path.parent)
    with pytest.raises(UserError, match=re.escape(str(path))):
        State(run)


def test_a_finished_run_without_its_best_weights_is_scored_again(run):
    state = State(run)
    state.position.samples = 9
    state.save_if_best(0.9)
    state.position.validated = 9
    state.save()
    assert (State(run).position.best, State(run).position.validated) == (0.9, 9)
    shutil.rmtree(checkpoints.best_weights(run.folder).parent)
    assert (State(run).position.best, State(run).position.validated) == (-1, 8)


def test_best_weights_that_a_run_has_yet_to_see_are_forgotten(run):
    state = State(run)
    state.save()
    state.position.samples = 5
    state.save_if_best(0.9)
    assert state.position.best == 0.9
    assert State(run).position.best == -1
    with pytest.raises(UserError, match="no trained model"):
        checkpoints.best_weights(run.folder)
