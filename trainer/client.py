"""Ranges over HTTP: several at once, in order, verified, retried, failed over."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from itertools import cycle, islice

import httpx
import pyarrow as pa
import stamina

from shared.errors import UserError, first_line
from shared.spec import SampleRange, StreamSpec
from shared.urls import LOOPBACK, authorization, host_of
from shared.wire import WireError, provenance, read_stream, schema

REQUEST_BYTES = 8 << 20  # of input and target in one request: what a connection may hold in memory
MAX_REQUEST_SAMPLES = 65536
GIVE_UP_SECONDS = 60.0  # before an unreachable generator is an error
MAX_DAMAGED = 3  # damaged answers to one request before they are an error
MAX_RETRY_AFTER = 15.0  # seconds: a longer wait that a generator asks for is cut to this

_DIRECT: dict[str, None] = {f"all://{f'[{host}]' if ':' in host else host}": None for host in LOOPBACK}


Batches = list[pa.RecordBatch]

logger = logging.getLogger(__name__)


class StreamError(UserError):
    """A stream that cannot be had: unreachable, refused, or damaged every time it was asked for."""


class _BusyError(Exception):
    """A generator that cannot answer now: it may be asked again, after `seconds` if it said so."""

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


class _FailedError(Exception):
    """A generator that failed at a request, as it is likely to do again."""


_PASSING = (WireError, _BusyError, _FailedError, httpx.TransportError)  # asked again


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
    requests and the one being read, however long the range and however slow the reader. Another thread may
    set `cancelled`, which ends it within a second.

    Raises ValueError for an address out of range, UserError for a URL that is none, StreamError for a stream
    that cannot be had, that comes from generators whose numerics fingerprints differ, or was cancelled.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    samples = SampleRange.model_validate({"seed": seed, "split": split, "start": start, "count": count})
    if not urls or connections < 1 or (request_samples is not None and request_samples < 1):
        raise ValueError(f"{urls=}, {connections=}, {request_samples=}: must be at least one of each")
    for url in urls:
        host_of(url)
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
    fetches = (_in_thread(fetcher.fetch, wanted, number) for number, wanted in enumerate(ranges))
    under_way = deque(islice(fetches, connections))
    try:
        while under_way:
            fetched = fetcher.wait_for(under_way.popleft())
            # as if one request had brought them all
            metadata = schema(fetcher.spec, samples, fetcher.fingerprint).metadata
            under_way.extend(islice(fetches, 1))
            for batch in fetched:
                yield batch.replace_schema_metadata(metadata)
    finally:
        fetcher.close()


def _in_thread(
    fetch: Callable[[SampleRange, int], Batches], wanted: SampleRange, number: int
) -> Future[Batches]:
    """Fetch a range in a thread that a process may leave behind: one that hangs in a read ends with it."""
    future: Future[Batches] = Future()

    def work() -> None:
        try:
            future.set_result(fetch(wanted, number))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="matstream-fetch", daemon=True).start()
    return future


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
        self._http = httpx.Client(
            mounts=_DIRECT, timeout=timeout, headers={"Accept-Encoding": "identity"} | authorization()
        )

    def close(self) -> None:
        """Retry nothing any more, and let go of the connections."""
        self._closed = True
        self._http.close()

    def wait_for(self, fetch: Future[Batches]) -> Batches:
        """What a fetch brings. Raises StreamError if it failed, or once the stream is cancelled."""
        while not self._cancelled.is_set():
            if wait([fetch], timeout=0.1).done:
                return fetch.result()
        raise StreamError("the stream was cancelled")

    def fetch(self, wanted: SampleRange, number: int) -> Batches:
        """All batches of a range; request `number` goes first to generator `number` mod their count."""
        batches: Batches = []
        urls = islice(cycle(self.urls), number % len(self.urls), None)
        while _rows(batches) < wanted.count:
            self._fetch_more(wanted, urls, batches)
        return batches

    def _fetch_more(self, wanted: SampleRange, urls: Iterator[str], batches: Batches) -> None:
        """Add to the batches of a range until it is whole, or until a request that has brought some fails.

        Raises StreamError once requests have failed for GIVE_UP_SECONDS and brought nothing.
        """
        had, damaged, url = len(batches), 0, ""

        def ask_again(error: Exception) -> bool | float:
            nonlocal damaged
            damaged += isinstance(error, WireError | _FailedError)
            if damaged >= MAX_DAMAGED or self._closed or not isinstance(error, _PASSING):
                return False
            logger.warning("%s: %s; asking again", url, error)
            return (isinstance(error, _BusyError) and error.seconds) or True

        try:
            for attempt in stamina.retry_context(
                on=ask_again, attempts=None, timeout=GIVE_UP_SECONDS, wait_max=2
            ):
                with attempt:
                    url, done = next(urls), _rows(batches)
                    missing = {"start": wanted.start + done, "count": wanted.count - done}
                    try:
                        for batch in self._request(url, wanted.model_copy(update=missing)):
                            batches.append(batch)
                    except _PASSING as error:
                        if _rows(batches) == wanted.count:  # what fails behind its last batch: that one again
                            batches.pop()
                        if len(batches) <= had or self._closed:
                            raise
                        logger.warning("%s: %s; asking for the rest", url, error)
        except _PASSING as error:
            raise StreamError(f"{url}: {first_line(error)}") from error

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


def _rows(batches: Batches) -> int:
    return sum(batch.num_rows for batch in batches)


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
    if response.status_code >= 500:
        raise _FailedError(answered)
    raise StreamError(f"{url} {answered}")


def _default_request_samples(spec: StreamSpec) -> int:
    return max(1, min(MAX_REQUEST_SAMPLES, REQUEST_BYTES // (8 * spec.max_entries(*spec.extreme_dims()[1]))))


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
