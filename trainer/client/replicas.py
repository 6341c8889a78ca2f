"""Asking generators for samples, in turn and repeatedly, until one has answered rightly."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Literal

import pyarrow as pa
import stamina

from matstream.shared.errors import UserError, first_line
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import WireError, largest_stream, provenance, read_stream
from matstream.trainer.client.generators import MAX_RETRY_AFTER, Generator, UnavailableError, WrongError
from matstream.trainer.client.waiting import LoggedWaiting, Waiting

LEAST_BATCH_BYTES = 32 << 10  # of samples in a batch that is not the last; generators make far larger ones
PATIENCE = 60.0  # seconds after a failure in which some generator must answer rightly

Batches = list[pa.RecordBatch]
Numerics = Literal["same", "any"]
Failure = tuple[Generator, UnavailableError | WrongError]

logger = logging.getLogger(__name__)


class StreamError(UserError):
    """A stream that cannot be had: unreachable, refused, or wrong every time it was asked for."""


class _NoAnswerError(Exception):
    """No generator that was asked has answered rightly."""

    def __init__(self, failures: list[Failure]) -> None:
        super().__init__("; ".join(f"{generator.name}: {first_line(error)}" for generator, error in failures))
        self.failures = failures
        named = [error.seconds for _, error in failures if isinstance(error, UnavailableError)]
        # for which all of them ask to be left alone
        self.seconds = min((s for s in named if s), default=None) if len(named) == len(failures) else None


class Replicas:
    """Generators that serve the same streams, and what is known of them; used by the tasks of one event
    loop."""

    def __init__(self, urls: Sequence[str], patience: float, numerics: Numerics) -> None:
        """Raises UserError for an invalid URL, and for an environment in which no request can be made."""
        self.patience = patience
        self.on_waiting: Callable[[Waiting | None], None] = LoggedWaiting()
        self.fingerprints: list[str] = []  # of the samples taken, in the order in which they were first met
        self._numerics = numerics
        self._generators = [Generator(url) for url in urls]
        self._trouble_since: float | None = None  # when all generators failed, if none has answered since
        self._usual: dict[StreamSpec, float] = {}  # bytes a second of the best answer

    def expect(self, fingerprint: str) -> None:
        """With numerics="same", take only samples of this fingerprint. To be called before any are taken."""
        if not self.fingerprints:
            self.fingerprints.append(fingerprint)

    async def answer(self, spec: StreamSpec, missing: SampleRange, number: int) -> Batches:
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
        """The batches of the first generator that brings any; those that rest are asked only if all rest."""
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
        """The verified batches that one generator brings, and the error if they are not all."""
        now = time.monotonic()
        others = [other for other in self._generators if other is not generator and other.rests_until <= now]
        one = sample_bytes(spec)
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
        # in a thread for which the process waits when it ends
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
        """Whether samples with the fingerprint of this batch are taken; a new fingerprint is noted."""
        found = provenance(batch.schema)["fingerprint"]
        if self.fingerprints and self._numerics == "same":
            return found == self.fingerprints[-1]
        if found not in self.fingerprints:
            self.fingerprints.append(found)
        return True

    async def close(self) -> None:
        for generator in self._generators:
            await generator.close()


def _log(failures: list[Failure]) -> None:
    """Log the first, the second, the fourth, the eighth, … failure of each generator."""
    for generator, error in failures:
        if generator.failures.bit_count() == 1:
            logger.warning(
                "%s: %s; asked again (failure %d)", generator.name, first_line(error), generator.failures
            )


def _verified(
    body: bytearray, spec: StreamSpec, wanted: SampleRange
) -> tuple[Batches, WrongError | UnavailableError | None]:
    """The batches of an answer up to the first that is wrong, and what is wrong if they are not all."""
    batches: Batches = []
    try:
        for batch in read_stream(_Bytes(body), spec, wanted):
            batches.append(batch)
    except WireError as error:
        if (
            sum(batch.num_rows for batch in batches) == wanted.count
        ):  # wrong at its end: ask for the last again
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
        f"{who} computes with numerics {found}, the samples so far came from {expected}: they may differ in "
        "their last bits; use equal machines (see /version), or take any with fetch.numerics=any"
    )


def sample_bytes(spec: StreamSpec) -> int:
    """The bytes of the input and target of the largest sample of a spec."""
    return 8 * spec.max_entries(*spec.extreme_dims()[1])
