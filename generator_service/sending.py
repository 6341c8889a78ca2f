"""Batches -> the chunks of an answer: each made while the one before it is sent, and counted once it is."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter
from typing import Any, NamedTuple

import pyarrow as pa
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from generator_service import metrics
from shared.spec import StreamSpec
from shared.wire import write_stream

MAX_STALL_SECONDS = 300.0  # that a reader may take no bytes: then its slot is another's


class Chunk(NamedTuple):
    """Bytes to send, and what they hold."""

    content: bytes
    holds: list[metrics.Tally]


class TimedPool(ThreadPoolExecutor):
    """Threads whose work is counted in seconds."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def timed() -> Any:
            started = perf_counter()
            try:
                return fn(*args, **kwargs)
            finally:
                metrics.compute_seconds.inc(perf_counter() - started)

        return super().submit(timed)


def chunks(spec: StreamSpec, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[Chunk]:
    """The Arrow IPC stream of batches: a chunk for each, then the end mark."""
    holds: list[metrics.Tally] = []

    def noted() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            holds[:] = metrics.tallies(spec, batch)
            yield batch

    for buffers in write_stream(noted(), schema):
        yield Chunk(b"".join(buffers), holds.copy())
        holds.clear()


async def one_ahead(first: Chunk, rest: Iterator[Chunk], threads: CapacityLimiter) -> AsyncIterator[bytes]:
    """The chunks in order, each made while the one before it is sent; never more than one waits."""

    async def make() -> Chunk | None:
        return await to_thread.run_sync(next, rest, None, limiter=threads)

    chunk: Chunk | None = first
    while chunk is not None:
        following = asyncio.create_task(make())
        ready = perf_counter()
        try:
            yield chunk.content
        except BaseException:
            following.cancel()
            raise
        finally:
            metrics.send_wait_seconds.inc(perf_counter() - ready)
        metrics.sent_bytes.inc(len(chunk.content))
        metrics.count_sent(chunk.holds)
        chunk = await following


def break_stalled(app: ASGIApp) -> ASGIApp:
    """The app, in which an answer whose reader takes no more bytes is broken off."""

    async def impatient(scope: Scope, receive: Receive, send: Send) -> None:
        async def in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(MAX_STALL_SECONDS):
                    await send(message)
            except TimeoutError:
                raise _StalledError from None

        with suppress(_StalledError):  # uvicorn closes a connection that is left without its end
            await app(scope, receive, in_time)

    return impatient


class _StalledError(Exception):
    """A reader that takes no bytes any more."""


def etag(schema: pa.Schema, batch_rows: int) -> str:
    """A hash of what the bytes of a stream depend on: its provenance and its batches."""
    identity = repr((sorted(schema.metadata.items()), batch_rows))
    return '"' + hashlib.sha256(identity.encode()).hexdigest()[:32] + '"'


def unchanged(request: Request, tag: str) -> bool:
    """Whether the client has what the tag names."""
    known = [
        known.strip().removeprefix("W/") for known in request.headers.get("if-none-match", "").split(",")
    ]
    return tag in known or "*" in known
