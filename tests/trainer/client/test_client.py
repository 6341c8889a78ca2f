"""The client against real sockets: a generator, and servers that misbehave in one way each."""

import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pyarrow as pa
import pytest

from matstream.generator_service import numerics
from matstream.generator_service.stream import batches, generate
from matstream.shared.errors import UserError
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import from_batch, provenance, schema, write_stream
from matstream.trainer.client import Client, StreamError, stream
from matstream.trainer.client.generators import MAX_WRONG

SPEC = StreamSpec(operation="eigenvalues", dim=3)
Answer = Callable[[BaseHTTPRequestHandler, StreamSpec, SampleRange, int], None]


@contextmanager
def misbehaving(answer: Answer) -> Iterator[tuple[str, list[SampleRange]]]:
    """A server whose request i is answered by `answer(handler, spec, samples, i)`, and what it was asked."""
    asked: list[SampleRange] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            samples = SampleRange(**{name: query.pop(name) for name in ("seed", "split", "start", "count")})
            asked.append(samples)
            answer(self, StreamSpec(**query), samples, len(asked) - 1)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def body(
    spec: StreamSpec, samples: SampleRange, batch_rows: int = 100, fingerprint: str | None = None
) -> bytes:
    made = list(batches(spec, samples, batch_rows))
    found = schema(spec, samples, fingerprint) if fingerprint else made[0].schema
    made = [batch.replace_schema_metadata(found.metadata) for batch in made]
    return b"".join(bytes(buffer) for buffers in write_stream(made, found) for buffer in buffers)


def send(
    handler: BaseHTTPRequestHandler, content: bytes, length: int | None = None, status: int = 200
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)
    if length is not None:
        handler.close_connection = True


def rows(made: Iterator[pa.RecordBatch]) -> list[dict]:
    return pa.Table.from_batches(list(made)).to_pylist()


@pytest.mark.parametrize(("connections", "request_samples"), [(1, None), (2, 97), (3, 1000), (4, 5000)])
def test_any_cut_into_requests_gives_the_same_samples(server, connections, request_samples):
    made = stream(
        server, SPEC, 3, "valid", 10, 2500, connections=connections, request_samples=request_samples
    )
    assert rows(made) == generate(SPEC, 3, "valid", 10, 2500).to_pylist()


def test_samples_of_varying_shape_and_operation_arrive_as_generated(server):
    spec = StreamSpec(operation="add,eigenvalues", dim="1-6", noise=0.1)
    assert rows(stream(server, spec, 0, "train", 0, 700)) == generate(spec, 0, "train", 0, 700).to_pylist()


def test_every_batch_says_the_range_that_was_asked_for(server):
    made = list(stream(server, SPEC, 0, "test", 5, 400, request_samples=150))
    assert {provenance(batch.schema)["start"] for batch in made} == {"5"}
    assert {provenance(batch.schema)["count"] for batch in made} == {"400"}


def test_a_cut_answer_is_asked_for_again_from_the_first_missing_sample_only():
    def cut_once(handler, spec, samples, number):
        whole = body(spec, samples)
        send(handler, whole[: len(whole) // 2], len(whole)) if number == 0 else send(handler, whole)

    with misbehaving(cut_once) as (url, asked):
        made = rows(stream(url, SPEC, 0, "train", 0, 1000, connections=1))
    assert made == generate(SPEC, 0, "train", 0, 1000).to_pylist()
    assert [samples.start for samples in asked] == [0, 400]
    assert [samples.count for samples in asked] == [1000, 600]


def _flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: whole[:-8], "end mark"),
        (lambda whole: whole[: len(whole) // 2], "cut|damaged"),
        (lambda whole: whole + b"more", "do not belong"),
        (lambda whole: _flip(whole, len(whole) * 3 // 4), "damaged"),
        (lambda whole: b"", "cut|damaged"),
        (lambda whole: b"<html>a proxy's error page</html>", "cut|damaged"),
    ],
)
def test_an_answer_that_is_always_damaged_is_refused_with_a_reason(damage, said):
    def answer(handler, spec, samples, number):
        send(handler, damage(body(spec, samples)))

    with misbehaving(answer) as (url, asked), pytest.raises(StreamError, match=said) as raised:
        rows(stream(url, SPEC, 0, "train", 0, 300))
    assert url in str(raised.value)
    assert sum(samples == asked[-1] for samples in asked) == MAX_WRONG


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"spec": StreamSpec(operation="eigenvalues", dim=3, scale=11)}, "spec"),
        ({"seed": 1}, "seed"),
        ({"split": "test"}, "split"),
        ({"start": 7}, "start"),
        ({"count": 299}, "count"),
    ],
)
def test_the_answer_to_another_question_is_refused_naming_what_differs(other, named):
    def answer(handler, spec, samples, number):
        changed = samples.model_copy(update={name: v for name, v in other.items() if name != "spec"})
        send(handler, body(other.get("spec", spec), changed))

    with misbehaving(answer) as (url, _), pytest.raises(StreamError, match=rf"\b{named} is"):
        rows(stream(url, SPEC, 0, "train", 0, 300))


def test_a_busy_generator_is_asked_again_after_the_time_it_names():
    def busy_once(handler, spec, samples, number):
        if number:
            send(handler, body(spec, samples))
            return
        handler.send_response(503)
        handler.send_header("Retry-After", "1")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with misbehaving(busy_once) as (url, asked):
        started = time.monotonic()
        made = rows(stream(url, SPEC, 0, "train", 0, 50))
    assert len(made) == 50
    assert len(asked) == 2
    assert time.monotonic() - started >= 1


def test_a_generator_that_fails_is_not_asked_forever():
    def fail(handler, spec, samples, number):
        send(handler, b'{"detail": "the service failed"}', status=500)

    with (
        misbehaving(fail) as (url, asked),
        pytest.raises(StreamError, match="answered 500: the service failed"),
    ):
        rows(stream(url, SPEC, 0, "train", 0, 50))
    assert sum(samples == asked[-1] for samples in asked) == MAX_WRONG


def test_a_refusal_is_not_asked_again_and_keeps_the_generators_words():
    def refuse(handler, spec, samples, number):
        send(handler, b'{"detail": "dim=3: must be at most 2 on this service"}', status=422)

    with (
        misbehaving(refuse) as (url, asked),
        pytest.raises(StreamError, match="422: dim=3: must be at most 2"),
    ):
        rows(stream(url, SPEC, 0, "train", 0, 50))
    assert len(asked) == 1


def test_a_dead_generator_is_replaced_by_a_living_one(server, start_server):
    dead = start_server()
    dead.process.kill()
    dead.process.wait()
    made = rows(stream([dead.url, server], SPEC, 0, "train", 0, 900, request_samples=300))
    assert made == generate(SPEC, 0, "train", 0, 900).to_pylist()


def test_a_generator_that_dies_in_the_middle_is_replaced(server, start_server):
    dying = start_server()
    made = stream([dying.url, server], SPEC, 0, "train", 0, 200_000, request_samples=10_000)
    first = next(made)
    dying.process.kill()
    taken = first.num_rows
    for batch in made:
        assert batch.column("index")[0].as_py() == taken
        taken += batch.num_rows
    assert taken == 200_000


def test_an_unreachable_generator_is_an_error_that_names_it():
    with pytest.raises(StreamError, match=re.escape("http://127.0.0.1:9")):
        rows(stream("http://127.0.0.1:9", SPEC, 0, "train", 0, 5, patience=0.5))


def _on_another_machine(handler, spec, samples, number):
    send(handler, body(spec, samples, fingerprint="another machine"))


def _fingerprints(made: list[pa.RecordBatch]) -> set[str]:
    return {provenance(batch.schema)["fingerprint"] for batch in made}


def test_generators_with_other_numerics_are_not_mixed(server):
    with misbehaving(_on_another_machine) as (url, asked):
        made = list(stream([server, url], SPEC, 0, "train", 0, 900, request_samples=300, connections=1))
    assert rows(made) == generate(SPEC, 0, "train", 0, 900).to_pylist()
    assert _fingerprints(made) == {numerics.fingerprint()}
    assert asked


def test_other_numerics_alone_are_an_error_that_says_how_to_take_them(server):
    with misbehaving(_on_another_machine) as (url, _), Client(url) as client:
        client.replicas.expect("this machine")
        with pytest.raises(StreamError, match=r"another machine.*this machine.*fetch\.numerics=any"):
            list(client.stream(SPEC, 0, "train", 0, 5))


def test_other_numerics_are_taken_and_noted_where_any_are_welcome(server):
    with misbehaving(_on_another_machine) as (url, _), Client([server, url], numerics="any") as client:
        made = list(client.stream(SPEC, 0, "train", 0, 900, request_samples=300, connections=1))
    assert rows(made) == generate(SPEC, 0, "train", 0, 900).to_pylist()
    assert client.replicas.fingerprints == [numerics.fingerprint(), "another machine"]
    assert _fingerprints(made) == set(client.replicas.fingerprints)


EVIL = "\x1b]0;pwned\x07\x1b[31mEVIL" + 20_000 * "x"


def _evil_header(status: int, name: str, value: str = EVIL) -> Answer:
    def answer(handler, spec, samples, number):
        handler.send_response(status)
        handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def _evil_fingerprint(handler, spec, samples, number):
    send(handler, body(spec, samples, fingerprint=EVIL))


def _evil_metadata(handler, spec, samples, number):
    sink = io.BytesIO()
    [batch] = batches(spec, samples, samples.count)
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch, custom_metadata={EVIL: EVIL})
    send(handler, sink.getvalue())


def _evil_column(handler, spec, samples, number):
    [batch] = batches(spec, samples, samples.count)
    names = [EVIL, *batch.schema.names[1:]]
    made = pa.Table.from_batches([batch]).rename_columns(names).replace_schema_metadata(batch.schema.metadata)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    send(handler, sink.getvalue())


@pytest.mark.parametrize(
    "answer",
    [
        _evil_header(200, "Content-Type", f"text/{EVIL}"),
        _evil_header(200, "Content-Encoding"),
        _evil_header(302, "Location", f"http://{EVIL}"),
        lambda handler, *_: send(handler, EVIL.encode(), status=500),
        _evil_fingerprint,
        _evil_metadata,
        _evil_column,
    ],
    ids=["type", "encoding", "location", "error", "fingerprint", "metadata", "column"],
)
def test_what_a_generator_says_is_shown_as_a_short_line_that_a_terminal_can_take(server, answer, caplog):
    with misbehaving(answer) as (url, asked):
        with caplog.at_level("DEBUG", "matstream.trainer"), Client([url, server]) as client:
            list(client.stream(SPEC, 0, "train", 0, 900, request_samples=300))
        with pytest.raises(StreamError) as refused, Client(url) as alone:
            list(alone.stream(SPEC, 0, "train", 0, 5))
    assert asked
    assert client.replicas.fingerprints == [numerics.fingerprint()]
    assert alone.replicas.fingerprints == []
    for said in (str(refused.value), *(record.getMessage() for record in caplog.records)):
        assert said.isprintable()
        assert len(said) < 400


def test_a_slow_reader_makes_the_client_wait_not_hoard():
    def answer(handler, spec, samples, number):
        send(handler, body(spec, samples))

    with misbehaving(answer) as (url, asked):
        made = stream(url, SPEC, 0, "train", 0, 100_000, connections=2, request_samples=100)
        next(made)
        time.sleep(0.5)
        assert len(asked) <= 3
        made.close()


def test_a_loopback_generator_is_reached_whatever_proxy_is_set(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert len(rows(stream(server, SPEC, 0, "train", 0, 5))) == 5


@pytest.mark.parametrize(
    ("address", "named"),
    [((-1, "train", 0, 5), "seed"), ((0, "dev", 0, 5), "split"), ((0, "train", 0, 0), "count")],
)
def test_a_bad_address_is_refused_before_anything_is_asked(address, named):
    with pytest.raises(ValueError, match=named):
        stream("http://127.0.0.1:9", SPEC, *address)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "http://", "http://localhost:99999", "http://localhost:x", ""]
)
def test_what_is_no_url_is_refused_before_anything_is_asked(url):
    with pytest.raises(UserError, match="must be a URL"):
        stream(url, SPEC, 0, "train", 0, 5)


@pytest.mark.parametrize("changed", [{"urls": []}, {"connections": 0}, {"request_samples": 0}])
def test_no_urls_connections_or_samples_are_refused(changed):
    with pytest.raises(ValueError, match="at least one"):
        stream(
            **{"urls": "http://localhost:1", "spec": SPEC, "seed": 0, "split": "train"} | changed,
            start=0,
            count=5,
        )


def test_time_spent_receiving_is_no_reason_to_give_up():
    def slow_and_cut_once(handler, spec, samples, number):
        whole = body(spec, samples)
        if number:
            send(handler, whole)
            return
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(whole[: len(whole) // 2])
        handler.wfile.flush()
        time.sleep(1)
        handler.close_connection = True

    with misbehaving(slow_and_cut_once) as (url, asked):
        made = rows(stream(url, SPEC, 0, "train", 0, 1000, patience=0.5))
    assert made == generate(SPEC, 0, "train", 0, 1000).to_pylist()
    assert len(asked) == 2


def test_a_stream_that_is_cancelled_ends_at_once_though_its_generator_hangs():
    ended = threading.Event()
    cancelled = threading.Event()
    with misbehaving(lambda *_: ended.wait(30)) as (url, _):
        threading.Timer(0.2, cancelled.set).start()
        begun = time.monotonic()
        with pytest.raises(StreamError, match="cancelled"):
            rows(stream(url, SPEC, 0, "train", 0, 5, cancelled=cancelled))
        assert time.monotonic() - begun < 2
        ended.set()


def test_the_arrays_of_a_batch_are_views_of_what_arrived(server):
    batch = next(stream(server, SPEC, 0, "train", 0, 5))
    samples = from_batch(batch)
    assert not samples.input.flags.owndata
    np.testing.assert_array_equal(samples.index, np.arange(5))
