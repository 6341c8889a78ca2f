"""Training as a user runs it: real processes, signals, and what they leave behind."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import zarr
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shared.operations import OPERATIONS
from trainer import checkpoint

FORMS = list(itertools.product(["factored", "sequential"], repeat=2))
TINY = {
    "model.width": 16,
    "model.heads": 2,
    "training.samples": 6400,
    "training.batch_size": 32,
    "training.warmup": 640,
    "training.log_every": 32,
    "training.validate_every": 1600,
    "training.checkpoint_every": 640,
    "evaluation.validation_samples": 20,
    "evaluation.test_samples": 50,
}


def train(folder: Path, *options: str, **changed: object) -> subprocess.Popen[str]:
    """`matstream train quickstart`, made tiny, in a folder; `section__key=value` changes the recipe."""
    settings = TINY | {key.replace("__", "."): value for key, value in changed.items()}
    flags = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    return matstream(folder, "train", "quickstart", *flags, *options)


def matstream(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "matstream", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def losses(folder: Path, name: str = "loss") -> dict[int, float]:
    """The loss of every line of metrics.jsonl that has one, by samples; a line that stands twice fails."""
    found: dict[int, float] = {}
    for line in (folder / "runs/quickstart/metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if name in record:
            assert record["samples"] not in found
            found[record["samples"]] = record[name]
    return found


def tensorboard_steps(folder: Path) -> list[int]:
    """The steps at which TensorBoard shows a loss."""
    events = EventAccumulator(str(folder / "runs/quickstart/tensorboard"), size_guidance={"scalars": 0})
    return [event.step for event in events.Reload().Scalars("loss")]


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """A folder with a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, _, err = finish(train(folder))
    assert status == 0, err
    return folder


def test_a_run_leaves_what_it_promises(undisturbed):
    run = undisturbed / "runs/quickstart"
    result = json.loads((run / "result.json").read_text())
    assert set(result["accuracy"]) == {"0.05", "0.02", "0.01", "0.005"} == set(result["accuracy_strict"])
    assert result["samples_seen"] == 6400
    assert result["test_samples"] == 50
    assert zarr.open_group(run / "evaluation.zarr", mode="r")["predictions"].shape == (50, 3, 3)
    assert result["train_seconds"] > 0
    assert result["invalid"] >= 0
    assert (run / "report.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "tensorboard").iterdir())
    assert (run / "evaluation.zarr").is_dir()
    assert 'precision = "fp32"' in (run / "recipe.toml").read_text()
    assert checkpoint.latest(run / "checkpoints").name == "000000006400"


def test_away_from_a_terminal_progress_is_json_lines(undisturbed, tmp_path):
    _, _, err = finish(train(tmp_path, training__samples=640))
    records = [json.loads(line) for line in err.splitlines()]
    assert {"samples", "loss", "samples_per_second", "data_wait"} <= set(records[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_resumes_to_exactly_the_losses_of_an_undisturbed_one(
    undisturbed, tmp_path, number
):
    checkpoints = tmp_path / "runs/quickstart/checkpoints"
    for again in (False, True):
        process = train(tmp_path, "--resume", fetch__request_samples=700) if again else train(tmp_path)
        seen = checkpoint.latest(checkpoints)
        wait_for(lambda seen=seen: checkpoint.latest(checkpoints) not in (None, seen), process)
        offspring = children(process)
        assert offspring
        process.send_signal(number)
        status, _, err = finish(process)
        assert status != 0
        if number != signal.SIGKILL:
            assert "go on with --resume" in err.splitlines()[-1]
            assert "Traceback" not in err
        _, alive = psutil.wait_procs(offspring, timeout=10)
        assert alive == []

    status, _, err = finish(train(tmp_path, "--resume", fetch__connections=3))
    assert status == 0, err
    assert losses(tmp_path) == losses(undisturbed)
    assert losses(tmp_path, "validation_loss") == losses(undisturbed, "validation_loss")
    assert tensorboard_steps(tmp_path) == sorted(losses(undisturbed))


def test_a_validation_that_was_interrupted_is_made_up_for(tmp_path):
    folders = tmp_path / "undisturbed", tmp_path / "interrupted"
    long = {"training__samples": 1600, "evaluation__validation_samples": 10_000}
    for folder in folders:
        folder.mkdir()
        process = train(folder, **long)
        if folder.name == "interrupted":
            metrics = folder / "runs/quickstart/metrics.jsonl"
            wait_for(lambda: metrics.exists() and 1600 in losses(folder), process)  # noqa: B023
            process.terminate()
            status, _, err = finish(process)
            assert "stopped by SIGTERM after 1,600 samples" in err
            assert losses(folder, "validation_loss") == {}
            process = train(folder, "--resume", **long)
        status, _, err = finish(process)
        assert status == 0, err
    first, second = (losses(folder, "validation_loss") for folder in folders)
    assert first.keys() == {1600}
    assert second == first


def test_a_finished_run_that_is_resumed_is_only_scored_again(undisturbed):
    before = losses(undisturbed)
    status, out, err = finish(train(undisturbed, "--resume"))
    assert status == 0, err
    assert "accuracy" in out
    assert losses(undisturbed) == before


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    long = {"training__samples": 10**6}
    first = train(tmp_path, **long)
    wait_for((tmp_path / "runs/quickstart/metrics.jsonl").exists, first)
    for option in ("--resume", "--overwrite"):
        status, _, err = finish(train(tmp_path, option, **long))
        assert status != 0
        assert "another process is training in runs/quickstart" in err
    first.kill()
    finish(first)


@pytest.mark.parametrize(
    ("operation", "read", "write"),
    [(name, *forms) for name, forms in zip(OPERATIONS, itertools.cycle(FORMS), strict=False)],
)
def test_every_operation_is_trained_and_in_every_form(tmp_path, operation, read, write):
    changed = {"stream__operation": operation, "stream__dim": 2, "training__samples": 320}
    changed |= {"tokens__input_form": read, "tokens__output_form": write, "training__precision": "bf16"}
    status, out, err = finish(train(tmp_path, **changed))
    assert status == 0, err
    assert f"{operation} of dimension 2" in out


def test_a_time_limit_stops_every_go_with_a_checkpoint(tmp_path):
    checkpoints = tmp_path / "runs/quickstart/checkpoints"
    reached = []
    for options in ((), ("--resume",)):
        status, _, err = finish(train(tmp_path, *options, training__time_limit=0.2, training__samples=10**6))
        assert status != 0
        assert "time limit" in err.splitlines()[-1]
        reached.append(int(checkpoint.latest(checkpoints).name))
    assert 0 < reached[0] < reached[1]
    status, _, err = finish(train(tmp_path, "--resume", training__time_limit=0.1, training__samples=10**6))
    assert "time limit of 0.1 s" in err.splitlines()[-1]


def test_an_existing_run_is_refused_and_kept(undisturbed):
    before = losses(undisturbed)
    status, _, err = finish(train(undisturbed))
    assert status != 0
    assert "--resume" in err
    assert "--overwrite" in err
    assert len(err.splitlines()) == 1
    assert losses(undisturbed) == before


def test_a_run_is_not_resumed_under_another_recipe(undisturbed):
    status, _, err = finish(train(undisturbed, "--resume", model__width=32))
    assert status != 0
    assert "model.width=32: the run to resume was begun with 16" in err


def test_an_overwritten_run_is_not_lost_to_a_generator_that_refuses(undisturbed):
    before = losses(undisturbed)
    status, _, err = finish(train(undisturbed, "--overwrite", stream__dim=200))
    assert status != 0
    assert "dim=200: must be at most 128" in err
    assert losses(undisturbed) == before


def test_a_run_that_loses_its_generator_keeps_a_checkpoint_of_its_last_step(tmp_path, start_server):
    server = start_server()
    process = train(tmp_path, "--generator", server.url, fetch__request_samples=320)
    checkpoints = tmp_path / "runs/quickstart/checkpoints"
    wait_for(lambda: checkpoint.latest(checkpoints), process)
    server.process.kill()
    time.sleep(1)
    process.terminate()
    terminated = time.monotonic()
    status, _, err = finish(process)
    assert time.monotonic() - terminated < 10
    assert status != 0
    assert "Traceback" not in err
    assert "asking again" in err
    assert "go on with --resume" in err.splitlines()[-1]
    assert int(checkpoint.latest(checkpoints).name) % 320 == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_trainer_ends_soon_with_a_checkpoint_though_its_generator_hangs(tmp_path, start_server, number):
    server = start_server()
    process = train(tmp_path, "--generator", server.url, fetch__request_samples=320, training__samples=10**6)
    wait_for(lambda: checkpoint.latest(tmp_path / "runs/quickstart/checkpoints"), process)
    server.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(1)
        process.send_signal(number)
        asked = time.monotonic()
        status, _, err = finish(process)
        assert time.monotonic() - asked < 5
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert status != 0
    assert "go on with --resume" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nonsense"], "recipe 'nonsense': must be one of"),
        (["train", "quickstart", "--stream.dim", "0"], "stream.dim='0': must be a whole number"),
        (["train", "quickstart", "--training.lr", "1"], "training.lr='1': is not a known name"),
        (["train", "quickstart", "--bogus", "1"], "bogus"),
        (["train", "quickstart", "--resume"], "no run in runs/quickstart to resume"),
        (["train", "quickstart", "--run", "../x"], "must be a plain name"),
        (["train", "quickstart", "--generator", "localhost:8000"], "must be a URL like http://"),
        (["train", "quickstart", "--run", ""], "must be a plain name"),
        (["train", "quickstart", "--training.samples", "1" + "0" * 20], "training.samples="),
        (["train", "quickstart", "--evaluation.test_samples", "1" + "0" * 20], "evaluation.test_samples="),
        (["train", "missing.toml"], "missing.toml: No such file"),
        (["report", "runs/none"], "holds no run"),
        (["trian"], "trian"),
    ],
)
def test_a_mistake_is_one_sentence_and_starts_nothing(tmp_path, arguments, said):
    status, out, err = finish(matstream(tmp_path, *arguments))
    assert status != 0
    assert said in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []
