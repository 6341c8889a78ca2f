"""A generator of a run's own: a child process, started again if it dies or hangs, that ends with the run."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from urllib.parse import urlsplit

from matstream.shared import problems
from matstream.shared.errors import UserError
from matstream.shared.spec import MAX_DIM, MAX_INDEX

MAX_PAUSE = 30.0  # seconds before another start, if the ones before did not last that long
START_SECONDS = 120.0  # until it says its URL
LOOK_SECONDS = 5.0  # between two questions whether it still answers
MAX_SILENCE = 20.0  # seconds without an answer to that; less than a request of samples waits
END_SECONDS = 5.0  # until it has ended, more than it gives requests under way

# It serves one run, limited by its recipe alone: what the environment sets for a team's server is not for it.
_LIMITS = {
    "MATSTREAM_MAX_DIM": str(MAX_DIM),
    "MATSTREAM_MAX_COUNT": str(MAX_INDEX),
    "MATSTREAM_MAX_SECONDS": "1e12",
}

logger = logging.getLogger(__name__)


@contextmanager
def generators(urls: Sequence[str] | None) -> Iterator[Sequence[str]]:
    """The generators at `urls`, or while they are needed one of our own. Raises as `embedded_generator`."""
    if urls:
        yield urls
        return
    with embedded_generator() as url:
        yield [url]


@contextmanager
def embedded_generator() -> Iterator[str]:
    """The URL of a generator on this machine while it is needed. Raises UserError if it does not start."""
    ended = threading.Event()
    child, url = _start(0, ended)
    if not url:
        _let_go(child)
        failed = child.returncode > 0
        when = ": its reason stands above" if failed else f" within {START_SECONDS:g} seconds"
        raise UserError(f"the embedded generator did not start{when}")
    keeper = threading.Thread(target=_keep_alive, args=(child, url, ended), name="matstream-embedded")
    keeper.start()
    try:
        yield url
    finally:
        ended.set()
        keeper.join()


def _keep_alive(child: subprocess.Popen[bytes], url: str, ended: threading.Event) -> None:
    """Until `ended` is set, start the generator again, at the address it had, whenever it dies or hangs."""
    pause, started = 0.0, time.monotonic()
    while trouble := _trouble(child, url, ended):
        logger.warning("the embedded generator %s: starting it again", trouble)
        child.kill()
        _let_go(child)
        pause = 0.0 if time.monotonic() - started > MAX_PAUSE else min(2 * pause + 0.1, MAX_PAUSE)
        if ended.wait(pause):
            return
        started = time.monotonic()
        try:
            child, _ = _start(urlsplit(url).port or 0, ended)
        except OSError as error:  # no memory for it, say; the one that has ended is looked at again
            logger.warning("the embedded generator cannot be started: %s", error.strerror)
    _let_go(child)


def _trouble(child: subprocess.Popen[bytes], url: str, ended: threading.Event) -> str:
    """What has happened to a generator, as soon as something has; "" once `ended` is set."""
    looked = time.monotonic()
    while not ended.wait(0.1):
        if child.poll() is not None:
            return f"ended with status {child.returncode}"
        if time.monotonic() - looked > LOOK_SECONDS:
            if not _answers(url, ended) and not ended.is_set():
                return f"has not answered for {MAX_SILENCE:g} seconds"
            looked = time.monotonic()
    return ""


def _answers(url: str, ended: threading.Event) -> bool:
    """Whether a generator says within MAX_SILENCE seconds that it is there."""
    address = urlsplit(url)
    try:
        with socket.create_connection((address.hostname, address.port), MAX_SILENCE) as asked:
            asked.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return _arrives(asked, MAX_SILENCE, ended)
    except OSError:
        return False


def _arrives(source: socket.socket | int, seconds: float, ended: threading.Event) -> bool:
    """Whether something comes from a source, were it its end, within so many seconds and before `ended`."""
    until = time.monotonic() + seconds
    while not ended.is_set() and time.monotonic() < until:
        if wait([source], 0.1):
            return True
    return False


def _let_go(child: subprocess.Popen[bytes]) -> None:
    """Close the standard input of a child, which ends with it, and see to that end."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        child.stdin.close()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _start(port: int, ended: threading.Event) -> tuple[subprocess.Popen[bytes], str]:
    """Start a generator; its URL, or "" if it did not start in time or before `ended`.

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
    if "PYTHONPATH" in environment:  # an empty or relative part of it is the working folder, or in it
        parts = filter(os.path.isabs, environment["PYTHONPATH"].split(os.pathsep))
        environment["PYTHONPATH"] = os.pathsep.join(parts)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(writing,),
            start_new_session=True,
            env=environment | _LIMITS | problems.environment(),
        )
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    with open(reading, encoding="ascii") as said:
        return child, said.readline().strip() if _arrives(reading, START_SECONDS, ended) else ""
