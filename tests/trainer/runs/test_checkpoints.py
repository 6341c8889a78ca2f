import os
import re
import shutil
import subprocess

import pytest
import torch
from torch import nn

from matstream.shared.errors import UserError
from matstream.trainer.runs import checkpoints, weights
from matstream.trainer.runs.weights import CheckpointError
from tests.trainer.checksums import sign


class _Model(nn.Linear):
    unit: float | None = None


def _model(seed: int, unit: float | None = None) -> _Model:
    torch.manual_seed(seed)
    model = _Model(3, 2)
    model.unit = unit
    return model


STATE = {"position": {"samples": 64, "seconds": 1.5}, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}


def test_weights_and_state_come_back(tmp_path):
    saved, loaded = _model(0), _model(1)
    state = checkpoints.load(checkpoints.save(tmp_path, 64, saved, STATE, keep=2), loaded)
    assert torch.equal(saved.weight, loaded.weight)
    assert state["position"] == STATE["position"]
    assert torch.equal(state["optimizer"]["state"][0]["exp_avg"], torch.ones(3))


def test_the_unit_of_values_belongs_to_the_weights(tmp_path):
    for samples, saved, expected in ((1, _model(0, 0.1), 0.1), (2, _model(0), 10.0)):
        loaded = _model(1, 10.0)
        weights.load(checkpoints.save_best(tmp_path, samples, saved) / "model.safetensors", loaded, "")
        assert loaded.unit == expected


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept_and_the_best(tmp_path, keep):
    for samples in (64, 128, 1000, 1064):
        checkpoints.save(tmp_path, samples, _model(0), STATE, keep)
        if samples in (64, 128):
            checkpoints.save_best(tmp_path, samples, _model(samples))
    newest = ["000000000128", "000000001000", "000000001064"][-keep:]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*newest, "best-000000000128"]
    assert checkpoints.latest(tmp_path).name == "000000001064"


def test_the_best_weights_are_found_in_a_run_and_in_an_exported_model(tmp_path):
    saved = checkpoints.save_best(tmp_path / "run/checkpoints", 64, _model(3))
    shutil.copytree(saved, tmp_path / "model")
    for folder in ("run", "model"):
        model = _model(0)
        weights.load(checkpoints.best_weights(tmp_path / folder), model, "")
        assert torch.equal(model.weight, _model(3).weight)
    with pytest.raises(UserError, match="holds no trained model yet"):
        checkpoints.best_weights(tmp_path)
    with pytest.raises(UserError, match=r"there is no folder .*/none$"):
        checkpoints.best_weights(tmp_path / "none")


def test_best_weights_of_samples_yet_to_be_seen_are_forgotten(tmp_path):
    checkpoints.save_best(tmp_path, 128, _model(0))
    assert checkpoints.forget_after(tmp_path, 128)
    assert [path.name for path in tmp_path.iterdir()] == ["best-000000000128"]
    assert not checkpoints.forget_after(tmp_path, 127)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [[], ["SHA256SUMS"], ["SHA256SUMS", "model.safetensors"]])
def test_a_kill_while_the_best_weights_before_are_removed_leaves_those_that_count(tmp_path, left):
    saved = checkpoints.save_best(tmp_path, 320, _model(0))
    (tmp_path / "best-000000000160").mkdir()
    for name in left:
        (tmp_path / "best-000000000160" / name).write_bytes(b"cut")
    assert checkpoints.forget_after(tmp_path, 320)
    assert list(tmp_path.iterdir()) == [saved]


def test_a_checkpoint_that_was_being_written_does_not_exist(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, 64, _model(0), STATE, keep=2)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, 128, _model(0), STATE, keep=2)
    assert checkpoints.latest(tmp_path).name == "000000000064"


def test_a_checkpoint_that_exists_is_never_touched_again(tmp_path):
    saved = checkpoints.save(tmp_path, 64, _model(0), STATE, keep=2)
    before = {path.name: path.stat().st_mtime_ns for path in saved.iterdir()}
    assert checkpoints.save(tmp_path, 64, _model(0), STATE, keep=2) == saved
    assert {path.name: path.stat().st_mtime_ns for path in saved.iterdir()} == before


def test_what_a_killed_process_left_of_a_checkpoint_is_removed(tmp_path):
    for name in ("000000000064", "best-000000000064"):
        (tmp_path / f".{name}.matstream-4711").mkdir()
    checkpoints.save(tmp_path, 128, _model(0), STATE, keep=2)
    checkpoints.save_best(tmp_path, 128, _model(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000128", "best-000000000128"]


def test_what_others_put_into_checkpoints_outlives_them(tmp_path):
    for samples in (64, 128, 192):
        for saved in (
            checkpoints.save(tmp_path, samples, _model(0), STATE, keep=1),
            checkpoints.save_best(tmp_path, samples, _model(0)),
        ):
            (saved / "notes").write_text(f"{samples}")
    assert len(list(tmp_path.glob("*/notes"))) == 6
    assert len(list(tmp_path.glob("*/model.safetensors"))) == 2
    assert checkpoints.latest(tmp_path).name == "000000000192"
    assert checkpoints.save(tmp_path, 64, _model(0), STATE, keep=2).joinpath("notes").read_text() == "64"
    checkpoints.load(tmp_path / "000000000064", _model(1))


def test_what_others_put_beside_checkpoints_is_neither_taken_for_one_nor_removed(tmp_path):
    (tmp_path / ".DS_Store").write_text("")
    for name in ("9 old", "best-old", ".hidden", "9000000000000"):
        (tmp_path / name).mkdir()
    others = set(tmp_path.iterdir())
    saved = {
        checkpoints.save(tmp_path, 64, _model(0), STATE, keep=1),
        checkpoints.save_best(tmp_path, 64, _model(0)),
    }
    assert set(tmp_path.iterdir()) == others | saved
    assert checkpoints.latest(tmp_path).name == "000000000064"


def test_a_full_disk_is_an_error_that_spares_the_checkpoints(tmp_path, monkeypatch):
    model = _model(0)
    kept = checkpoints.save(tmp_path, 64, model, STATE, keep=2)
    monkeypatch.setattr(checkpoints, "STATE", "/dev/full")  # joined to a folder it stays /dev/full
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(tmp_path, 128, model, STATE, keep=2)
    assert checkpoints.latest(tmp_path) == kept


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"foreign"])
def test_a_damaged_file_is_refused_by_name(tmp_path, name, damage, signed):
    saved = checkpoints.save(tmp_path, 64, _model(0), STATE, keep=2)
    (saved / name).write_bytes(damage((saved / name).read_bytes()))
    if signed:
        sign(saved)
    with pytest.raises(CheckpointError, match=rf"{name} cannot be read.*remove the folder"):
        checkpoints.load(saved, _model(1))


def test_no_bit_of_a_checkpoint_can_change_unseen(tmp_path):
    saved = checkpoints.save(tmp_path, 64, _model(0), STATE, keep=2)
    for path in saved.iterdir():
        content = path.read_bytes()
        for place in range(0, len(content), 1 + len(content) // 50):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(CheckpointError, match="is damaged"):
                checkpoints.load(saved, _model(1))
        path.write_bytes(content)
    checkpoints.load(saved, _model(1))


def test_the_checkpoint_before_a_damaged_one_is_offered(tmp_path):
    folder = tmp_path / "checkpoints"
    before, damaged = (checkpoints.save(folder, n, _model(n), STATE, keep=2) for n in (64, 128))
    (damaged / "training.pt").write_bytes(b"")
    goes_on = "train --resume goes on from the checkpoint before it, at 64 samples"
    with pytest.raises(CheckpointError, match=re.escape(f"remove the folder {damaged}, and {goes_on}")):
        checkpoints.load(damaged, _model(1))
    shutil.rmtree(damaged)
    assert checkpoints.latest(folder) == before
    (before / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="--resume goes on from the first sample"):
        checkpoints.load(before, _model(1))


def test_damaged_best_weights_are_found_before_training_goes_on(tmp_path):
    best = checkpoints.save_best(tmp_path, 64, _model(0)) / "model.safetensors"
    best.write_bytes(best.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read.*keeps the best weights"):
        checkpoints.forget_after(tmp_path, 64)


def test_a_file_that_is_missing_is_named(tmp_path):
    saved = checkpoints.save(tmp_path, 64, _model(0), STATE, keep=2)
    for name in ("training.pt", "model.safetensors", "SHA256SUMS"):
        (saved / name).unlink()
        with pytest.raises(CheckpointError, match=rf"{name}.*: remove the folder"):
            checkpoints.load(saved, _model(1))
    (checkpoints.save_best(tmp_path / "checkpoints", 64, _model(0)) / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing: remove the folder"):
        checkpoints.best_weights(tmp_path)


def test_checksums_are_as_sha256sum_reads_them(tmp_path):
    saved = checkpoints.save(tmp_path, 64, _model(0), STATE, keep=2)
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    said = subprocess.run(command, cwd=saved, capture_output=True, text=True, check=True)
    assert said.stdout == "model.safetensors: OK\ntraining.pt: OK\n"


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    saved = checkpoints.save(tmp_path, 64, _model(0), STATE, keep=2)
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors holds the weights of another model: remove"
    ):
        checkpoints.load(saved, nn.Linear(4, 2))


@pytest.mark.parametrize("state", [{"a": 1}, ["a"], 5, {"version": 0, **STATE}])
def test_a_state_of_another_training_is_refused(tmp_path, state):
    saved = checkpoints.save(tmp_path, 64, _model(0), STATE, keep=2)
    torch.save(state, saved / "training.pt")
    sign(saved)
    with pytest.raises(CheckpointError, match=r"training\.pt holds the state of another.*remove the folder"):
        checkpoints.load(saved, _model(1))


def test_a_state_that_does_not_fit_is_refused(tmp_path):
    saved = checkpoints.save(tmp_path, 64, _model(0), STATE, keep=2)
    with pytest.raises(CheckpointError, match="remove the folder"), checkpoints.fitting(saved):
        checkpoints.load(saved, _model(1))["optimiser"]


class _Payload:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("pickled",)


def test_a_state_file_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = checkpoints.save(tmp_path / "checkpoints", 64, _model(0), STATE, keep=2)
    torch.save({"position": _Payload()}, saved / "training.pt")
    sign(saved)
    with pytest.raises(CheckpointError):
        checkpoints.load(saved, _model(1))
    assert not (tmp_path / "pickled").exists()
