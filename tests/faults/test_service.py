"""The service under clients that stall, leave, hoard or shout, on real sockets."""

import contextlib
import json
import multiprocessing
import socket
import statistics
import struct
import threading
import time
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from matstream.shared.spec import StreamSpec
from matstream.trainer.client import stream

LARGE = "/v1/stream?operation=transpose&dim=128&count=1000000&batch_rows=250"  # batches of 64 MiB
SMALL = "/v1/stream?operation=eigenvalues&dim=5&count=10000000"
SAMPLE = "/v1/samples?operation=add&dim=2"
MEGABYTE = 10**6


def ask(server, path, source="127.0.0.1", **headers):
    """A connection, from one of this machine's own addresses, on which a request was sent."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), 30, (source, 0))
    lines = [f"GET {path} HTTP/1.1", f"Host: {address.netloc}", *(f"{k}: {v}" for k, v in headers.items())]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def all_of(connection):
    received = b""
    while part := connection.recv(1 << 16):
        received += part
    return received


def memory(server):
    return psutil.Process(server.process.pid).memory_info().rss / MEGABYTE


def settled(server):
    """Memory once the server has nothing to do, in MB."""
    process, deadline = psutil.Process(server.process.pid), time.monotonic() + 120
    process.cpu_percent()
    calm = 0
    while calm < 4:
        assert time.monotonic() < deadline
        time.sleep(0.5)
        calm = calm + 1 if process.cpu_percent() < 5 else 0
    return memory(server)


@pytest.fixture
def closing():
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_small_answer_is_sent_at_once(start_server, workers):
    server = start_server(embedded=False, workers=workers)
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        for path in (SAMPLE, "/v1/stream?operation=add&dim=2&count=10"):
            seconds = []
            for _ in range(21):
                begun = time.perf_counter()
                client.get(path).raise_for_status()
                seconds.append(time.perf_counter() - begun)
            # where TCP holds an answer's second half back, each of them takes 40 ms and more
            assert min(seconds) < 0.03


def test_who_closes_their_half_after_a_request_gets_the_answer(start_server, closing):
    server = start_server()
    for path in (SAMPLE, "/v1/stream?operation=eigenvalues&dim=5&count=50000", "/nowhere"):
        whole = closing(ask(server, path, Connection="close"))
        half = closing(ask(server, path))
        half.shutdown(socket.SHUT_WR)
        body, expected = (all_of(one).partition(b"\r\n\r\n")[2] for one in (half, whole))
        assert body == expected != b""


def test_two_requests_sent_at_once_before_half_a_close_are_both_answered(start_server, closing):
    server = start_server()
    connection = closing(ask(server, "/healthz"))
    connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.shutdown(socket.SHUT_WR)
    answers = all_of(connection)
    assert answers.count(b"HTTP/1.1 200") == 2
    assert b"fingerprint" in answers


@pytest.mark.parametrize("query", ["&".join(f"p{i}=1" for i in range(20_000)), "dim=" + "9" * 200_000])
def test_a_query_too_long_costs_nobody_anything(start_server, closing, query):
    server = start_server(embedded=False)
    waits, ended = [], threading.Event()

    def watch():
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            while not ended.is_set():
                begun = time.perf_counter()
                client.get("/healthz")
                waits.append(time.perf_counter() - begun)

    watching = threading.Thread(target=watch)
    watching.start()
    while len(waits) < 20:
        head, _, body = all_of(
            closing(ask(server, f"/v1/samples?operation=add&{query}", Connection="close"))
        ).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 414")
        assert b"application/problem+json" in head
        assert "at most 4096" in json.loads(body)["detail"]
        assert len(body) < 1000
    ended.set()
    watching.join()
    assert statistics.median(waits) < 0.1
    server.stderr.seek(0)
    assert max(map(len, server.stderr.read().splitlines())) < 1000


def test_unread_streams_of_large_batches_share_a_bounded_memory(start_server, note):
    server = start_server(from_nothing=True)
    idle, begun = memory(server), time.monotonic()
    unread = [ask(server, LARGE) for _ in range(6)]
    most = 0
    while time.monotonic() - begun < 4:
        most = max(most, memory(server))
        time.sleep(0.05)
    # meanwhile a stream of batches of the usual size is not kept waiting
    answer = httpx.get(server.url + SMALL.replace("10000000", "20000"), trust_env=False, timeout=30)
    assert answer.status_code == 200
    for connection in unread:
        connection.close()
    closed = time.monotonic()
    after = settled(server)
    outcome = f"at most {most - idle:.0f} MB, {after - idle:+.0f} MB left"
    note("large batches unread", times=6, outcome=outcome, seconds=time.monotonic() - closed)
    assert most - idle < 400
    assert after - idle < 20


@pytest.mark.long
def test_memory_returns_after_500_clients_that_leave_and_40_that_read_slowly(start_server, note):
    server = start_server(from_nothing=True)
    idle = memory(server)
    for number in range(500):
        connection = ask(server, (SMALL, LARGE, SMALL.replace("eigenvalues", "svd"))[number % 3])
        if number % 2:
            connection.recv(1000)
        connection.close()
    begun = time.monotonic()
    left = settled(server)
    note(
        "clients that leave",
        times=500,
        outcome=f"{left - idle:+.0f} MB left",
        seconds=time.monotonic() - begun,
    )
    slow = [ask(server, SMALL) for _ in range(40)]
    for _ in range(100):
        for connection in slow:
            connection.settimeout(0)
            with contextlib.suppress(OSError):
                connection.recv(20_000)
        time.sleep(0.1)
    for connection in slow:
        connection.close()
    begun = time.monotonic()
    read = settled(server)
    note("slow readers", times=40, outcome=f"{read - idle:+.0f} MB left", seconds=time.monotonic() - begun)
    assert left - idle < 100
    assert read - idle < 100


def test_a_client_may_have_all_slots_but_not_keep_them_from_another(start_server, closing):
    server = start_server(MATSTREAM_MAX_STREAMS="4")
    greedy = [closing(ask(server, SMALL)) for _ in range(4)]
    assert all(connection.recv(12).endswith(b"200") for connection in greedy)
    assert closing(ask(server, SMALL)).recv(12).endswith(b"503")
    other = [closing(ask(server, SMALL, source="127.0.0.2")) for _ in range(3)]
    assert [connection.recv(12)[-3:] for connection in other] == [b"200", b"200", b"503"]
    third = closing(ask(server, SMALL, source="127.0.0.3"))
    assert third.recv(12).endswith(b"200")
    taken = [connection for connection in (*greedy, *other[:2]) if is_broken_off(connection)]
    assert len(taken) == 3
    assert set(greedy[2:]) < set(taken)  # the newest


def test_a_stream_that_has_not_begun_is_broken_off_with_an_answer(start_server, closing):
    server = start_server(MATSTREAM_MAX_STREAMS="4")
    waiting = [closing(ask(server, LARGE)) for _ in range(4)]  # two hold the memory, two wait for it
    time.sleep(1)
    assert closing(ask(server, SMALL, source="127.0.0.2")).recv(12).endswith(b"200")
    status = waiting[-1].recv(1 << 16)
    assert status.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in status
    server.stderr.seek(0)
    assert "without starting response" not in server.stderr.read()


@pytest.mark.long
def test_clients_who_are_gone_keep_neither_slots_nor_their_place_in_the_line(start_server, closing):
    server = start_server(MATSTREAM_MAX_STREAMS="6")
    readers = [closing(ask(server, LARGE)) for _ in range(2)]
    ended = threading.Event()

    def read_slowly():
        while not ended.wait(0.2):
            for reader in readers:
                reader.recv(300_000)

    reading = threading.Thread(target=read_slowly)
    reading.start()
    time.sleep(1)
    for _ in range(4):
        gone = ask(server, LARGE)
        time.sleep(0.1)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        gone.close()
    time.sleep(3)
    assert closing(ask(server, SMALL)).recv(12).endswith(b"200")
    ended.set()
    reading.join()


def read_by_64(url):
    for _ in stream(url, StreamSpec(operation="eigenvalues", dim=5), 0, "train", 0, 10**9, connections=64):
        pass


@pytest.mark.long
def test_whether_the_service_lives_is_answered_quickly_while_64_read(start_server, note):
    server = start_server()
    readers = multiprocessing.get_context("spawn").Process(target=read_by_64, args=(server.url,))
    readers.start()
    try:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            while "matstream_open_streams 32.0" not in client.get("/metrics").text:
                time.sleep(0.1)
            spells = [[answered(client) for _ in range(100)] for _ in range(4)]
    finally:
        readers.kill()
        readers.join()
    # of the calmest spell: other tests run beside this one
    median = min(statistics.median(spell) for spell in spells)
    late = min(sorted(spell)[98] for spell in spells)
    outcome = f"/healthz in {1e3 * median:.0f} ms, p99 {1e3 * late:.0f}"
    note("64 connections of one client", times=400, outcome=outcome, seconds=median)
    assert median < 0.04  # where TCP holds an answer's second half back, each of them takes that and more
    assert late < 0.1


def answered(client):
    """Seconds until the service has said that it lives; then a pause."""
    begun = time.perf_counter()
    client.get("/healthz").raise_for_status()
    seconds = time.perf_counter() - begun
    time.sleep(0.02)
    return seconds


def is_broken_off(connection):
    """Whether a stream of ours ends, read for a moment."""
    connection.settimeout(2)
    until = time.monotonic() + 2
    try:
        while time.monotonic() < until:
            if not connection.recv(1 << 20):
                return True
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def test_with_keys_the_share_is_that_of_a_key(start_server, closing):
    server = start_server(MATSTREAM_MAX_STREAMS="2", MATSTREAM_API_KEYS="alice,bob")
    for key, status in (
        ("alice", b"200"),
        ("alice", b"200"),
        ("alice", b"503"),
        ("bob", b"200"),
        ("bob", b"503"),
    ):
        connection = closing(ask(server, SMALL, Authorization=f"Bearer {key}"))
        assert connection.recv(12).endswith(status)


@pytest.mark.long
def test_a_reader_who_takes_nothing_is_broken_off_after_half_a_minute(start_server, closing, note):
    server = start_server()
    begun = time.monotonic()
    connections = [closing(ask(server, path)) for path in (SMALL, LARGE)]
    while "matstream_open_streams 0.0" not in httpx.get(f"{server.url}/metrics", trust_env=False).text:
        assert time.monotonic() - begun < 60
        time.sleep(0.5)
    seconds = time.monotonic() - begun
    assert seconds > 25
    assert connections
    note("a reader who takes nothing", times=2, outcome="broken off", seconds=seconds)


@pytest.mark.long
def test_readers_who_take_nothing_give_way_to_those_who_wait_for_memory(start_server, closing, note):
    server = start_server()
    stalled = [closing(ask(server, LARGE)) for _ in range(4)]
    time.sleep(3)
    begun = time.monotonic()
    honest = closing(ask(server, LARGE.replace("1000000", "500")))
    assert all_of_body(honest)
    seconds = time.monotonic() - begun
    assert seconds < 25
    assert stalled
    note("memory held by readers who take nothing", times=4, outcome="given to who waits", seconds=seconds)


def all_of_body(connection):
    connection.settimeout(30)
    received = b""
    while not received.endswith(b"\r\n0\r\n\r\n"):
        received = received[-100:] + connection.recv(1 << 20)
    return True


@pytest.mark.parametrize("host", ["", " ", "<broadcast>", "127.0.0.1 "])
def test_a_host_that_is_none_is_refused_in_one_sentence(host):
    from matstream.generator_service.service.server import run
    from matstream.shared.errors import UserError

    with pytest.raises(UserError, match=f"^host='{host}': must be an address"):
        run(host, 0, 1, embedded=False)
