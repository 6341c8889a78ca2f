"""`matstream` as a user runs it: in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def matstream(folder: Path, *arguments: str, **settings: object) -> subprocess.Popen[str]:
    """Start a command in a folder; `section__key=value` is the flag --section.key value."""
    return subprocess.Popen(
        [sys.executable, "-m", "matstream", *arguments, *flags(settings)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit status, standard output and standard error."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def flags(settings: dict[str, object]) -> list[str]:
    """Settings section__key=value as the flags --section.key value."""
    return [word for key, value in settings.items() for word in (f"--{key.replace('__', '.')}", str(value))]
