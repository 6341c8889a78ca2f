"""Generator services on real sockets, and the command line, for every folder of tests."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from hypothesis import settings

from matstream import main
from tests.trainer.commands import flags

# before torch is imported: each of pytest's workers, and all that they start, computes on one thread
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("stable", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("stable")

ROOT = Path(__file__).parents[1]


class Server(NamedTuple):
    url: str
    process: subprocess.Popen[str]
    stderr: IO[str]


@contextlib.contextmanager
def _serving(embedded: bool = True, workers: int = 1, **environment: str) -> Iterator[Server]:
    port = 0 if embedded else _free_port()
    reading, writing = os.pipe()
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from generator_service.cli import serve;"
                f"serve(port={port}, workers={workers}, embedded={writing if embedded else None})",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if embedded else subprocess.DEVNULL,
            pass_fds=(writing,),
            stderr=stderr,
            env=os.environ | environment,
            cwd=ROOT,
            text=True,
        )
        os.close(writing)
        try:
            with open(reading, encoding="ascii") as announced:
                url = announced.read().strip() if embedded else f"http://127.0.0.1:{port}"
            _wait_until_it_accepts(url, process)
            yield Server(url, process, stderr)
        finally:
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


def _wait_until_it_accepts(url: str, process: subprocess.Popen[str]) -> None:
    address = urlsplit(url)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((address.hostname, address.port), timeout=5).close()
            return
        time.sleep(0.02)
    raise RuntimeError(f"the service at {url!r} does not start (status {process.poll()})")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a generator service that every test may share."""
    with _serving() as started:
        yield started.url


@pytest.fixture(scope="session")
def replicas(server) -> Iterator[list[str]]:
    """The URLs of two generator services, each a process of its own."""
    with _serving() as started:
        yield [server, started.url]


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Start another service: `start_server(embedded=True, workers=1, **environment)`."""
    with contextlib.ExitStack() as started:
        yield lambda *args, **kwargs: started.enter_context(_serving(*args, **kwargs))


@pytest.fixture(scope="session")
def rows() -> Callable[[Iterable[pa.RecordBatch]], list[str]]:
    """A function from record batches to one text a sample; texts are equal only where every bit is."""

    def read(batches: Iterable[pa.RecordBatch]) -> list[str]:
        samples = []
        for batch in batches:
            columns = (getattr(column, "storage", column).to_pylist() for column in batch.columns)
            samples += map(repr, zip(*columns, strict=True))
        return samples

    return read


@pytest.fixture
def here(tmp_path, monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """Run `matstream` in this process, in a folder of its own: its status, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **settings: object) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            main([*arguments, *flags(settings)])
            status = 0
        except SystemExit as ended:
            status = ended.code
        return status, *capfd.readouterr()

    return run
