"""What becomes of a run's files when processes die, bits flip, disks fill, or two want the same folder."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from matstream.trainer.runs import checkpoints
from matstream.trainer.runs.metrics import read_metrics
from tests.commands import Forked, finish, forked

TINY = {
    "model__width": 16,
    "model__heads": 2,
    "training__samples": 640,
    "training__batch_size": 32,
    "training__warmup": 64,
    "training__validate_every": 320,
    "training__checkpoint_every": 128,
    "training__log_every": 32,
    "evaluation__validation_samples": 20,
    "evaluation__test_samples": 50,
}
RUN = Path("runs/quickstart")


def train(folder: Path, *options: str) -> Forked:
    return forked(folder, "train", "quickstart", *options, **TINY)


def losses(folder: Path) -> list[tuple[object, ...]]:
    names = ("samples", "loss", "validation_loss", "accuracy")
    return [tuple(record.get(name) for name in names) for record in read_metrics(folder / RUN)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, server) -> Path:
    """A folder with a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    status, _, err = finish(train(folder, "--generator", server))
    assert status == 0, err
    return folder


def test_a_run_that_waited_for_its_generator_spares_what_finished_meanwhile(
    tmp_path, start_server, server, note
):
    slow = start_server()
    slow.process.send_signal(signal.SIGSTOP)
    try:
        late = train(tmp_path, "--generator", slow.url)
        deadline = time.monotonic() + 60
        while not any(connection.raddr for connection in psutil.Process(late.pid).net_connections()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        status, _, err = finish(train(tmp_path, "--generator", server))
        assert status == 0, err
        before = losses(tmp_path)
    finally:
        slow.process.send_signal(signal.SIGCONT)
    began = time.monotonic()
    status, _, err = finish(late)
    seconds = time.monotonic() - began
    assert status == 1
    assert "another process has begun or gone on with the run runs/quickstart" in err.splitlines()[-1]
    assert losses(tmp_path) == before
    assert (tmp_path / RUN / "result.json").exists()
    note("two starts of one run, one late", times=1, outcome="refused", seconds=seconds)


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt"])
def test_a_flipped_bit_is_refused_and_the_checkpoint_before_it_goes_on_exactly(
    finished, tmp_path, server, note, name
):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    newest = checkpoints.latest(tmp_path / RUN / "checkpoints")
    content = bytearray((newest / name).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / name).write_bytes(content)
    status, _, err = finish(train(tmp_path, "--resume", "--generator", server))
    assert status == 1
    assert f"{name} cannot be read (it is damaged" in err.splitlines()[-1]
    assert "goes on from the checkpoint before it, at 512 samples" in err.splitlines()[-1]
    shutil.rmtree(newest)
    began = time.monotonic()
    status, _, err = finish(train(tmp_path, "--resume", "--generator", server))
    seconds = time.monotonic() - began
    assert status == 0, err
    assert losses(tmp_path) == losses(finished)
    for file in ("model/model.safetensors", "checkpoints/000000000640/model.safetensors"):
        assert (tmp_path / RUN / file).read_bytes() == (finished / RUN / file).read_bytes()
    note(f"a bit of {name} flips", times=1, outcome="refused, then identical", seconds=seconds)


def test_a_file_that_grows_too_large_is_named(tmp_path, server, note):
    command = f"ulimit -f 10; exec {sys.executable} -m matstream train quickstart --generator {server}"
    began = time.monotonic()
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    assert done.returncode == 1
    assert done.stderr == "matstream: runs/quickstart/checkpoints/000000000000: File too large\n"
    note("a file too large for its disk", times=1, outcome="refused", seconds=seconds)


@pytest.mark.long
def test_kills_while_results_are_written_leave_nothing_half_written(finished, tmp_path, server, note):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    run = tmp_path / RUN
    theirs = [run / name for name in ("notes.txt", "model/notes.txt", "evaluation.zarr/notes.txt")]
    for path in theirs:
        path.write_text("theirs")
    for delay in range(8):
        process = train(tmp_path, "--resume", "--generator", server)
        while process.is_alive() and not any(run.glob(".evaluation.zarr.matstream-*")):
            time.sleep(0.001)
        time.sleep(0.01 * delay)
        process.kill()
        finish(process)
    began = time.monotonic()
    status, _, err = finish(train(tmp_path, "--resume", "--generator", server))
    seconds = time.monotonic() - began
    assert status == 0, err
    assert [path for path in run.rglob(".*") if path.is_dir()] == []
    assert [path.read_text() for path in theirs] == 3 * ["theirs"]
    assert losses(tmp_path) == losses(finished)
    note("kill -9 while results are written", times=8, outcome="identical", seconds=seconds)
