"""Samples over HTTP: ranges of a stream, several requests at a time, in order, every batch verified."""

import asyncio
import atexit
import threading
from collections import abc, deque
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import closing
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import pyarrow as pa

from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import provenance, schema
from matstream.trainer.client.replicas import PATIENCE, Batches, Numerics, Replicas, StreamError, sample_bytes

Streamed: TypeAlias = abc.Generator[pa.RecordBatch, None, None]

REQUEST_BYTES = 8 << 20  # of input and target in one request: what a connection may hold in memory
MAX_REQUEST_SAMPLES = 65536

Result = TypeVar("Result")


class Client:
    """Streams from generators that serve the same streams. A client may read any number of streams, one after
    another or at once.

    Requests are made by a thread of its own, which `close` ends.
    """

    def __init__(
        self, urls: str | Sequence[str], *, patience: float = PATIENCE, numerics: Numerics = "same"
    ) -> None:
        """Once requests to all generators have failed, the client goes on asking for `patience` seconds
        before that is an error; a request that is then under way has its own time limit. With
        numerics="same", samples whose fingerprint is not that of the first ones are wrong answers.

        Raises UserError for an invalid URL, and for an environment in which no request can be made.
        """
        urls = [urls] if isinstance(urls, str) else list(urls)
        if not urls:
            raise ValueError(f"{urls=}: must be at least one")
        self.replicas = Replicas(urls, patience, numerics)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None  # in which the loop runs
        self._beginning = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the requests under way, and end the thread and its connections."""
        with self._beginning:
            loop, self._loop = self._loop, None
        atexit.unregister(self.close)
        if loop is not None and self._thread is not None and self._thread.is_alive():  # not in a fork
            asyncio.run_coroutine_threadsafe(self._end(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def stream(
        self,
        spec: StreamSpec,
        seed: int,
        split: str,
        start: int,
        count: int,
        *,
        connections: int = 2,
        request_samples: int | None = None,
        cancelled: threading.Event | None = None,
    ) -> Streamed:
        """Samples [start, start+count) in order, every batch verified before it is yielded.

        The range is cut into requests of `request_samples` (by default about REQUEST_BYTES each), of which
        `connections` are under way at a time, spread over the generators. If a request fails, the next
        generator is asked for its samples, from the first missing one on. Memory is bounded by `connections`
        requests and the one being read, however long the range and however slow the reader. Another thread
        may set `cancelled`, which ends the stream within a second.

        Raises ValueError for an address out of range; StreamError if no generator serves the stream, or only
        with other numerics, if none has answered for `patience` seconds, or if it was cancelled.
        """
        samples = SampleRange.model_validate({"seed": seed, "split": split, "start": start, "count": count})
        if connections < 1 or (request_samples is not None and request_samples < 1):
            raise ValueError(f"{connections=}, {request_samples=}: must be at least one of each")
        size = request_samples or _default_request_samples(spec)
        ranges = (
            samples.model_copy(update={"start": first, "count": min(size, start + count - first)})
            for first in range(start, start + count, size)
        )
        return self.ranges(spec, samples, ranges, connections, cancelled)

    def ranges(
        self,
        spec: StreamSpec,
        samples: SampleRange,
        ranges: Iterator[SampleRange],
        connections: int = 2,
        cancelled: threading.Event | None = None,
    ) -> Streamed:
        """Some ranges of the samples of a stream, in their order, each by one request; otherwise like
        `stream`."""
        cancelled = cancelled or threading.Event()
        fetches = (self._begin(self._fetch(spec, wanted, number)) for number, wanted in enumerate(ranges))
        under_way = deque(islice(fetches, connections))
        try:
            while under_way:
                fetched = self._wait_for(under_way[0], cancelled)
                under_way.popleft()
                under_way.extend(islice(fetches, 1))
                for batch in fetched:
                    # as if one request had brought them all
                    fingerprint = provenance(batch.schema)["fingerprint"]
                    yield batch.replace_schema_metadata(schema(spec, samples, fingerprint).metadata)
        finally:
            for fetch in under_way:
                fetch.cancel()

    def _begin(self, fetch: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a task in the client's thread.

        The thread is a daemon, so that a client that nobody closed does not keep the process alive; such a
        client is closed when the process ends, while the thread still runs. The thread itself does not call
        pyarrow, which would abort a process that ends meanwhile.
        """
        with self._beginning:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run, args=(self._loop,), name="matstream-client", daemon=True
                )
                self._thread.start()
                atexit.register(self.close)
            return asyncio.run_coroutine_threadsafe(fetch, self._loop)

    def _wait_for(self, fetch: Future[Batches], cancelled: threading.Event) -> Batches:
        while not cancelled.is_set():
            if wait([fetch], timeout=0.1).done:
                try:
                    return fetch.result()
                except CancelledError:
                    raise StreamError("the stream was cancelled: its client is closed") from None
        raise StreamError("the stream was cancelled")

    async def _fetch(self, spec: StreamSpec, wanted: SampleRange, number: int) -> Batches:
        """All batches of a range. Request `number` goes first to generator `number` mod their count."""
        batches: Batches = []
        while (done := sum(batch.num_rows for batch in batches)) < wanted.count:
            missing = {"start": wanted.start + done, "count": wanted.count - done}
            batches += await self.replicas.answer(spec, wanted.model_copy(update=missing), number)
        return batches

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.replicas.close()


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
    patience: float = PATIENCE,
    numerics: Numerics = "same",
) -> Streamed:
    """Samples [start, start+count) in order, from the generators at `urls`, as Client.stream brings them.

    Raises what Client and its stream raise.
    """
    client = Client(urls, patience=patience, numerics=numerics)
    batches = client.stream(
        spec,
        seed,
        split,
        start,
        count,
        connections=connections,
        request_samples=request_samples,
        cancelled=cancelled,
    )

    def all_of_them() -> Streamed:
        with client, closing(batches):
            yield from batches

    return all_of_them()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _default_request_samples(spec: StreamSpec) -> int:
    return max(1, min(MAX_REQUEST_SAMPLES, REQUEST_BYTES // sample_bytes(spec)))
