"""Generator services on real sockets, and the command line, for every folder of tests."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import settings

from matstream.commands import main
from matstream.shared import problems
from tests.commands import finish, flags, forked
from tests.services import Service, serving

# before torch is imported: each of pytest's workers, and all that they start, computes on one thread
os.environ.setdefault("OMP_NUM_THREADS", "1")
# also where there is a GPU: the figures of tests are the processor's (`make gpu-check` is for the GPU)
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

settings.register_profile("stable", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("stable")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors, for a third of a test's time is waiting."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a generator service that every test may share."""
    with serving() as started:
        yield started.url


@pytest.fixture(scope="session")
def replicas(server) -> Iterator[list[str]]:
    """The URLs of two generator services, each a process of its own."""
    with serving() as started:
        yield [server, started.url]


@pytest.fixture
def start_server() -> Iterator[Callable[..., Service]]:
    """Start another service, as `serving` does: `start_server(embedded=True, workers=1, **environment)`."""
    with contextlib.ExitStack() as started:
        yield lambda *args, **kwargs: started.enter_context(serving(*args, **kwargs))


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


@pytest.fixture
def problems_forgotten() -> Iterator[None]:
    """Operations and structures that the test reads from files are unknown again after it."""
    known, environment = problems._known, problems._environment
    yield
    problems._known, problems._environment = known, environment


@pytest.fixture(scope="session")
def mixed_run(tmp_path_factory, server) -> Path:
    """A finished run, hardly trained, on a mixture: eigenvalues and transposes of dimensions 2 and 3."""
    folder = tmp_path_factory.mktemp("mixed")
    settings = {
        "stream__operation": "eigenvalues,transpose",
        "stream__dim": "2-3",
        "model__width": 16,
        "model__heads": 2,
        "training__samples": 1280,
        "training__average": 200,
        "evaluation__validation_samples": 40,
        "evaluation__test_samples": 120,
    }
    status, _, err = finish(
        forked(folder, "train", "quickstart", "--run", "mixed", "--generator", server, **settings)
    )
    assert status == 0, err
    return folder / "runs/mixed"
