"""A run's own generator: a child process that is started again if it dies or hangs, and ends with the run."""

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

from matstream.shared.errors import UserError
from matstream.shared.fields import MAX_DIM, MAX_INDEX
from matstream.shared.problems import Source, write_sources

MAX_PAUSE = 30.0  # seconds: the longest pause before it is started again; there is none if it ran longer
START_SECONDS = 120.0  # until it has written its URL
LOOK_SECONDS = 5.0  # between two checks that it still answers
MAX_SILENCE = 20.0  # seconds without an answer to such a check; fewer than a request for samples waits
END_SECONDS = 5.0  # until it has ended: more than it gives the requests under way

# It serves one run, limited only by its recipe: what the environment sets for a team's server does not apply.
_LIMITS = {
    "MATSTREAM_MAX_DIM": str(MAX_DIM),
    "MATSTREAM_MAX_COUNT": str(MAX_INDEX),
    "MATSTREAM_MAX_SECONDS": "1e12",
}

logger = logging.getLogger(__name__)


@contextmanager
def generators(urls: Sequence[str] | None, sources: Sequence[Source] = ()) -> Iterator[Sequence[str]]:
    """The generators at `urls`; without any, an embedded one, which reads these problem files and runs until
    the body is done. Raises as `embedded_generator`."""
    if urls:
        yield urls
        return
    with embedded_generator(sources) as url:
        yield [url]


@contextmanager
def embedded_generator(sources: Sequence[Source] = ()) -> Iterator[str]:
    """Run a generator on this machine until the body is done, and yield its URL. Raises UserError if it does
    not start."""
    ended = threading.Event()
    child, url = _start(0, sources, ended)
    if not url:
        _let_go(child)
        failed = child.returncode > 0
        when = ": the reason is printed above" if failed else f" within {START_SECONDS:g} seconds"
        raise UserError(f"the embedded generator did not start{when}")
    keeper = threading.Thread(
        target=_keep_alive, args=(child, url, sources, ended), name="matstream-embedded"
    )
    keeper.start()
    try:
        yield url
    finally:
        ended.set()
        keeper.join()


def _keep_alive(
    child: subprocess.Popen[bytes], url: str, sources: Sequence[Source], ended: threading.Event
) -> None:
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
            child, _ = _start(urlsplit(url).port or 0, sources, ended)
        except OSError as error:  # no memory for it, say: the loop finds the old one ended, and tries again
            logger.warning("the embedded generator cannot be started: %s", error.strerror)
    _let_go(child)


def _trouble(child: subprocess.Popen[bytes], url: str, ended: threading.Event) -> str:
    """Wait until a generator dies or hangs, and return which of these it did; "" once `ended` is set."""
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
    """Whether bytes, or its end, arrive from a source within so many seconds and before `ended` is set."""
    until = time.monotonic() + seconds
    while not ended.is_set() and time.monotonic() < until:
        if wait([source], 0.1):
            return True
    return False


def _let_go(child: subprocess.Popen[bytes]) -> None:
    """Close the standard input of a child, upon which it ends, and make sure that it has ended."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        child.stdin.close()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _start(
    port: int, sources: Sequence[Source], ended: threading.Event
) -> tuple[subprocess.Popen[bytes], str]:
    """Start a generator, and return it with its URL, or with "" if it did not start in time or before `ended`
    was set.

    It has its own session, so that Ctrl-C reaches only the trainer. It imports nothing from the working
    folder (-P), and writes its URL to a pipe of its own, to which nothing else is written. It gets the
    problem files as they were when they were read, whatever has become of them.
    """
    given = write_sources(sources) if sources else None
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
    passed = [writing]
    if given is not None:
        command += ["--sources", str(given.fileno())]
        passed.append(given.fileno())
    # in upper or lower case, both of which it would read as its settings
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
            pass_fds=passed,
            start_new_session=True,
            env=environment | _LIMITS,
        )
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
        if given is not None:
            given.close()
    with open(reading, encoding="ascii") as said:
        return child, said.readline().strip() if _arrives(reading, START_SECONDS, ended) else ""
