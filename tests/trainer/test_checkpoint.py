import os

import pytest
import torch
from torch import nn

from trainer import checkpoint
from trainer.checkpoint import CheckpointError


def _model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


STATE = {"position": {"samples": 64, "seconds": 1.5}, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}


def test_weights_and_state_come_back(tmp_path):
    saved, loaded = _model(0), _model(1)
    state = checkpoint.load(checkpoint.save(tmp_path, 64, saved, STATE), loaded)
    assert torch.equal(saved.weight, loaded.weight)
    assert state["position"] == STATE["position"]
    assert torch.equal(state["optimizer"]["state"][0]["exp_avg"], torch.ones(3))


def test_the_newest_are_kept(tmp_path):
    for samples in (64, 128, 1000):
        checkpoint.save(tmp_path, samples, _model(0), STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000128", "000000001000"]
    assert checkpoint.latest(tmp_path).name == "000000001000"


def test_a_checkpoint_that_was_being_written_does_not_exist(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 64, _model(0), STATE)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, 128, _model(0), STATE)
    assert checkpoint.latest(tmp_path).name == "000000000064"


def test_a_checkpoint_that_exists_is_never_touched_again(tmp_path):
    saved = checkpoint.save(tmp_path, 64, _model(0), STATE)
    before = {path.name: path.stat().st_mtime_ns for path in saved.iterdir()}
    assert checkpoint.save(tmp_path, 64, _model(0), STATE) == saved
    assert {path.name: path.stat().st_mtime_ns for path in saved.iterdir()} == before


def test_what_a_killed_process_left_of_a_checkpoint_is_removed(tmp_path):
    (tmp_path / ".000000000064.4711").mkdir()
    checkpoint.save(tmp_path, 128, _model(0), STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["000000000128"]


def test_a_full_disk_is_an_error_that_spares_the_checkpoints(tmp_path, monkeypatch):
    model = _model(0)
    kept = checkpoint.save(tmp_path, 64, model, STATE)
    monkeypatch.setattr(checkpoint, "_STATE", "/dev/full")  # joined to a folder it stays /dev/full
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 128, model, STATE)
    assert checkpoint.latest(tmp_path) == kept


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt"])
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"foreign"])
def test_a_damaged_file_is_refused_by_name(tmp_path, name, damage):
    saved = checkpoint.save(tmp_path, 64, _model(0), STATE)
    (saved / name).write_bytes(damage((saved / name).read_bytes()))
    with pytest.raises(CheckpointError, match=rf"{name} cannot be read.*remove the folder"):
        checkpoint.load(saved, _model(1))


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    saved = checkpoint.save(tmp_path, 64, _model(0), STATE)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        checkpoint.load(saved, nn.Linear(4, 2))


class _Payload:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("pickled",)


def test_a_state_file_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = checkpoint.save(tmp_path / "checkpoints", 64, _model(0), STATE)
    torch.save({"position": _Payload()}, saved / "training.pt")
    with pytest.raises(CheckpointError):
        checkpoint.load(saved, _model(1))
    assert not (tmp_path / "pickled").exists()
