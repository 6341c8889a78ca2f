"""Ranges over HTTP: several at once, in order, verified, asked again, from whichever generator answers."""

import asyncio
import atexit
import logging
import threading
import time
from collections import abc, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import closing
from itertools import islice
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeAlias, TypeVar

import pyarrow as pa
import stamina

from matstream.shared.errors import UserError, first_line
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import WireError, largest_stream, provenance, read_stream, schema
from matstream.trainer.generators import MAX_RETRY_AFTER, Generator, UnavailableError, WrongError

Streamed: TypeAlias = abc.Generator[pa.RecordBatch, None, None]

REQUEST_BYTES = 8 << 20  # of input and target in one request: what a connection may hold in memory
MAX_REQUEST_SAMPLES = 65536
LEAST_BATCH_BYTES = 32 << 10  # of samples in a batch that is not the last; generators make far larger ones
LONG_WAIT = 2.0  # seconds that are worth a line
PATIENCE = 60.0  # seconds after a failure without a right answer of any generator, then that is an error

Batches = list[pa.RecordBatch]
Numerics = Literal["same", "any"]
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


Failure = tuple[Generator, UnavailableError | WrongError]


class StreamError(UserError):
    """A stream that cannot be had: unreachable, refused, or wrong every time it was asked for."""


class _NoAnswerError(Exception):
    """No generator that was asked has answered rightly."""

    def __init__(self, failures: list[Failure]) -> None:
        super().__init__("; ".join(f"{generator.name}: {first_line(error)}" for generator, error in failures))
        self.failures = failures
        named = [error.seconds for _, error in failures if isinstance(error, UnavailableError)]
        # for which all of them want to be left in peace
        self.seconds = min((s for s in named if s), default=None) if len(named) == len(failures) else None


class Waiting(NamedTuple):
    """What the client waits for: the trouble with the generators, how long it has lasted, and how many more
    seconds it may."""

    reason: str
    waited: float
    left: float


class Client:
    """Generators that serve the same streams, and what is known of them, for as many streams as one likes.

    Requests are made by a thread of its own, which `close` ends.
    """

    def __init__(
        self, urls: str | Sequence[str], *, patience: float = PATIENCE, numerics: Numerics = "same"
    ) -> None:
        """`patience` is the time in seconds that all generators together may be away, after a request to each
        has failed, before that is an error; a request that is under way then has its own time.
        With numerics="same", samples of another fingerprint than the first are wrong answers.

        Raises UserError for a URL that is none, and for an environment in which no request can be made.
        """
        urls = [urls] if isinstance(urls, str) else list(urls)
        if not urls:
            raise ValueError(f"{urls=}: must be at least one")
        self.patience = patience
        self.on_waiting: Callable[[Waiting | None], None] = LoggedWaiting()
        self.fingerprints: list[str] = []  # whose samples were taken, in the order of their first
        self._numerics = numerics
        self._generators = [Generator(url) for url in urls]
        self._trouble_since: float | None = None  # when all generators failed, if none has answered since
        self._usual: dict[StreamSpec, float] = {}  # bytes a second of the best answer
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
        """Give up what is under way, and let go of thread and connections."""
        with self._beginning:
            loop, self._loop = self._loop, None
        atexit.unregister(self.close)
        if loop is not None and self._thread is not None and self._thread.is_alive():  # a fork has it not
            asyncio.run_coroutine_threadsafe(self._end(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def expect(self, fingerprint: str) -> None:
        """Take no samples of other numerics than these, as long as numerics="same". Before any is taken."""
        if not self.fingerprints:
            self.fingerprints.append(fingerprint)

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
        `connections` are under way at a time, spread over the generators. What fails is asked for again, from
        the first missing sample on, from the next generator. Memory is bounded by `connections` requests and
        the one being read, however long the range and however slow the reader. Another thread may set
        `cancelled`, which ends it within a second.

        Raises ValueError for an address out of range; StreamError for a stream that no generator serves, or
        only in other numerics, that none has answered for `patience` seconds, or that was cancelled.
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
        """Some ranges of the samples of a stream, in their order, each by a request; otherwise as
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

        It is a daemon, so that a client that nobody closed does not keep a process alive; that is closed when
        the process ends, while the thread still runs. It reads nothing by pyarrow itself, which would abort a
        process that ends meanwhile.
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
        """All batches of a range; request `number` goes first to generator `number` mod their count."""
        batches: Batches = []
        while (done := sum(batch.num_rows for batch in batches)) < wanted.count:
            missing = {"start": wanted.start + done, "count": wanted.count - done}
            batches += await self._ask_until_answered(spec, wanted.model_copy(update=missing), number)
        return batches

    async def _ask_until_answered(self, spec: StreamSpec, missing: SampleRange, number: int) -> Batches:
        """The first of the missing samples, at least one.

        Raises StreamError once every generator is wrong, or none has answered for `patience` seconds.
        """

        def ask_again(error: Exception) -> bool | float:
            if not isinstance(error, _NoAnswerError) or all(
                generator.is_wrong for generator in self._generators
            ):
                return False
            now = time.monotonic()
            since = now if self._trouble_since is None else self._trouble_since
            waiting = Waiting(str(error), now - since, since + self.patience - now)
            if waiting.left <= 0:
                return False
            if self._trouble_since is None:
                _log(error.failures)
            self._trouble_since = since
            self.on_waiting(waiting)
            if error.seconds is None:
                return True
            return min(error.seconds, MAX_RETRY_AFTER, waiting.left)

        try:
            async for attempt in stamina.retry_context(on=ask_again, attempts=None, timeout=None, wait_max=1):
                with attempt:
                    return await self._ask_each(spec, missing, number)
        except _NoAnswerError as error:
            raise StreamError(str(error)) from error
        raise AssertionError  # the loop above returns or raises

    async def _ask_each(self, spec: StreamSpec, missing: SampleRange, number: int) -> Batches:
        """What the first generator brings that answers; those that rest are asked if no other does."""
        now = time.monotonic()
        turn = [self._generators[(number + i) % len(self._generators)] for i in range(len(self._generators))]
        able = [generator for generator in turn if generator.rests_until <= now]
        asked = able or sorted(turn, key=lambda generator: generator.rests_until)
        failures: list[Failure] = []
        for generator in asked:
            batches, error = await self._ask(generator, spec, missing)
            if error is not None:
                failures.append((generator, error))
            if batches:
                _log(failures)
                return batches
        raise _NoAnswerError(failures)

    async def _ask(
        self, generator: Generator, spec: StreamSpec, missing: SampleRange
    ) -> tuple[Batches, UnavailableError | WrongError | None]:
        """The verified batches that one generator brings, and the error if these are not all."""
        now = time.monotonic()
        others = [other for other in self._generators if other is not generator and other.rests_until <= now]
        one = _sample_bytes(spec)
        body, error = await generator.ask(
            {**spec.fields(), **missing.model_dump()},
            size=one * missing.count,
            most=largest_stream(spec, missing.count, 1 + one * missing.count // LEAST_BATCH_BYTES),
            one=one,
            usual=self._usual.get(spec, 0.0),
            hurried=bool(others),
        )
        if error is None:
            rate = len(body) / (time.monotonic() - now)
            self._usual[spec] = max(rate, self._usual.get(spec, 0.0))
        # by a thread that every process waits for
        try:
            batches, damage = await asyncio.to_thread(_verified, body, spec, missing)
        except RuntimeError:  # the process ends
            raise asyncio.CancelledError from None
        error = error or damage
        if batches and not self._takes(batches[0]):
            found = provenance(batches[0].schema)["fingerprint"]
            error = WrongError(_other_numerics("it", found, self.fingerprints[-1]))
            batches = []
        if error is None:
            generator.note_answer()
        else:
            generator.note_failure(error, time.monotonic() - now, brought_some=bool(batches))
        if batches and self._trouble_since is not None:
            self._trouble_since = None
            self.on_waiting(None)
        return batches, error

    def _takes(self, batch: pa.RecordBatch) -> bool:
        """Whether samples of such numerics are taken; those that are first met are noted."""
        found = provenance(batch.schema)["fingerprint"]
        if self.fingerprints and self._numerics == "same":
            return found == self.fingerprints[-1]
        if found not in self.fingerprints:
            self.fingerprints.append(found)
        return True

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for generator in self._generators:
            await generator.close()


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


def _log(failures: list[Failure]) -> None:
    """Log the first, the second, the fourth, the eighth, … failure of each generator."""
    for generator, error in failures:
        if generator.failures.bit_count() == 1:
            logger.warning(
                "%s: %s; asked again (failure %d)", generator.name, first_line(error), generator.failures
            )


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


class LoggedWaiting:
    """Waiting as lines of the log: one when it has lasted, one each time it has doubled, one at its end."""

    def __init__(self) -> None:
        self._next = LONG_WAIT

    def __call__(self, waiting: Waiting | None) -> None:
        if waiting is None:
            if self._next > LONG_WAIT:
                logger.warning("samples arrive again")
            self._next = LONG_WAIT
        elif waiting.waited >= self._next:
            self._next = 2 * waiting.waited
            logger.warning("%s; waiting up to %.0f s more", waiting.reason, waiting.left)


def _verified(
    body: bytearray, spec: StreamSpec, wanted: SampleRange
) -> tuple[Batches, WrongError | UnavailableError | None]:
    """The batches of an answer up to the first that is wrong, and what is wrong if they are not all."""
    batches: Batches = []
    try:
        for batch in read_stream(_Bytes(body), spec, wanted):
            batches.append(batch)
    except WireError as error:
        if sum(batch.num_rows for batch in batches) == wanted.count:  # wrong behind its last: that one again
            batches.pop()
        return batches, WrongError(first_line(error))
    return batches, None


class _Bytes:
    """Bytes as a binary stream, uncopied."""

    def __init__(self, content: bytearray) -> None:
        self._rest = memoryview(content)

    def read(self, size: int, /) -> memoryview:
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _other_numerics(who: str, found: str, expected: str) -> str:
    return (
        f"{who} computes with numerics {found}, the samples so far with {expected}: they may differ in their "
        "last bits; use like machines (see /version), or take any with fetch.numerics=any"
    )


def _sample_bytes(spec: StreamSpec) -> int:
    return 8 * spec.max_entries(*spec.extreme_dims()[1])


def _default_request_samples(spec: StreamSpec) -> int:
    return max(1, min(MAX_REQUEST_SAMPLES, REQUEST_BYTES // _sample_bytes(spec)))
