"""Training as a user runs it: real processes, signals, and what they leave behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import torch
import zarr
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import matstream
from matstream.shared.tasks import tasks_of
from matstream.trainer.learning.train import _patience, _signals
from matstream.trainer.learning.training_state import Position
from matstream.trainer.recipes.reading import recipe_names
from matstream.trainer.recipes.recipe import FetchSection
from matstream.trainer.runs import checkpoints
from matstream.trainer.runs.kept_recipe import recipe_of
from matstream.trainer.runs.run import prepare
from tests.commands import Forked, finish, forked, started

SEQUENTIAL = {"tokens__input_form": "sequential", "tokens__output_form": "sequential"}
TINY = {
    "model__width": 16,
    "model__heads": 2,
    "training__samples": 3200,
    "training__batch_size": 32,
    "training__warmup": 640,
    "training__log_every": 32,
    "training__validate_every": 1600,
    "training__checkpoint_every": 640,
    "evaluation__validation_samples": 20,
    "evaluation__test_samples": 50,
}


def train(folder: Path, *options: str, **changed: object) -> Forked:
    """`matstream train`, made tiny, in a folder; `section__key=value` changes the recipe."""
    return forked(folder, "train", "quickstart", *options, **(TINY | changed))


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


def wait_for(condition: Callable[[], object], process: Forked | subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(process: Forked | subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, server) -> Path:
    """A folder with a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, _, err = finish(train(folder, "--generator", server))
    assert status == 0, err
    return folder


def test_a_run_leaves_what_it_promises(undisturbed):
    run = undisturbed / "runs/quickstart"
    result = json.loads((run / "result.json").read_text())
    assert set(result["accuracy"]) == {"0.05", "0.02", "0.01", "0.005"} == set(result["accuracy_strict"])
    assert result["samples_seen"] == 3200
    assert result["test_samples"] == 50
    assert zarr.open_group(run / "evaluation.zarr", mode="r")["predictions"].shape == (50, 3, 3)
    assert result["train_seconds"] > 0
    assert result["invalid"] >= 0
    assert (run / "report.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "tensorboard").iterdir())
    assert (run / "evaluation.zarr").is_dir()
    assert 'precision = "fp32"' in (run / "recipe.toml").read_text()
    assert checkpoints.latest(run / "checkpoints").name == "000000003200"


def test_away_from_a_terminal_progress_is_json_lines(tmp_path, server):
    _, _, err = finish(train(tmp_path, "--generator", server, training__samples=640))
    records = [json.loads(line) for line in err.splitlines()]
    assert {"samples", "loss", "samples_per_second", "data_wait"} <= set(records[0])


def test_an_interrupted_run_resumes_to_exactly_the_losses_of_an_undisturbed_one(undisturbed, tmp_path):
    kept = tmp_path / "runs/quickstart/checkpoints"
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        resumed = checkpoints.latest(kept) is not None
        process = train(tmp_path, *["--resume"] * resumed, fetch__request_samples=700)
        seen = checkpoints.latest(kept)
        wait_for(lambda seen=seen: checkpoints.latest(kept) not in (None, seen), process)
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


def test_ctrl_c_while_the_generator_starts_is_one_line(tmp_path):
    process = started(tmp_path, "train", "quickstart")
    wait_for(lambda: children(process), process)
    process.send_signal(signal.SIGINT)
    assert finish(process) == (130, "", "matstream: interrupted\n")


def test_ctrl_c_is_not_lost_to_a_library_that_loads(tmp_path):
    interrupted = "try:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    pass\n"
    (tmp_path / "torch.py").write_text(f"import os, signal\n{interrupted}")
    assert finish(started(tmp_path, "train", "quickstart")) == (130, "", "matstream: interrupted\n")


def test_ctrl_c_in_the_final_test_keeps_what_was_trained(here, server, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("matstream.trainer.cli.validate", interrupt)
    few = TINY | {"training__samples": 320}
    status, _, err = here("train", "quickstart", "--generator", server, **few)
    assert status == 130
    assert "kept in runs/quickstart, and --resume scores it" in err.splitlines()[-1]


def test_a_validation_that_was_interrupted_is_made_up_for(tmp_path, server):
    folders = tmp_path / "undisturbed", tmp_path / "interrupted"
    long = {"training__samples": 320, "training__validate_every": 320}
    long |= {"evaluation__validation_samples": 5_000}
    for folder in folders:
        folder.mkdir()
        process = train(folder, "--generator", server, **long)
        if folder.name == "interrupted":
            metrics = folder / "runs/quickstart/metrics.jsonl"
            wait_for(lambda: metrics.exists() and 320 in losses(folder), process)  # noqa: B023
            process.terminate()
            status, _, err = finish(process)
            assert "stopped by SIGTERM after 320 samples" in err
            assert losses(folder, "validation_loss") == {}
            process = train(folder, "--resume", "--generator", server, **long)
        status, _, err = finish(process)
        assert status == 0, err
    first, second = (losses(folder, "validation_loss") for folder in folders)
    assert first.keys() == {320}
    assert second == first


def test_a_finished_run_that_is_resumed_is_only_scored_again(undisturbed, server):
    before = losses(undisturbed)
    status, out, err = finish(train(undisturbed, "--resume", "--generator", server))
    assert status == 0, err
    assert "accuracy" in out
    assert losses(undisturbed) == before


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path, server):
    long = {"training__samples": 10**6}
    first = train(tmp_path, "--generator", server, **long)
    wait_for((tmp_path / "runs/quickstart/metrics.jsonl").exists, first)
    for option in ("--resume", "--overwrite"):
        status, _, err = finish(train(tmp_path, option, **long))
        assert status != 0
        assert "another process is training in runs/quickstart" in err
    first.kill()
    finish(first)


TRAINED = [name for name in recipe_names() if name.startswith(("small/", "full/", "laws/"))]


@pytest.mark.parametrize("name", TRAINED)
def test_every_recipe_for_two_cores_runs_from_the_stream_to_the_report(here, server, tmp_path, name):
    few = {"training__samples": 384, "evaluation__validation_samples": 30, "evaluation__test_samples": 30}
    if not name.startswith("small/"):
        few |= {"training__samples": 96, "training__batch_size": 32}
    status, out, err = here("train", name, "--generator", server, **few)
    assert status == 0, err
    assert "accuracy" in out
    run = tmp_path / "runs" / name.replace("/", "-")
    stream = recipe_of(run).stream
    assert json.loads((run / "result.json").read_text())["spec"] == stream.fields()
    task = tasks_of(stream)[0]
    assert matstream.load(run).predict(np.ones(task.input_shape), task.operation).ndim == 2


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("paper/")])
def test_every_paper_recipe_runs_but_for_its_size(here, server, tmp_path, name):
    small = {"model__width": 16, "model__heads": 2, "model__decoder_width": 16, "model__decoder_heads": 2}
    small |= {"model__encoder_layers": 1, "model__decoder_layers": 1}
    few = {"training__samples": 16, "training__batch_size": 8}
    tests = {"evaluation__validation_samples": 8, "evaluation__test_samples": 8}
    status, _, err = here("train", name, "--generator", server, **small, **few, **tests)
    assert status == 0, err
    assert (tmp_path / "runs" / name.replace("/", "-") / "result.json").is_file()


def test_a_few_shots_go_on_from_a_trained_run(here, server, tmp_path):
    few = {"training__samples": 384, "evaluation__validation_samples": 30, "evaluation__test_samples": 30}
    assert here("train", "small/eigenvalues", "--generator", server, **few)[0] == 0
    trained = ("few-shot/small-eigenvalues-3", "--from", "runs/small-eigenvalues")
    status, _, err = here("train", *trained, "--generator", server, **few)
    assert status == 0, err
    result = json.loads((tmp_path / "runs/few-shot-small-eigenvalues-3/result.json").read_text())
    assert result["spec"] == {"operation": "eigenvalues", "dim": 3}


@pytest.mark.parametrize(
    ("stream", "changed"),
    [
        ({"stream__operation": "symmetric_inverse"}, {"tokens__output": "P10", "tokens__output_digits": 5}),
        ({"stream__operation": "add,svd", "stream__dim": "1-3"}, {"training__accumulate": 3}),
        ({"stream__operation": "add,svd", "stream__dim": "1-3"}, {"model__parallel": True}),
        ({"stream__operation": "matvec", "stream__dim": "1-2", "stream__cols": "2-3"}, SEQUENTIAL),
        ({"stream__operation": "eigenvectors"}, SEQUENTIAL | {"model__paper": True, "tokens__input": "FP15"}),
        ({"stream__noise": 0.1}, {"training__optimizer": "muon", "training__precision": "bf16"}),
        ({}, {"training__average": 0, "tokens__output_form": "sequential", "evaluation__constrained": True}),
    ],
)
def test_what_recipes_may_choose_can_be_trained(here, server, stream, changed):
    settings = TINY | {"stream__dim": 2, "training__samples": 320} | stream | changed
    status, out, err = here("train", "quickstart", "--generator", server, **settings)
    assert status == 0, err
    if "evaluation__constrained" in changed:  # without it, every output of this one is invalid
        assert " 0 outputs invalid" in out


def test_a_loss_that_diverges_stops_training_and_says_how_to_repeat_it(here, server, tmp_path):
    wild = TINY | {"training__learning_rate": 1e4, "training__warmup": 0, "training__checkpoint_every": 64}
    said = []
    for option in ("--overwrite", "--resume"):
        status, _, err = here("train", "quickstart", option, "--generator", server, **wild)
        assert status != 0
        said.append(err.splitlines()[-1])
    assert said[0] == said[1]
    found = re.search(r"at samples \[(\d+), (\d+)\), .*--resume, from the checkpoint at (\d+),", said[0])
    start, stop, kept = map(int, found.groups())
    assert (stop - start, start % 32) == (32, 0)
    assert kept <= start
    url = re.search(r"/v1/stream\?\S+(?=;)", said[0])[0]
    assert f"start={start}&count=32" in url
    assert httpx.get(server + url).status_code == 200
    newest = checkpoints.latest(tmp_path / "runs/quickstart/checkpoints")
    assert all(tensor.isfinite().all() for tensor in load_file(newest / "model.safetensors").values())


def test_a_run_is_not_started_from_itself(here, server, tmp_path):
    settings = TINY | {"training__samples": 320, "training__validate_every": 320}
    assert here("train", "quickstart", "--generator", server, **settings)[0] == 0
    status, _, err = here(
        "train", "quickstart", "--overwrite", "--from", "runs/../runs/quickstart", **settings
    )
    assert status != 0
    assert "must be another run" in err
    assert (tmp_path / "runs/quickstart/result.json").exists()


def test_compiling_without_a_compiler_is_refused(here, monkeypatch):
    monkeypatch.setenv("PATH", "")
    status, _, err = here("train", "quickstart", "--training.compile", "true")
    assert status != 0
    assert "training.compile=True: needs a C++ compiler" in err


def test_a_run_started_from_another_goes_on_from_its_weights_even_when_they_are_gone(here, server, tmp_path):
    settings = TINY | {"training__samples": 640, "training__validate_every": 320}
    assert here("train", "quickstart", "--generator", server, "--run", "old", **settings)[0] == 0
    larger = settings | {"stream__dim": 4, "training__time_limit": 1e-9}
    few_shot = ("train", "quickstart", "--generator", server, "--run", "new", "--from", "runs/old")
    status, _, err = here(*few_shot, **larger)
    assert "time limit" in err
    first = load_file(tmp_path / "runs/new/checkpoints/000000000000/model.safetensors")
    old = load_file(checkpoints.best_weights(tmp_path / "runs/old"))
    shutil.rmtree(tmp_path / "runs/old")
    name = "encoder.0.feed.0.weight"
    assert torch.equal(first[name], old[name])
    assert len(first["write.coordinates.1.weight"]) == len(old["write.coordinates.1.weight"]) + 1
    status, _, err = here(*few_shot, "--resume", **(larger | {"training__time_limit": 1e9}))
    assert status == 0, err


def test_a_signal_that_is_ignored_stays_so():
    """As that of Ctrl-C is by what a script runs in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with _signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.wait(0.1)
    finally:
        signal.signal(signal.SIGINT, before)


def test_generators_may_be_away_for_as_long_as_was_trained(undisturbed):
    run = prepare(
        "quickstart", name=None, runs=undisturbed / "runs", resume=False, overwrite=True, overrides={}
    )
    assert [_patience(run, Position(seconds=seconds)) for seconds in (0.0, 59.0, 7200.0)] == [60, 60, 7200]
    chosen = run.recipe.model_copy(update={"fetch": FetchSection(patience=5.0)})
    assert _patience(replace(run, recipe=chosen), Position(seconds=7200.0)) == 5


@pytest.mark.parametrize("damage", ["config.json", "SHA256SUMS"])
def test_a_damaged_export_is_made_anew_when_the_run_is_resumed(here, undisturbed, tmp_path, server, damage):
    run = tmp_path / "runs/quickstart"
    shutil.copytree(undisturbed / "runs/quickstart", run)
    (run / "model" / damage).write_text("nonsense")
    status, _, err = here("evaluate", "runs/quickstart", "--generator", server)
    assert status != 0
    assert "model/config.json cannot be read" in err
    assert "where train --resume exports it anew" in err
    status, _, err = here("train", "quickstart", "--resume", "--generator", server, **TINY)
    assert status == 0, err
    assert here("evaluate", "runs/quickstart", "--generator", server)[0] == 0


def test_a_config_json_of_somebodys_in_a_run_is_not_taken_for_ours(here, undisturbed, tmp_path, server):
    run = tmp_path / "runs/quickstart"
    shutil.copytree(undisturbed / "runs/quickstart", run)
    (run / "config.json").write_text("mine")
    assert here("evaluate", "runs/quickstart", "--generator", server)[0] == 0
    assert here("train", "quickstart", "--resume", "--generator", server, **TINY)[0] == 0
    assert (run / "config.json").read_text() == "mine"


def test_a_time_limit_stops_every_go_with_a_checkpoint(tmp_path, server):
    kept = tmp_path / "runs/quickstart/checkpoints"
    reached = []
    limited = {"training__time_limit": 0.2, "training__samples": 10**6}
    for options in ((), ("--resume",)):
        status, _, err = finish(train(tmp_path, *options, "--generator", server, **limited))
        assert status != 0
        assert "time limit" in err.splitlines()[-1]
        reached.append(int(checkpoints.latest(kept).name))
    assert 0 < reached[0] < reached[1]
    status, _, err = finish(
        train(tmp_path, "--resume", "--generator", server, **(limited | {"training__time_limit": 0.1}))
    )
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


def test_an_overwritten_run_is_not_lost_to_a_generator_that_refuses(undisturbed, server):
    before = losses(undisturbed)
    status, _, err = finish(train(undisturbed, "--overwrite", "--generator", server, stream__dim=200))
    assert status != 0
    assert "dim=200: must be at most 128" in err
    assert losses(undisturbed) == before


def test_a_run_that_loses_its_generator_keeps_a_checkpoint_of_its_last_step(tmp_path, start_server):
    server = start_server()
    process = train(tmp_path, "--generator", server.url, fetch__request_samples=320, training__samples=10**6)
    newest = partial(checkpoints.latest, tmp_path / "runs/quickstart/checkpoints")
    wait_for(lambda: newest() and int(newest().name), process)
    server.process.kill()
    wait_for(lambda: "asked again" in process.err.read_text(), process)
    trained = -1
    while trained < (trained := max(losses(tmp_path))):  # until it has used all samples that it has
        time.sleep(1)
    process.terminate()
    terminated = time.monotonic()
    status, _, err = finish(process)
    assert time.monotonic() - terminated < 10
    assert status != 0
    assert "Traceback" not in err
    assert "go on with --resume" in err.splitlines()[-1]
    assert int(newest().name) == max(losses(tmp_path)) == trained
    assert trained % 320 == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_trainer_ends_soon_with_a_checkpoint_though_its_generator_hangs(tmp_path, start_server, number):
    server = start_server()
    process = train(tmp_path, "--generator", server.url, fetch__request_samples=320, training__samples=10**6)
    wait_for(lambda: checkpoints.latest(tmp_path / "runs/quickstart/checkpoints"), process)
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
        (["report", "runs/none"], "there is no folder runs/none"),
        (["train", "quickstart", "--from", "runs/none"], "there is no folder runs/none"),
        (["trian"], "trian"),
    ],
)
def test_a_mistake_is_one_sentence_and_starts_nothing(here, tmp_path, arguments, said):
    status, out, err = here(*arguments)
    assert status != 0
    assert said in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []
