"""Batches -> the pieces of an answer. A batch is made while those before it are sent, and counted once it is
sent."""

import asyncio
import ctypes
import gc
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from time import monotonic, perf_counter
from typing import Any

import pyarrow as pa
from starlette.requests import Request

from matstream.generator_service import numerics
from matstream.generator_service.service import metrics
from matstream.generator_service.service.open_streams import Slot, Slots
from matstream.generator_service.stream import BATCH_BYTES, makers, sample_bytes
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import schema, write_stream

AHEAD = 2  # batches of a stream that are made while one before them is sent, if there is memory for them
TRIM_SECONDS = 1.0  # after the end of a stream, since many may end together
PIECE_BYTES = 256 << 10  # written at once; a connection holds no more of an answer besides its batches


class TimedPool(ThreadPoolExecutor):
    """Threads whose seconds of work are counted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def timed() -> Any:
            started = perf_counter()
            try:
                return fn(*args, **kwargs)
            finally:
                metrics.compute_seconds.inc(perf_counter() - started)

        return super().submit(timed)


async def return_memory(slots: Slots) -> None:
    """Return the memory of streams to the system when some have ended.

    A stream that an exception ended may be held by reference cycles, and freed memory by glibc's malloc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    gc.collect()
    gc.freeze()  # what exists now stays, and need not be searched again

    def collect() -> None:
        gc.collect()
        if trim is not None:
            trim(0)

    while True:
        await slots.ended.wait()
        await asyncio.sleep(TRIM_SECONDS)
        slots.ended.clear()
        await asyncio.to_thread(collect)


async def arrow(
    spec: StreamSpec, samples: SampleRange, batch_rows: int, pool: TimedPool, slots: Slots, client: str
) -> AsyncGenerator[bytes, None]:
    """The Arrow IPC stream of a range in pieces. The first is empty, and comes once the first batch is made.

    Every stream has room for one batch of BATCH_BYTES. All beyond that, in larger batches and those made
    ahead, takes memory that all streams share. A stream waits for such memory only for the batch that is next
    to be sent, and only while it holds none.

    Raises HTTPException (503) if there is no slot for the client; the slot is free again before the end of
    the answer is sent.
    """
    arrived: deque[pa.RecordBatch | None] = deque()
    written = write_stream(iter(arrived.popleft, None), schema(spec, samples, numerics.fingerprint()))
    buffers: list[Any] = []
    begun = False
    async with slots.one(client) as slot:
        with metrics.open_streams.track_inprogress():
            try:
                async with aclosing(_made_ahead(spec, samples, batch_rows, pool, slots, slot)) as batches:
                    async for made in batches:
                        holds = list(metrics.tallies(spec, made[0]))
                        arrived.append(made.pop())
                        # in a thread of its own, not in the pool behind all batches still to be made
                        buffers = await asyncio.to_thread(next, written)
                        if not begun:
                            yield b""
                            begun = True
                        async for piece in offered(buffers, slot):
                            yield piece
                        metrics.sent_bytes.inc(sum(map(len, buffers)))
                        metrics.count_sent(holds)
                        buffers.clear()
                arrived.append(None)
                yield b"".join(next(written))
            finally:
                buffers.clear()


async def _made_ahead(
    spec: StreamSpec, samples: SampleRange, batch_rows: int, pool: TimedPool, slots: Slots, slot: Slot
) -> AsyncGenerator[list[pa.RecordBatch], None]:
    """The batches of a range in order, each in a list from which the caller takes it; its memory is given
    back before the next one comes.

    The list is needed because an awaited future is part of a reference cycle: a batch that was its result
    would be held until Python finds that cycle.
    """
    size = batch_rows * sample_bytes(spec, *spec.extreme_dims()[1])
    rest = makers(spec, samples, batch_rows)
    following = next(rest, None)
    making: deque[tuple[Future[None], list[pa.RecordBatch], int]] = deque()  # and the shared memory of each
    try:
        while making or following is not None:
            while following is not None and len(making) <= AHEAD:
                memory = size if making else max(0, size - BATCH_BYTES)
                if making and not slots.take_now(slot, memory):
                    break
                if not making and memory:
                    await slots.take(slot, memory)
                made: list[pa.RecordBatch] = []
                making.append((pool.submit(_make, following, made), made, memory))
                following = next(rest, None)
            done, made, memory = making[0]
            await asyncio.wrap_future(done)
            making.popleft()
            yield made
            slots.give(slot, memory)
    finally:
        for done, made, _ in making:
            made.clear()
            if not done.cancel():
                done.add_done_callback(partial(_ended_late, asyncio.get_running_loop(), slots))


def _ended_late(loop: asyncio.AbstractEventLoop, slots: Slots, _: Future[None]) -> None:
    """A batch that was still being made when its stream ended is now made: return its memory too."""
    with suppress(RuntimeError):  # the loop is closed: the service ends
        loop.call_soon_threadsafe(slots.ended.set)


def _make(make: Callable[[], pa.RecordBatch], into: list[pa.RecordBatch]) -> None:
    into.append(make())


async def offered(buffers: Iterable[Any], slot: Slot) -> AsyncGenerator[bytes, None]:
    """Buffers as pieces of PIECE_BYTES, each offered to the reader of a slot until it is taken."""
    ready = perf_counter()
    try:
        for piece in _pieces(buffers):
            slot.awaited = monotonic()
            yield piece
            await asyncio.sleep(0)  # other requests get their turn, and a reader that is gone is noticed
    finally:
        slot.awaited = None
        metrics.send_wait_seconds.inc(perf_counter() - ready)


def _pieces(buffers: Iterable[Any]) -> Iterator[bytes]:
    parts: list[memoryview] = []
    missing = PIECE_BYTES
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        while len(view) >= missing:
            yield b"".join([*parts, view[:missing]])
            view, parts, missing = view[missing:], [], PIECE_BYTES
        parts.append(view)
        missing -= len(view)
    if parts:
        yield b"".join(parts)


def etag(schema: pa.Schema, batch_rows: int) -> str:
    """A hash of what the bytes of a stream depend on: its provenance and its batches."""
    identity = repr((sorted(schema.metadata.items()), batch_rows))
    return '"' + hashlib.sha256(identity.encode()).hexdigest()[:32] + '"'


def unchanged(request: Request, tag: str) -> bool:
    """Whether the client already has the answer that the tag names."""
    known = [
        known.strip().removeprefix("W/") for known in request.headers.get("if-none-match", "").split(",")
    ]
    return tag in known or "*" in known
