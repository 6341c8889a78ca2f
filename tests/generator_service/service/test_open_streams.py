import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from starlette.exceptions import HTTPException

from matstream.generator_service.service import open_streams as module
from matstream.generator_service.service.open_streams import Slots


async def stream(slots, client, held, size=0, stalls=False):
    """A stream that holds a slot and memory until it is broken off."""
    async with slots.one(client) as slot:
        if size:
            await slots.take(slot, size)
        if stalls:
            slot.awaited = time.monotonic()
        held.append(client)
        try:
            await asyncio.sleep(60)
        finally:
            held.remove(client)


async def begin(slots, client, held, **options):
    """Whether a stream that was begun is held a moment later."""
    task = asyncio.create_task(stream(slots, client, held, **options))
    await asyncio.sleep(0.05)
    if task.done():
        assert isinstance(task.exception(), HTTPException)
        return None
    return task


def test_clients_who_want_in_get_their_share_of_the_slots_and_no_more():
    async def check():
        slots, held = Slots(6, 0), []
        assert all([await begin(slots, "a", held) for _ in range(6)])
        assert not await begin(slots, "a", held)
        assert [bool(await begin(slots, "b", held)) for _ in range(4)] == [True] * 3 + [False]
        assert sorted(held) == ["a"] * 3 + ["b"] * 3
        assert [bool(await begin(slots, "c", held)) for _ in range(3)] == [True] * 2 + [False]
        assert sorted(held) == ["a"] * 2 + ["b"] * 2 + ["c"] * 2

    asyncio.run(check())


def test_a_client_who_wants_in_gets_the_slot_of_a_reader_who_stalls(monkeypatch):
    monkeypatch.setattr(module, "SHORT_PATIENCE", 0.1)

    async def check():
        slots, held = Slots(2, 0), []
        await begin(slots, "a", held)
        await begin(slots, "b", held, stalls=True)
        assert not await begin(slots, "c", held)
        await asyncio.sleep(0.1)
        assert await begin(slots, "c", held)
        assert sorted(held) == ["a", "c"]

    asyncio.run(check())


def test_memory_is_given_in_the_order_in_which_it_is_asked_for():
    async def check():
        slots, held = Slots(10, 10), []
        first = await begin(slots, "first", held, size=6)
        large = await begin(slots, "large", held, size=8)
        await begin(slots, "small", held, size=1)
        assert held == ["first"]  # small waits for large, which would else wait for ever
        async with slots.one("ahead") as slot:
            assert not slots.take_now(slot, 1)
        first.cancel()
        await asyncio.sleep(0.1)
        assert held == ["large", "small"]
        large.cancel()
        await asyncio.sleep(0.1)
        assert await begin(slots, "beyond all", held, size=100)
        assert "beyond all" not in held

    asyncio.run(check())


def test_a_batch_larger_than_all_memory_gets_it_alone():
    async def check():
        slots, held = Slots(10, 10), []
        assert await begin(slots, "huge", held, size=100)
        await begin(slots, "other", held, size=1)
        assert held == ["huge"]

    asyncio.run(check())


def test_who_waits_for_memory_gets_that_of_readers_who_stall(monkeypatch):
    monkeypatch.setattr(module, "SHORT_PATIENCE", 0.2)

    async def check():
        slots, held = Slots(10, 10), []
        for _ in range(2):
            await begin(slots, "stalled", held, size=5, stalls=True)
        await begin(slots, "waits", held, size=5)
        await asyncio.sleep(0.4)
        assert "waits" in held

    asyncio.run(check())


@pytest.mark.parametrize("ends", ["returns", "fails", "is cancelled"])
def test_a_slot_and_its_memory_are_free_however_a_stream_ends(ends):
    async def one(slots):
        async with slots.one("a") as slot:
            await slots.take(slot, 10)
            if ends == "fails":
                raise ValueError
            if ends == "is cancelled":
                await asyncio.sleep(60)

    async def check():
        slots = Slots(1, 10)
        for _ in range(3):
            task = asyncio.create_task(one(slots))
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
        async with AsyncExitStack() as stack:
            assert slots.take_now(await stack.enter_async_context(slots.one("b")), 10)

    asyncio.run(check())
