"""What the streams of a worker share: the slots in which they are sent, and the memory of their batches."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.exceptions import HTTPException

from matstream.generator_service.service import metrics

SHORT_PATIENCE = (
    5.0  # seconds for a client that takes or sends nothing, while others want its slot or its memory
)
_RETRY_BUSY = 1  # seconds after which a busy service may be asked again: streams end often
_LOOK_AGAIN = 0.02  # seconds until a stream that waits for memory looks whether it is its turn


@dataclass(eq=False)
class Slot:
    """One answer that is being made or sent, or whose predictions are being read."""

    client: str
    task: asyncio.Task[None]
    memory: int = 0  # bytes of the shared memory that it holds
    awaited: float | None = None  # since when its client is to take bytes, or to send them (monotonic)

    def stalled(self) -> bool:
        """Whether its client has taken or sent nothing for SHORT_PATIENCE."""
        return self.awaited is not None and time.monotonic() - self.awaited > SHORT_PATIENCE


class Slots:
    """At most `most` streams at a time, whose batches share at most `memory` bytes.

    One client may have all slots. If none is free, another client gets the slot of one that has stalled,
    or else the newest slot of the client that has most, provided that this client keeps at least as many as
    the other then has: no client keeps more than its share while others want in.
    """

    def __init__(self, most: int, memory: int) -> None:
        self._most = most
        self._slots: list[Slot] = []  # the oldest first
        self._memory = memory
        self._used = 0
        self._line: deque[Slot] = deque()  # slots that wait for memory, in the order in which they get it
        self.ended = asyncio.Event()  # set when a stream has ended

    @asynccontextmanager
    async def one(self, client: str) -> AsyncIterator[Slot]:
        """A slot, while it is used. Raises HTTPException (503) if there is none for this client."""
        if len(self._slots) >= self._most:
            self._free_one_for(client)
        task = asyncio.current_task()
        assert task is not None
        slot = Slot(client, task)
        self._slots.append(slot)
        try:
            yield slot
        finally:
            self.ended.set()
            self.give(slot, slot.memory)
            if slot in self._slots:  # else it was broken off
                self._slots.remove(slot)

    async def take(self, slot: Slot, size: int) -> None:
        """Take `size` bytes of the shared memory, once the streams that waited before have theirs.

        Only streams that hold no memory may wait, so that only clients decide when held memory is given back;
        one that takes or sends nothing is broken off while any stream waits.
        """
        assert slot.memory == 0
        self._line.append(slot)
        try:
            while self._line[0] is not slot or not self._has(size):
                stalled = next((other for other in self._slots if other.memory and other.stalled()), None)
                if stalled is not None:
                    self._break_off(stalled)
                await asyncio.sleep(_LOOK_AGAIN)
            self._use(slot, size)
        finally:
            self._line.remove(slot)

    def take_now(self, slot: Slot, size: int) -> bool:
        """Take `size` bytes of the shared memory if they are free and no stream waits for memory."""
        if self._line or self._used + size > self._memory:
            return False
        self._use(slot, size)
        return True

    def give(self, slot: Slot, size: int) -> None:
        """Give back `size` bytes that a slot holds."""
        slot.memory -= size
        self._used -= size

    def _has(self, size: int) -> bool:
        # while none is used, even more than all memory is granted
        return self._used == 0 or self._used + size <= self._memory

    def _use(self, slot: Slot, size: int) -> None:
        slot.memory += size
        self._used += size

    def _free_one_for(self, client: str) -> None:
        had = Counter(slot.client for slot in self._slots)
        [(greediest, most)] = had.most_common(1)
        if (stalled := next((slot for slot in self._slots if slot.stalled()), None)) is not None:
            self._break_off(stalled)
        elif most > had[client] + 1:
            self._break_off(next(slot for slot in reversed(self._slots) if slot.client == greediest))
        else:
            raise busy()

    def _break_off(self, slot: Slot) -> None:
        slot.task.cancel()
        self._slots.remove(slot)


def busy() -> HTTPException:
    """The answer to a client for which there is no slot, or whose slot was taken away."""
    metrics.refusals.labels("busy").inc()
    detail = "all slots for streams are taken: ask again"
    return HTTPException(503, detail, {"Retry-After": str(_RETRY_BUSY)})
