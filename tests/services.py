"""Generator services on real sockets, each in a process of its own."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from matstream.generator_service.cli import serve
from tests.commands import Forked

ROOT = Path(__file__).parents[1]


class Service(NamedTuple):
    url: str
    process: subprocess.Popen[str] | Forked
    stderr: IO[str]


@contextlib.contextmanager
def serving(
    embedded: bool = True, workers: int = 1, from_nothing: bool = False, **environment: str
) -> Iterator[Service]:
    """A service while the context lasts: a program's own if `embedded`, else one that stands alone.

    It is forked, unless it is to start `from_nothing` or has workers, which do so anyway.
    """
    with tempfile.TemporaryDirectory(prefix="matstream-") as folder, contextlib.ExitStack() as opened:
        out, err = Path(folder, "out"), Path(folder, "err")
        stderr = opened.enter_context(err.open("w+"))
        if from_nothing or workers > 1:
            process, url = _from_nothing(embedded, workers, stderr, environment)
        elif embedded:
            call = partial(_serve_embedded, *_pipes(Path(folder)))
            process = Forked(call, ROOT, out, err, **environment)
            process.start()
            opened.enter_context(Path(folder, "stdin").open("w"))
            url = Path(folder, "url").read_text(encoding="ascii").strip()
        else:
            port = _free_port()
            process = Forked(partial(serve, port=port), ROOT, out, err, **environment)
            process.start()
            url = f"http://127.0.0.1:{port}"
        opened.callback(_end, process)
        _wait_until_it_accepts(url, process)
        yield Service(url, process, stderr)


def _from_nothing(
    embedded: bool, workers: int, stderr: IO[str], environment: dict[str, str]
) -> tuple[subprocess.Popen[str], str]:
    port = 0 if embedded else _free_port()
    reading, writing = os.pipe()
    code = (
        "from matstream.generator_service.cli import serve;"
        f"serve(port={port}, workers={workers}, embedded={writing if embedded else None})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if embedded else subprocess.DEVNULL,
        pass_fds=(writing,),
        stderr=stderr,
        env=os.environ | environment,
        cwd=ROOT,
        text=True,
    )
    os.close(writing)
    with open(reading, encoding="ascii") as announced:
        url = announced.read().strip() if embedded else f"http://127.0.0.1:{port}"
    return process, url


def _pipes(folder: Path) -> tuple[Path, Path]:
    """Two new named pipes."""
    stdin, url = folder / "stdin", folder / "url"
    os.mkfifo(stdin)
    os.mkfifo(url)
    return stdin, url


def _serve_embedded(stdin: Path, url: Path) -> None:
    """Serve until the first of two named pipes closes; the URL is written to the second."""
    sys.stdin = stdin.open()
    serve(port=0, embedded=os.open(url, os.O_WRONLY))


def _end(process: subprocess.Popen[str] | Forked) -> None:
    if isinstance(process, subprocess.Popen):
        process.stdin.close()
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_it_accepts(url: str, process: subprocess.Popen[str] | Forked) -> None:
    address = urlsplit(url)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((address.hostname, address.port), timeout=5).close()
            return
        time.sleep(0.02)
    raise RuntimeError(f"the service at {url!r} does not start (status {process.poll()})")
