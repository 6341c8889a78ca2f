"""Ranges over HTTP: several at once, in order, verified, retried, failed over."""

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import httpx
import pyarrow as pa
import stamina

from shared.errors import UserError
from shared.operations import OPERATIONS
from shared.spec import SampleRange, StreamSpec
from shared.wire import WireError, provenance, read_stream, schema

REQUEST_BYTES = 8 << 20  # of input and target in one request: what a connection may hold in memory
MAX_REQUEST_SAMPLES = 65536
GIVE_UP_SECONDS = 60.0  # before an unreachable generator is an error
MAX_DAMAGED = 3  # damaged answers to one request before they are an error
MAX_RETRY_AFTER = 15.0  # seconds: a longer wait that a generator asks for is cut to this

# A generator on this machine is reached directly, whatever proxy the environment names.
_DIRECT: dict[str, None] = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}


logger = logging.getLogger(__name__)


class StreamError(UserError):
    """A stream that cannot be had: unreachable, refused, or damaged every time it was asked for."""


class _BusyError(Exception):
    """A generator that cannot answer now: it may be asked again, after `seconds` if it said so."""

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


def stream(
    urls: str | Sequence[str],
    spec: StreamSpec,
    seed: int,
    split: str,
    start: int,
    count: int,
    *,
    connections: int = 2,
    request_samples: int | None = None,
    cancelled: threading.Event | None = None,
) -> Iterator[pa.RecordBatch]:
    """Samples [start, start+count) in order, every batch verified before it is yielded.

    The range is cut into requests of `request_samples` (by default about REQUEST_BYTES each), of which
    `connections` are under way at a time, spread over the generators at `urls`. What fails is asked for
    again, from the first missing sample on, at the next generator. Memory is bounded by `connections`
    requests, however long the range and however slow the reader. Another thread may set `cancelled`, so
    that nothing is asked again.

    Raises ValueError for an address out of range, StreamError for a stream that cannot be had, or that
    comes from generators whose numerics fingerprints differ.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    samples = SampleRange.model_validate({"seed": seed, "split": split, "start": start, "count": count})
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise StreamError(f"generator {url!r}: must be a URL like http://127.0.0.1:8000")
    size = request_samples or _default_request_samples(spec)
    ranges = (
        samples.model_copy(update={"start": first, "count": min(size, start + count - first)})
        for first in range(start, start + count, size)
    )
    return _in_order(_Fetcher(urls, spec, cancelled or threading.Event()), samples, ranges, connections)


def _in_order(
    fetcher: "_Fetcher", samples: SampleRange, ranges: Iterator[SampleRange], connections: int
) -> Iterator[pa.RecordBatch]:
    """The batches of every range, in order, while the ranges after them are being fetched."""
    pool = ThreadPoolExecutor(connections, thread_name_prefix="matstream-fetch")
    under_way: deque[Future[list[pa.RecordBatch]]] = deque()
    try:
        for number, wanted in enumerate(islice(ranges, connections)):
            under_way.append(pool.submit(fetcher.fetch, wanted, number))
        number = len(under_way)
        while under_way:
            fetched = under_way.popleft().result()
            # as if one request had brought them all
            metadata = schema(fetcher.spec, samples, fetcher.fingerprint).metadata
            for wanted in islice(ranges, 1):
                under_way.append(pool.submit(fetcher.fetch, wanted, number))
                number += 1
            for batch in fetched:
                yield batch.replace_schema_metadata(metadata)
    finally:
        fetcher.close()
        pool.shutdown(wait=False, cancel_futures=True)


class _Fetcher:
    """Fetches ranges of one stream from any of several generators; used by several threads."""

    def __init__(self, urls: list[str], spec: StreamSpec, cancelled: threading.Event) -> None:
        self.urls = [url.rstrip("/") for url in urls]
        self.spec = spec
        self.fingerprint = ""  # of the generator that answered first; the others must have the same
        self._cancelled = cancelled
        self._closed = False
        self._lock = threading.Lock()
        timeout = httpx.Timeout(30, connect=10)
        self._http = httpx.Client(mounts=_DIRECT, timeout=timeout, headers={"Accept-Encoding": "identity"})

    def close(self) -> None:
        """Retry nothing any more, and let go of the connections."""
        self._closed = True
        self._http.close()

    def fetch(self, wanted: SampleRange, number: int) -> list[pa.RecordBatch]:
        """All batches of a range; request `number` goes first to generator `number` mod their count."""
        batches: list[pa.RecordBatch] = []
        damaged = 0

        def ask_again(error: Exception) -> bool | float:
            nonlocal damaged
            damaged += isinstance(error, WireError)
            passing = isinstance(error, WireError | _BusyError | httpx.TransportError)
            if not passing or damaged >= MAX_DAMAGED or self._closed or self._cancelled.is_set():
                return False
            logger.warning("%s: %s; asking again", url, error)
            return (isinstance(error, _BusyError) and error.seconds) or True

        attempts = stamina.retry_context(on=ask_again, attempts=None, timeout=GIVE_UP_SECONDS, wait_max=2)
        url = ""
        try:
            for attempt in attempts:
                with attempt:
                    url = self.urls[(number + attempt.num - 1) % len(self.urls)]
                    done = sum(batch.num_rows for batch in batches)
                    if done == wanted.count:  # it failed behind its last batch: that one is asked for again
                        done -= batches.pop().num_rows
                    missing = {"start": wanted.start + done, "count": wanted.count - done}
                    for batch in self._request(url, wanted.model_copy(update=missing)):
                        batches.append(batch)
        except (WireError, _BusyError, httpx.HTTPError) as error:
            raise StreamError(f"{url}: {error or type(error).__name__}") from error
        return batches

    def _request(self, url: str, wanted: SampleRange) -> Iterator[pa.RecordBatch]:
        query = {**self.spec.fields(), **wanted.model_dump()}
        with self._http.stream("GET", f"{url}/v1/stream", params=query) as response:
            _check_status(url, response)
            for batch in read_stream(_Body(response), self.spec, wanted):
                self._check_fingerprint(url, provenance(batch.schema)["fingerprint"])
                yield batch

    def _check_fingerprint(self, url: str, fingerprint: str) -> None:
        with self._lock:
            self.fingerprint = self.fingerprint or fingerprint
        if fingerprint != self.fingerprint:
            raise StreamError(
                f"{url} computes with numerics {fingerprint}, another generator of this stream with "
                f"{self.fingerprint}: their samples may differ; use like machines (see /version)"
            )


def _check_status(url: str, response: httpx.Response) -> None:
    if response.status_code == 200:
        return
    response.read()
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = response.text[:200]
    answered = f"answered {response.status_code}: {detail}"
    if response.status_code in (429, 502, 503, 504):
        retry_after = response.headers.get("retry-after", "")
        seconds = min(float(retry_after), MAX_RETRY_AFTER) if retry_after.isdecimal() else None
        raise _BusyError(answered, seconds)
    if response.status_code >= 500:  # likely to fail again: asked no more often than what is damaged
        raise WireError(answered)
    raise StreamError(f"{url} {answered}")


def _default_request_samples(spec: StreamSpec) -> int:
    m, n = spec.extreme_dims()[1]
    shapes = [
        shape
        for name in spec.operation
        for shape in (OPERATIONS[name].input_shape(m, n), OPERATIONS[name].target_shape(m, n))
    ]
    largest = 8 * max(rows * cols for rows, cols in shapes)
    return max(1, min(MAX_REQUEST_SAMPLES, REQUEST_BYTES // (2 * largest)))


class _Body:
    """A response's body as a binary stream."""

    def __init__(self, response: httpx.Response) -> None:
        self._chunks = response.iter_raw()
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)
