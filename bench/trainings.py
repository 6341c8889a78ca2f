"""Trainings of which a table is made: runs of `matstream train`, gone on with where one was interrupted."""

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import cyclopts

from matstream.trainer.runs.folder import RESULT

# what the columns of a table of accuracies are
ACCURACIES = """\
The columns 5% to 0.5% give the accuracy at these tolerances, as the paper defines it: the share of answers
whose relative l1 error is below the tolerance, or whose words (tokens) are exactly those of the target.
*Strict* accuracy goes by the error alone, and for eigenvectors and svd it also requires right values and
orthonormal vectors. The *ceiling* is the accuracy of the exact answer once it is rounded to three digits."""
TOLERANCES = ("0.05", "0.02", "0.01", "0.005")
GOAL = 0.9  # the share of right answers within 5% that a problem is to reach
MATSTREAM = [sys.executable, "-m", "matstream"]


class Training(NamedTuple):
    """One training: a recipe, and what is changed in it."""

    recipe: str
    run: str
    changes: dict[str, Any]
    scored: tuple[str, ...] = ()  # flags of `matstream evaluate`, by which it is scored further

    @property
    def problem(self) -> str:
        """The recipe's name without that of its family."""
        return self.recipe.rpartition("/")[2]

    @property
    def folder(self) -> Path:
        return Path("runs") / self.run

    @property
    def finished(self) -> bool:
        return (self.folder / RESULT).is_file()

    @property
    def result(self) -> dict[str, Any]:
        """What result.json of the finished run says."""
        found: dict[str, Any] = json.loads((self.folder / RESULT).read_text(encoding="utf-8"))
        return found

    @property
    def accuracy(self) -> float:
        """The share of test samples that are right within 5%."""
        return float(self.result["accuracy"]["0.05"])

    def command(self, *how: str) -> list[str]:
        """The arguments of matstream that train it."""
        flags = [word for key, value in self.changes.items() for word in (f"--{key}", str(value))]
        return ["train", self.recipe, "--run", self.run, *how, *flags]


def train(training: Training, *, resume: bool) -> None:
    """Train and score, as `matstream train` does."""
    run(*training.command("--resume" if resume else "--overwrite"))


def run(*arguments: str) -> None:
    """Run matstream, without a GPU, and end if it fails; told to stop, let it stop by itself first."""
    process = subprocess.Popen([*MATSTREAM, *arguments], env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    try:
        status = process.wait()
    except KeyboardInterrupt:  # which it was sent too
        process.wait()
        raise
    except SystemExit:
        process.terminate()
        process.wait()
        raise
    if status:
        sys.exit(status)  # it has said why


def commit() -> str:
    """The commit that is checked out, `-dirty` behind it where files outside docs/ differ."""
    head = _git("rev-parse", "--short=12", "HEAD").stdout.strip()
    differs = _git("diff", "--quiet", "HEAD", "--", ".", ":!docs").returncode
    return f"{head}-dirty" if head and differs else head or "unknown"


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)


def processor() -> str:
    """The processor's name, and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), name)
    return f"{name}, {cores()} cores"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(main: Callable[..., None], interrupted: str) -> None:
    """Run a program's `main` on its command line; told to stop, end as its training does, and say so."""
    signal.signal(signal.SIGTERM, end)
    try:
        cyclopts.run(main)
    except KeyboardInterrupt:
        sys.exit(interrupted)


def end(number: int, frame: object) -> NoReturn:
    """Handle a signal by ending, so that the training under way is told to stop too."""
    sys.exit(128 + number)


def markdown(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; its columns but the first are numbers."""
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
