import asyncio
import time

import pytest

from generator_service import sending


@pytest.mark.parametrize("stalls", [False, True])
def test_an_answer_whose_reader_takes_no_bytes_is_broken_off(monkeypatch, stalls):
    monkeypatch.setattr(sending, "MAX_STALL_SECONDS", 0.2)
    taken = []

    async def answer(scope, receive, send):
        for body in (b"one", b"two", b"three"):
            await send({"type": "http.response.body", "body": body})
        taken.append("end")

    async def send(message):
        if stalls and message["body"] == b"two":
            await asyncio.sleep(30)
        taken.append(message["body"])

    begun = time.monotonic()
    asyncio.run(sending.break_stalled(answer)({"type": "http"}, None, send))
    assert time.monotonic() - begun < 5
    assert taken == ([b"one"] if stalls else [b"one", b"two", b"three", "end"])
