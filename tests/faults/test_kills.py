"""`kill -9` of the trainer, of its generator, of both: the run that is resumed comes to the same, to the last
bit, as one that nothing disturbed. A generator that is only stopped (SIGSTOP) is killed and started again."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from matstream.generator_service.stream import generate
from matstream.shared.errors import UserError
from matstream.shared.spec import StreamSpec
from matstream.trainer.client import embedded, stream
from tests.faults.runs import (
    LAST_CHECKPOINT,
    RUN,
    difference,
    finished,
    go,
    reached,
    said,
    start,
    wait_until,
)

SPEC = StreamSpec(operation="transpose", dim=2)

# what is to be seen in a run's folder at the moment of a kill
MOMENTS: dict[str, Callable[[Path], object]] = {
    "as it begins": lambda run: (run / "recipe.toml").exists(),
    "while a checkpoint is written": lambda run: any(run.glob("checkpoints/.0*")),
    "while the best weights are written": lambda run: any(run.glob("checkpoints/.best*")),
    "between its last step and its score": lambda run: (run / LAST_CHECKPOINT).exists(),
    "while evaluation.zarr is written": lambda run: any(run.glob(".evaluation.zarr*")),
    "while the model is exported": lambda run: any(run.glob(".model*")),
    "while the report is drawn": lambda run: (run / "result.json").exists(),
}


def killed(folder: Path, condition: Callable[[], object], *options: str, pause: float = 0.0) -> bool:
    """Let the run go on, and kill its trainer `pause` seconds after a condition holds; whether that lived."""
    process = go(folder, *options)
    wait_until(condition, process)
    time.sleep(pause)
    process.kill()
    return process.wait() == -9


def kill_at_random(folder: Path, seed: int, kills: int, *options: str) -> int:
    """A chain of kills, each a random part of a second after a random line; how many met a living trainer."""
    moments = random.Random(seed)
    met = 0
    for _ in range(kills):
        last = lines(folder) + moments.randrange(8)
        pause = moments.uniform(0, 0.3)
        met += killed(folder, lambda until=last: lines(folder) >= until, *options, pause=pause)
    return met


def lines(folder: Path) -> int:
    """How many lines the run in a folder has in metrics.jsonl."""
    metrics = folder / RUN / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def kill_at(folder: Path, moment: str, *options: str) -> bool:
    return killed(folder, lambda: MOMENTS[moment](folder / RUN), *options)


def test_a_trainer_killed_again_and_again_comes_to_the_same(tmp_path, server, undisturbed, note):
    served = ("--generator", server)
    times = kill_at(tmp_path, "while a checkpoint is written", *served)
    times += kill_at_random(tmp_path, 1, 2, *served)
    times += kill_at(tmp_path, "between its last step and its score", *served)
    seconds = finished(tmp_path, *served)
    assert times >= 2
    assert difference(tmp_path, undisturbed) == []
    note("kill -9 of the trainer", times=times, outcome="identical", seconds=seconds)


def test_a_run_whose_generator_is_killed_goes_on_by_itself(tmp_path, undisturbed, note):
    metrics = tmp_path / RUN / "metrics.jsonl"
    process = start(tmp_path)
    times, seconds = 0, 0.0
    for lines in (5, 25):
        wait_until(
            lambda seen=lines: metrics.exists() and len(metrics.read_text().splitlines()) > seen, process
        )
        assert process.is_alive(), said(tmp_path)
        for generator in psutil.Process(process.pid).children(recursive=True):
            generator.kill()
            times += 1
        begun, size = time.monotonic(), metrics.stat().st_size
        wait_until(lambda before=size: metrics.stat().st_size > before + 2_000, process)
        seconds = max(seconds, time.monotonic() - begun)
    assert process.wait() == 0, said(tmp_path)
    assert times == 2
    assert difference(tmp_path, undisturbed) == []
    note("kill -9 of the embedded generator", times=times, outcome="identical", seconds=seconds)


def stop_the_embedded_generator() -> None:
    [generator] = (child for child in psutil.Process().children() if "--embedded" in child.cmdline())
    generator.send_signal(signal.SIGSTOP)


def test_an_embedded_generator_that_hangs_is_started_again(monkeypatch, rows, note):
    monkeypatch.setattr(embedded, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(embedded, "MAX_SILENCE", 0.5)
    with embedded.embedded_generator() as url:
        stop_the_embedded_generator()
        begun = time.monotonic()
        assert rows(stream(url, SPEC, 0, "train", 0, 5)) == rows([generate(SPEC, 0, "train", 0, 5)])
        seconds = time.monotonic() - begun
    assert seconds < 20
    note("SIGSTOP of the embedded generator", times=1, outcome="identical", seconds=seconds)


def test_an_embedded_generator_that_hangs_does_not_keep_a_run_from_its_end(monkeypatch):
    monkeypatch.setattr(embedded, "END_SECONDS", 0.2)
    with embedded.embedded_generator():
        stop_the_embedded_generator()
        begun = time.monotonic()
    assert time.monotonic() - begun < 2


def test_an_embedded_generator_that_is_silent_when_it_starts_is_one_sentence(monkeypatch):
    monkeypatch.setattr(embedded, "START_SECONDS", 0.1)
    monkeypatch.setattr(embedded, "END_SECONDS", 0.1)
    with pytest.raises(UserError, match=r"did not start within 0\.1 seconds"), embedded.embedded_generator():
        pass
    assert not any("--embedded" in child.cmdline() for child in psutil.Process().children())


@pytest.mark.long
def test_a_run_whose_trainer_and_generator_are_killed_together_comes_to_the_same(tmp_path, undisturbed, note):
    process = start(tmp_path)
    wait_until(lambda: reached(tmp_path, 320), process)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) == 2
    for member in family:
        member.kill()
    assert process.wait() == -9
    seconds = finished(tmp_path)
    assert difference(tmp_path, undisturbed) == []
    note("kill -9 of trainer and generator", times=1, outcome="identical", seconds=seconds)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_long_chains_of_kills_come_to_the_same(tmp_path, server, undisturbed, note, seed):
    times = kill_at_random(tmp_path, seed, 12, "--generator", server)
    seconds = finished(tmp_path, "--generator", server)
    assert times > 0
    assert difference(tmp_path, undisturbed) == []
    note("kill -9 of the trainer, at random", times=times, outcome="identical", seconds=seconds)


@pytest.mark.long
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_trainer_killed_at_any_moment_comes_to_the_same(tmp_path, server, undisturbed, note, moment):
    times = sum(kill_at(tmp_path, moment, "--generator", server) for _ in range(4))
    seconds = finished(tmp_path, "--generator", server)
    assert times > 0
    assert difference(tmp_path, undisturbed) == []
    note(f"kill -9 of the trainer {moment}", times=times, outcome="identical", seconds=seconds)
