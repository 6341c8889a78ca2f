"""Tiny runs in processes of their own, and all that a run comes to, to be compared to the last bit."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from matstream.commands import main
from matstream.trainer.runs.checkpoints import latest
from matstream.trainer.runs.run import has_begun
from tests.commands import Forked, flags

TINY = {
    "stream__dim": 2,
    "model__width": 16,
    "model__heads": 2,
    "training__samples": 960,
    "training__batch_size": 32,
    "training__log_every": 32,
    "training__validate_every": 320,
    "training__checkpoint_every": 64,
    "evaluation__validation_samples": 20,
    "evaluation__test_samples": 50,
    "fetch__request_samples": 64,
}
RUN = "runs/quickstart"  # in its folder
LAST_CHECKPOINT = f"checkpoints/{TINY['training__samples']:012d}"
TIMES = {"seconds", "waited", "train_seconds", "samples_per_second", "data_wait"}


def start(folder: Path, *options: str, **changed: object) -> Forked:
    """`matstream train`, made tiny, in a folder and a process of its own; `said` tells what it says."""
    arguments = ["train", "quickstart", *options, *flags(TINY | changed)]
    process = Forked(partial(main, arguments), folder, _saying(folder), _saying(folder))
    process.start()
    return process


def _saying(folder: Path) -> Path:
    return folder.with_suffix(".said")  # beside the folder, whose disk may be full


def said(folder: Path) -> str:
    """What all processes have said that were started in a folder."""
    return _saying(folder).read_text()


def go(folder: Path, *options: str) -> Forked:
    """Begin the run in a folder, or go on with it if it has come anywhere."""
    resume = ["--resume"] if has_begun(folder / RUN) else []
    return start(folder, *resume, *options)


def wait_until(condition: Callable[[], object], process: Forked) -> None:
    """Wait, with hardly a pause, until a condition holds or the process has ended."""
    deadline = time.monotonic() + 120
    while process.is_alive() and not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def finished(folder: Path, *options: str) -> float:
    """Let the run in a folder come to its end: the seconds it took."""
    begun = time.monotonic()
    assert go(folder, *options).wait() == 0, said(folder)
    assert "Traceback" not in said(folder)
    return time.monotonic() - begun


def reached(folder: Path, samples: int) -> bool:
    """Whether the run in a folder has kept a checkpoint of so many samples, or more."""
    newest = latest(folder / RUN / "checkpoints")
    return newest is not None and int(newest.name) >= samples


def outcome(run: Path) -> dict[str, Any]:
    """All that a run came to: the content of each of its files by path, but for times and rates.

    Only the names count of pictures, and of the checksums of a file that holds times. Left out are
    TensorBoard's files, of which each go adds one, and checkpoints before the newest: a process that is
    killed when it has written one has not yet removed the oldest.
    """
    checkpoints = run / "checkpoints"
    newest = latest(checkpoints)
    return {
        path.relative_to(run).as_posix(): _content(path)
        for path in sorted(run.rglob("*"))
        if path.is_file()
        and "tensorboard" not in path.parts
        and not (path.parent.parent == checkpoints and path.parent.name.isdecimal() and path.parent != newest)
    }


def difference(folder: Path, other: Path) -> list[str]:
    """The paths of the files in which the runs of two folders came to something else."""
    found, expected = outcome(folder / RUN), outcome(other / RUN)
    return sorted(
        path
        for path in found.keys() | expected.keys()
        if path not in found or path not in expected or found[path] != expected[path]
    )


def _content(path: Path) -> Any:
    if path.name == "metrics.jsonl":
        return [_without_times(json.loads(line)) for line in path.read_text().splitlines()]
    if path.name == "result.json":
        return _without_times(json.loads(path.read_text()))
    if path.name == "training.pt":
        return dict(_flat(torch.load(path, weights_only=True), ()))
    if path.suffix == ".png" or "SUMS" in path.name:
        return None
    return path.read_bytes()


def _without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in TIMES}


def _flat(value: Any, keys: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The numbers, texts and tensors in nested dicts and lists, each with the keys that lead to it."""
    if isinstance(value, dict | list | tuple):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            if key not in TIMES:
                yield from _flat(part, (*keys, key))
    elif isinstance(value, torch.Tensor):
        yield keys, (value.dtype, value.shape, value.reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        yield keys, value
