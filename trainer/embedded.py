"""A generator of a run's own: a child process, started again if it dies, that ends when the run does."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shared.errors import UserError
from shared.spec import MAX_DIM, MAX_INDEX

MAX_PAUSE = 30.0  # seconds before another start, if the ones before did not last that long

# It serves one run, limited by its recipe alone: what the environment sets for a team's server is not for it.
_LIMITS = {
    "MATSTREAM_MAX_DIM": str(MAX_DIM),
    "MATSTREAM_MAX_COUNT": str(MAX_INDEX),
    "MATSTREAM_MAX_SECONDS": "1e12",
}

logger = logging.getLogger(__name__)


@contextmanager
def embedded_generator() -> Iterator[str]:
    """The URL of a generator on this machine while it is needed. Raises UserError if it does not start."""
    child, url = _start(port=0)
    if not url:
        child.wait()
        raise UserError("the embedded generator did not start: its reason stands above")
    ended = threading.Event()
    keeper = threading.Thread(target=_keep_alive, args=(child, url, ended), name="matstream-embedded")
    keeper.start()
    try:
        yield url
    finally:
        ended.set()
        keeper.join()


def _keep_alive(child: subprocess.Popen[bytes], url: str, ended: threading.Event) -> None:
    """Until `ended` is set, start the generator again, at the address it had, whenever it dies."""
    pause, started = 0.0, time.monotonic()
    while not ended.wait(0.1):
        if child.poll() is None:
            continue
        logger.warning("the embedded generator ended with status %d: starting it again", child.returncode)
        _let_go(child)
        pause = 0.0 if time.monotonic() - started > MAX_PAUSE else min(2 * pause + 0.1, MAX_PAUSE)
        if ended.wait(pause):
            return
        started = time.monotonic()
        child, _ = _start(port=int(url.rpartition(":")[2]))
    _let_go(child)


def _let_go(child: subprocess.Popen[bytes]) -> None:
    """Close the standard input of a child, which ends with it, and wait for that end."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        child.stdin.close()
    child.wait()


def _start(port: int) -> tuple[subprocess.Popen[bytes], str]:
    """Start a generator; its URL, or "" if it did not start.

    It has its own session, so that Ctrl-C reaches only the trainer. It imports nothing of the working folder
    (-P), and says its URL on a pipe of its own, where nothing else is written.
    """
    reading, writing = os.pipe()
    command = [
        sys.executable,
        "-P",
        "-m",
        "matstream",
        "serve",
        "--port",
        str(port),
        "--embedded",
        str(writing),
    ]
    # in any case, as its settings are read
    environment = {
        name: value for name, value in os.environ.items() if not name.upper().startswith("MATSTREAM_")
    }
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(writing,),
            start_new_session=True,
            env=environment | _LIMITS,
        )
    finally:
        os.close(writing)
    with open(reading, encoding="ascii") as said:
        return child, said.read().strip()
