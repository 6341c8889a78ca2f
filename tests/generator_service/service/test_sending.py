import asyncio
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pyarrow as pa
import pytest

from matstream.generator_service.service import sending
from matstream.generator_service.service.open_streams import Slots
from matstream.generator_service.service.sending import PIECE_BYTES, arrow
from matstream.generator_service.stream import generate
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import read_stream

SPEC = StreamSpec(operation="transpose", dim=64)


class Counting(ThreadPoolExecutor):
    submitted = 0

    def submit(self, *arguments, **options):
        self.submitted += 1
        return super().submit(*arguments, **options)


async def sent(samples, batch_rows, slots, pool, most=None):
    """The pieces of a stream, all or the first `most`."""
    async with aclosing(arrow(SPEC, samples, batch_rows, pool, slots, "me")) as stream:
        return [piece async for piece in first(stream, most)]


async def first(stream, most):
    taken = 0
    while taken != most and (piece := await anext(stream, None)) is not None:
        yield piece
        taken += 1


@pytest.mark.parametrize("memory", [1, 1 << 30])
@pytest.mark.parametrize("batch_rows", [3, 60])
def test_the_pieces_of_a_stream_are_its_samples_whatever_memory_there_is(memory, batch_rows):
    samples = SampleRange(seed=3, start=5, count=60)
    with ThreadPoolExecutor(2) as pool:
        pieces = asyncio.run(sent(samples, batch_rows, Slots(1, memory), pool))
    assert pieces[0] == b""
    assert max(map(len, pieces)) <= PIECE_BYTES
    got = pa.Table.from_batches(read_stream(io.BytesIO(b"".join(pieces)), SPEC, samples))
    assert got.combine_chunks().to_batches() == [generate(SPEC, 3, "train", 5, 60)]


@pytest.mark.parametrize(("memory", "most"), [(0, 1), (1 << 30, 3)])
def test_batches_are_made_ahead_only_where_there_is_memory_for_them(memory, most):
    samples = SampleRange(count=10**6)
    with Counting(2) as pool:
        slots = Slots(1, memory)
        asyncio.run(sent(samples, 10, slots, pool, most=1))
        assert 1 <= pool.submitted <= most
        before = pool.submitted
    assert pool.submitted == before


def test_memory_is_returned_again_once_what_a_broken_stream_left_in_the_making_is_made(monkeypatch):
    made, go_on = threading.Event(), threading.Event()

    def made_slowly(*_):
        go_on.wait(30)
        made.set()
        return generate(SPEC, 0, "train", 0, 1)

    async def check(pool):
        slots = Slots(1, 0)
        task = asyncio.create_task(sent(SampleRange(count=10), 10, slots, pool))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        assert slots.ended.is_set()
        slots.ended.clear()
        await asyncio.sleep(0.1)
        assert not slots.ended.is_set()
        go_on.set()
        await asyncio.wait_for(slots.ended.wait(), 10)
        assert made.is_set()

    monkeypatch.setattr(sending, "makers", lambda *_: iter([made_slowly]))
    with ThreadPoolExecutor(2) as pool:
        asyncio.run(check(pool))
