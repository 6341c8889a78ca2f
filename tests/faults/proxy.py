"""A proxy before a generator: it passes requests on, except those that it hands to a misbehaviour.

    with misbehaving(generator, MISBEHAVIOURS["reset"], every_third) as proxy:
        stream(proxy.url, ...)

A connection carries one request. What misbehaves without end does so until the proxy is left.
"""

import http.client
import io
import itertools
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa

from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import MEDIA_TYPE, read_stream, schema, write_stream

BLOCK = bytes(1 << 16)


@dataclass(frozen=True)
class Exchange:
    """A client that has asked, what it asked, and the generator that knows the answer."""

    client: socket.socket
    head: bytes  # of the request, as it came
    generator: str  # host:port
    left: threading.Event  # the proxy is to close

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    def answer(self) -> bytes:
        """The body that the generator answers with."""
        connection = http.client.HTTPConnection(self.generator, timeout=30)
        connection.request("GET", self.target)
        try:
            return connection.getresponse().read()
        finally:
            connection.close()

    def send(self, pieces: Iterable[bytes], *, pause: float = 0.0) -> None:
        """Send bytes, waiting `pause` seconds before each piece, until the proxy is to close."""
        for piece in pieces:
            if self.left.wait(pause) if pause else self.left.is_set():
                return
            self.client.sendall(piece)

    def begin(self, status: int = 200, **headers: object) -> None:
        """Send the head of an answer. Without content_length its body ends with the connection."""
        headers = {"content_type": MEDIA_TYPE, "connection": "close"} | headers
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        reason = http.client.responses[status]
        self.client.sendall("\r\n".join([f"HTTP/1.1 {status} {reason}", *lines, "", ""]).encode())


Misbehaviour = Callable[[Exchange], None]
Rule = Callable[[int], bool]  # whether the request of this number, from 0, is answered badly


def always(number: int) -> bool:
    return True


def every_third(number: int) -> bool:
    return number % 3 == 2


def pass_on(exchange: Exchange) -> None:
    """Answer as the generator does, byte for byte, and close the connection."""
    host, port = exchange.generator.split(":")
    line, rest = exchange.head.split(b"\r\n", 1)
    with socket.create_connection((host, int(port)), timeout=60) as generator:
        generator.sendall(line + b"\r\nConnection: close\r\n" + rest)
        while data := generator.recv(1 << 18):
            exchange.client.sendall(data)


def answering(status: int, body: bytes = b"", **headers: object) -> Misbehaviour:
    """This status, with this body."""

    def misbehave(exchange: Exchange) -> None:
        exchange.begin(status, **{"content_type": "text/plain", "content_length": len(body)} | headers)
        exchange.send([body])

    return misbehave


def changed(change: Callable[[bytes], bytes]) -> Misbehaviour:
    """The generator's answer, its body changed, with a length that fits."""

    def misbehave(exchange: Exchange) -> None:
        body = change(exchange.answer())
        exchange.begin(content_length=len(body))
        exchange.send([body])

    return misbehave


def computed_elsewhere(exchange: Exchange) -> None:
    """The same samples as a generator of other numerics would send them: valid, of another fingerprint."""
    query = dict(parse_qsl(urlsplit(exchange.target).query))
    samples = SampleRange(**{name: query.pop(name) for name in ("seed", "split", "start", "count")})
    query.pop("batch_rows", None)
    spec = StreamSpec(**query)
    of_another = schema(spec, samples, "another machine")
    batches = [
        batch.replace_schema_metadata(of_another.metadata)
        for batch in read_stream(io.BytesIO(exchange.answer()), spec, samples)
    ]
    body = b"".join(bytes(buffer) for buffers in write_stream(batches, of_another) for buffer in buffers)
    exchange.begin(content_length=len(body))
    exchange.send([body])


def dripping(period: float) -> Misbehaviour:
    """The generator's answer, a byte each `period` seconds."""

    def misbehave(exchange: Exchange) -> None:
        body = exchange.answer()
        exchange.begin(content_length=len(body))
        exchange.send((body[i : i + 1] for i in range(len(body))), pause=period)

    return misbehave


def slow(bytes_per_second: int) -> Misbehaviour:
    """The generator's answer at this speed."""

    def misbehave(exchange: Exchange) -> None:
        body, piece = exchange.answer(), bytes_per_second // 20
        exchange.begin(content_length=len(body))
        exchange.send((body[i : i + piece] for i in range(0, len(body), piece)), pause=1 / 20)

    return misbehave


def stalling(share: float) -> Misbehaviour:
    """This share of the generator's answer, then nothing."""

    def misbehave(exchange: Exchange) -> None:
        if share:
            body = exchange.answer()
            exchange.begin(content_length=len(body))
            exchange.send([body[: int(share * len(body))]])
        exchange.left.wait()

    return misbehave


def reset(exchange: Exchange) -> None:
    """The connection is reset."""
    exchange.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def cut(where: Callable[[bytes], int]) -> Misbehaviour:
    """The generator's answer, cut at a byte as if it ended there."""

    def misbehave(exchange: Exchange) -> None:
        body = exchange.answer()
        exchange.begin()
        exchange.send([body[: where(body)]])

    return misbehave


def end_of_a_batch(body: bytes) -> int:
    """Where the first record batch of a stream ends."""
    reader = pa.ipc.MessageReader.open_stream(body)
    message = next(message for message in reader if message.type == "record batch")
    return body.index(message.body.to_pybytes()) + message.body.size


def flip(body: bytes) -> bytes:
    """One bit of one byte is another."""
    place = len(body) * 3 // 4
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def forged_metadata_length(exchange: Exchange) -> None:
    """The first message says that its metadata are 2 GiB long, and bytes follow without end."""
    exchange.begin()
    exchange.send(itertools.chain([struct.pack("<Ii", 0xFFFFFFFF, 2**31 - 1)], itertools.repeat(BLOCK)))


def forged_body_length(exchange: Exchange) -> None:
    """The first record batch says that it is 2^40 bytes long, and bytes follow without end."""
    body = exchange.answer()
    message = next(m for m in pa.ipc.MessageReader.open_stream(body) if m.type == "record batch")
    head = body[: body.index(message.body.to_pybytes())]
    true, forged = (struct.pack("<q", size) for size in (message.body.size, 2**40))
    place = head.rindex(true)
    exchange.begin()
    exchange.send(itertools.chain([head[:place] + forged + head[place + 8 :]], itertools.repeat(BLOCK)))


def endless(status: int) -> Misbehaviour:
    """This status, and a body without end."""

    def misbehave(exchange: Exchange) -> None:
        exchange.begin(status)
        exchange.send(itertools.repeat(BLOCK))

    return misbehave


def endless_head(exchange: Exchange) -> None:
    """A head whose lines have no end."""
    exchange.client.sendall(b"HTTP/1.1 200 OK\r\n")
    exchange.send(f"X-{number}: {'x' * 1000}\r\n".encode() for number in itertools.count())


def gzip_bomb(exchange: Exchange) -> None:
    """503 with 3 MB of gzip that are 3 GB unpacked."""
    gzip = zlib.compressobj(level=9, wbits=31)
    opening, zeros = (
        gzip.compress(bytes(1 << 20)) + gzip.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )  # after a full flush the same bytes mean the same again
    body = opening + zeros * 3000
    exchange.begin(503, content_encoding="gzip", content_length=len(body))
    exchange.send([body])


DAY = 86_400  # seconds
ELSEWHERE = "http://192.0.2.1/"  # an address that nobody has
PAGE = b"<!doctype html><html><title>Sign in</title><p>Sign in to use this network.</html>"
DEEP = b'{"detail": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

MISBEHAVIOURS: dict[str, Misbehaviour] = {
    # what it answers is wrong
    "301 to elsewhere": answering(301, location=ELSEWHERE),
    "302 to elsewhere": answering(302, location=ELSEWHERE),
    "401": answering(401, b'{"detail": "no key"}', content_type="application/json"),
    "404": answering(404, b'{"detail": "Not Found"}', content_type="application/json"),
    "500": answering(500, b'{"detail": "the service failed"}', content_type="application/json"),
    "200 that is HTML": answering(200, PAGE, content_type="text/html; charset=utf-8"),
    "another fingerprint": computed_elsewhere,
    "a flipped bit": changed(flip),
    "bytes after the end": changed(lambda body: body + b"more"),
    "cut at the end of a batch": cut(end_of_a_batch),
    "cut within a batch": cut(lambda body: len(body) // 2),
    # it is busy, or says so
    "408": answering(408),
    "429, Retry-After of a day": answering(429, retry_after=DAY),
    "502": answering(502),
    "502 with JSON 100,000 deep": answering(502, DEEP, content_type="application/json"),
    "503, Retry-After of a day": answering(503, retry_after=DAY),
    "503 that claims gzip and is not": answering(503, b"not gzip", content_encoding="gzip"),
    # it takes its time
    "a byte every 2 s": dripping(2),
    "100 KB/s": slow(100_000),
    "accepts, and is silent": stalling(0),
    "stops in the middle": stalling(0.5),
    "reset": reset,
    # it sends what no memory holds
    "2 GiB of metadata, endless": forged_metadata_length,
    "a batch of 2^40 bytes, endless": forged_body_length,
    "500 with an endless body": endless(500),
    "an endless head": endless_head,
    "503 with 3 MB of gzip that are 3 GB": gzip_bomb,
}


@dataclass
class Proxy:
    """A proxy that is running, and what it was asked."""

    url: str
    asked: list[str] = field(default_factory=list)  # targets of the requests, in the order they came
    misbehaved: int = 0  # of these


@contextmanager
def misbehaving(generator: str, misbehaviour: Misbehaviour, when: Rule = always) -> Iterator[Proxy]:
    """A proxy before the generator at a URL, which answers badly the requests that the rule names."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    proxy = Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
    left, lock = threading.Event(), threading.Lock()

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    def serve(client: socket.socket) -> None:
        head = b""
        try:
            while b"\r\n\r\n" not in head:
                data = client.recv(1 << 16)
                if not data:
                    return
                head += data
            exchange = Exchange(client, head, urlsplit(generator).netloc, left)
            with lock:
                badly = when(len(proxy.asked))
                proxy.asked.append(exchange.target)
                proxy.misbehaved += badly
            (misbehaviour if badly else pass_on)(exchange)
        except (OSError, http.client.HTTPException):  # either side has gone
            pass
        finally:
            client.close()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield proxy
    finally:
        left.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextmanager
def unreachable() -> Iterator[str]:
    """The URL of a generator that is not there: nothing listens on its port, and nothing else will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"
