"""A disk that is full: one sentence, and once there is room the run comes to the same as on any other."""

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import commands
from tests.faults.proxy import misbehaving, slow
from tests.faults.runs import LAST_CHECKPOINT, RUN, TINY, difference, finished, go, reached, said


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A folder on a disk of 32 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave not a byte."""
    with (disk / "ballast").open("ab", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    ballast.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


MOMENTS: dict[str, Callable[[Path], object]] = {
    "at the start": lambda folder: True,
    "at a checkpoint": lambda folder: reached(folder, 320),
    "while it is scored": lambda folder: (folder / RUN / LAST_CHECKPOINT).exists(),
}


@pytest.mark.parametrize(
    "moment",
    [pytest.param(name, marks=pytest.mark.long) if name == "at the start" else name for name in MOMENTS],
)
def test_a_run_on_a_full_disk_is_one_sentence_and_goes_on_once_there_is_room(
    disk, server, undisturbed, note, moment
):
    if moment == "at the start":
        fill(disk)
    process = go(disk, "--generator", server)
    while process.is_alive():
        if MOMENTS[moment](disk):
            fill(disk)
        time.sleep(0.001)
    assert process.wait() == 1, said(disk)
    *_, sentence = said(disk).splitlines()
    assert sentence.startswith("matstream: ")
    assert "No space left on device" in sentence
    assert "Traceback" not in said(disk)
    (disk / "ballast").unlink()
    seconds = finished(disk, "--generator", server)
    assert difference(disk, undisturbed) == []
    note(f"a full disk {moment}", times=1, outcome="a sentence, then identical", seconds=seconds)


def test_a_process_ends_with_its_own_status_while_samples_arrive(disk, server, note):
    fill(disk)
    os.truncate(disk / "ballast", (disk / "ballast").stat().st_size - 100_000)  # no room for a checkpoint
    begun = time.monotonic()
    many = TINY | {"stream__dim": 10, "fetch__request_samples": 20_000, "fetch__connections": 8}
    with misbehaving(server, slow(200_000)) as steady:  # a piece on each connection every 50 ms
        status, _, err = commands.finish(
            commands.started(disk, "train", "quickstart", "--generator", steady.url, **many)
        )
    seconds = time.monotonic() - begun
    assert status == 1, err
    assert len(err.splitlines()) == 1
    assert "No space left on device" in err
    note("a full disk at the first checkpoint", times=1, outcome="status 1", seconds=seconds)
