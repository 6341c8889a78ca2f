"""Several worker processes: what they count adds up, and one that dies is replaced."""

import contextlib
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from matstream.generator_service.stream import generate
from matstream.shared import problems
from matstream.shared.spec import StreamSpec
from matstream.trainer.client import StreamError, stream

TIMES = """import matstream
@matstream.operation(target=lambda m, n: (m, n))
def times(a):
    return 3 * a
"""
SPEC = StreamSpec(operation="add,eigenvalues", dim="2-4", max_abs=25)


def metric(url, name, **labels):
    """The sum of a metric over all label values that fit."""
    text = httpx.get(f"{url}/metrics", trust_env=False, timeout=10).text
    lines = re.findall(rf"^matstream_{name}(?:{{(.*)}})? ([0-9.e+-]+)$", text, re.MULTILINE)
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(float(value) for found, value in lines if all(label in found for label in wanted))


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def service(start_server):
    server = start_server(embedded=False, workers=2)
    until(lambda: metric(server.url, "workers") == 2)
    return server


def workers(server):
    found = psutil.Process(server.process.pid).children()
    return [process for process in found if "spawn_main" in " ".join(process.cmdline())]


def test_under_many_clients_what_is_counted_is_what_they_received(service):
    def receive(seed):
        batches = list(stream(service.url, SPEC, seed, "train", 0, 20_000, request_samples=7_000))
        operations = [name for batch in batches for name in batch.column("operation").to_pylist()]
        attempts = sum(sum(batch.column("attempt").to_pylist()) for batch in batches)
        return operations.count("add"), operations.count("eigenvalues"), attempts

    with ThreadPoolExecutor(16) as clients:
        add, eigenvalues, attempts = map(sum, zip(*clients.map(receive, range(16)), strict=True))
    assert add + eigenvalues == 16 * 20_000
    until(lambda: metric(service.url, "open_streams") == 0)
    assert metric(service.url, "samples_total", operation="add") == add
    assert metric(service.url, "samples_total", operation="eigenvalues") == eigenvalues
    assert metric(service.url, "redraws_total") == attempts > 0
    assert metric(service.url, "requests_total", route="/v1/stream", status="200") == 16 * 3
    assert metric(service.url, "compute_seconds_total") > 0
    assert metric(service.url, "residual_count") > 0


def test_a_worker_that_is_killed_is_survived_and_seen(service):
    wanted = 60_000
    received = stream(service.url, SPEC, 0, "train", 0, wanted, request_samples=5_000, connections=4)
    rows = [next(received)]
    victim = workers(service)[0]
    victim.send_signal(signal.SIGKILL)
    rows += received
    assert sum(batch.num_rows for batch in rows) == wanted
    assert (
        rows[0].column("residual").equals(generate(SPEC, 0, "train", 0, rows[0].num_rows).column("residual"))
    )
    until(lambda: metric(service.url, "worker_starts_total") == 3)
    until(lambda: metric(service.url, "workers") == 2)
    assert metric(service.url, "open_streams") == 0
    service.stderr.seek(0)
    assert f"[{victim.pid}] died" in service.stderr.read()


def test_all_workers_end_with_their_parent(service):
    alive = workers(service)
    streaming = stream(service.url, SPEC, 0, "train", 0, 10**7, request_samples=10**6)

    def read() -> None:
        with contextlib.suppress(StreamError):  # once all workers have ended
            next(streaming)

    threading.Thread(target=read, daemon=True).start()
    until(lambda: metric(service.url, "open_streams") > 0)
    service.process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert service.process.wait(10) == 0
    assert time.monotonic() - begun < 5
    assert psutil.wait_procs(alive, timeout=1)[1] == []


def test_workers_whose_parent_is_killed_end_too(service):
    alive = workers(service)
    service.process.kill()
    assert psutil.wait_procs(alive, timeout=10)[1] == []


def test_any_worker_sends_the_same_bytes(service):
    path = "/v1/stream?operation=svd&dim=3&count=2000"
    answers = {httpx.get(service.url + path, trust_env=False, timeout=10).content for _ in range(8)}
    assert len(answers) == 1


@pytest.mark.parametrize("name", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_a_folder_for_the_metrics_of_other_programs_is_of_no_effect(start_server, name):
    server = start_server(from_nothing=True, **{name: "/nowhere"})
    assert metric(server.url, "workers") == 1


def test_a_worker_that_is_replaced_knows_a_problem_file_as_it_was(start_server, tmp_path, problems_forgotten):
    """Else one service would give two answers to one request, once the file has been edited."""
    file = tmp_path / "times.py"
    file.write_text(TIMES)
    service = start_server(embedded=False, workers=2, MATSTREAM_PROBLEMS=str(file))
    until(lambda: metric(service.url, "workers") == 2)
    problems.read_problems(file)
    spec = StreamSpec(operation="times", dim=2)
    file.write_text(TIMES.replace("3", "4"))
    for worker in workers(service):
        worker.send_signal(signal.SIGKILL)
    until(lambda: metric(service.url, "worker_starts_total") >= 3)
    found = list(stream(service.url, spec, 0, "train", 0, 100, request_samples=5, patience=60))
    assert sum(batch.num_rows for batch in found) == 100
