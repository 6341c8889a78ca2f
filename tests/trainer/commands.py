"""`matstream` as a user runs it: in a process of its own."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from matstream import main

# what has loaded the trainer once, and all that torch loads for it; Forked are forked from it
multiprocessing.get_context("forkserver").set_forkserver_preload(["trainer.cli", "torch._dynamo", __name__])


class Forked(ForkServerProcess):
    """A command in a folder whose process need not load torch again: that takes seconds.

    It is asked as a Popen is.
    """

    def __init__(self, folder: Path, arguments: list[str], out: Path, err: Path) -> None:
        """What it writes is appended to the files `out` and `err`, which may be one."""
        super().__init__()
        self._folder, self._arguments = folder, arguments
        self.out, self.err = out, err

    def run(self) -> None:
        os.chdir(self._folder)
        for path, stream in ((self.out, sys.stdout), (self.err, sys.stderr)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream.fileno())
        main(self._arguments)

    def poll(self) -> int | None:
        return self.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 180) -> int:
        """Its exit status, below 0 for a signal, once it has ended."""
        self.join(seconds)
        assert self.exitcode is not None, f"it does not end within {seconds} s"
        return self.exitcode


def matstream(folder: Path, *arguments: str, **settings: object) -> subprocess.Popen[str]:
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
    process = Forked(folder, [*arguments, *flags(settings)], said / "out", said / "err")
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
