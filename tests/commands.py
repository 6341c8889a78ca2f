"""`matstream` as a user runs it: in a process of its own."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from matstream.commands import main
from matstream.trainer.report import figures

# pictures of few points, for most of a small run's time would go into them
figures.STYLE |= {"figure.dpi": 25, "savefig.dpi": 25}

# what has loaded once all that commands load, which takes seconds; Forked are forked from it
multiprocessing.get_context("forkserver").set_forkserver_preload(
    [
        "matstream.generator_service.service.app",
        "matstream.generator_service.sample",
        "matstream.generator_service.service.server",
        "torch._dynamo",
        "matstream.trainer.cli",
        __name__,
    ]
)


class Forked(ForkServerProcess):
    """A call in a folder and a process of its own, which need not load what commands load.

    It is asked as a Popen is.
    """

    def __init__(
        self, call: Callable[[], object], folder: Path, out: Path, err: Path, **environment: str
    ) -> None:
        """What it writes is appended to the files `out` and `err`, which may be one.

        Its environment is this process's, with the variables of `environment`.
        """
        super().__init__()
        self._call, self._folder = call, folder
        self._environment = os.environ | environment
        self.out, self.err = out, err
        for path in {out, err}:
            path.touch()  # so that there is something to read of a process that is killed at once

    def run(self) -> None:
        os.chdir(self._folder)
        os.environ.clear()
        os.environ.update(self._environment)
        for path, stream in ((self.out, sys.stdout), (self.err, sys.stderr)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
        self._call()

    def poll(self) -> int | None:
        return self.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 180) -> int:
        """Its exit status, below 0 for a signal, once it has ended."""
        self.join(seconds)
        if self.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._call), seconds)
        return self.exitcode


def python(folder: Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder and a process of its own, with variables beside this process's."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def started(folder: Path, *arguments: str, **settings: object) -> subprocess.Popen[str]:
    """Start a command in a folder, from nothing; `section__key=value` is the flag --section.key value."""
    return subprocess.Popen(
        [sys.executable, "-m", "matstream", *arguments, *flags(settings)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def forked(folder: Path, *arguments: str, **settings: object) -> Forked:
    """Start a command in a folder, forked; `section__key=value` is the flag --section.key value."""
    said = Path(tempfile.mkdtemp(prefix=f"{folder.name}-said-", dir=folder.parent))
    process = Forked(partial(main, [*arguments, *flags(settings)]), folder, said / "out", said / "err")
    process.start()
    return process


def finish(process: subprocess.Popen[str] | Forked) -> tuple[int, str, str]:
    """Its exit status, below 0 for a signal, and what it wrote to standard output and standard error."""
    if isinstance(process, subprocess.Popen):
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err
    return process.wait(120), process.out.read_text(), process.err.read_text()


def flags(settings: dict[str, object]) -> list[str]:
    """Settings section__key=value as the flags --section.key value."""
    return [word for key, value in settings.items() for word in (f"--{key.replace('__', '.')}", str(value))]
