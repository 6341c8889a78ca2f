"""uvicorn's connections as ours are, on a socket of this process."""

import asyncio
import gc
import socket
import weakref

import pytest
import uvicorn
from uvicorn.server import ServerState

from matstream.generator_service.service import connections, server
from matstream.generator_service.service.connections import Connection

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PIECE = bytes(1 << 18)


def served(app, talk, host="127.0.0.1"):
    """What `talk(reader, writer)` comes to, with a connection to an application."""

    async def run():
        config = uvicorn.Config(app, lifespan="off", log_config=None)
        config.load()
        loop, made = asyncio.get_running_loop(), []

        def connection():
            made.append(Connection(config, ServerState(), {}))
            return made[-1]

        listener = server._listen(host, 0)
        async with await loop.create_server(connection, sock=listener) as listening:
            client = socket.socket(listener.family)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname()[:2])
            reader, writer = await asyncio.open_connection(sock=client, limit=1 << 16)
            try:
                return await talk(reader, writer, made)
            finally:
                writer.close()
                listening.close()

    return asyncio.run(run())


async def endless(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(2000):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})


def test_nothing_is_held_of_a_connection_that_is_gone():
    async def short(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def talk(reader, writer, made):
        for _ in range(3):
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await asyncio.sleep(0.1)
        held = weakref.ref(made.pop())
        gc.collect()
        return held()

    assert served(short, talk) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_small_writes_are_not_held_back(host):
    async def talk(reader, writer, made):
        await asyncio.sleep(0.1)
        accepted = made[0].transport.get_extra_info("socket")
        return accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert served(endless, talk, host)


def test_a_reader_who_takes_nothing_is_broken_off(monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.5)

    async def talk(reader, writer, made):
        writer.write(REQUEST)
        await reader.read(100)
        await asyncio.sleep(0.2)
        assert not made[0].transport.is_closing()
        assert made[0].transport.get_write_buffer_size() <= len(PIECE)
        await asyncio.sleep(1)
        assert made[0].cycle.disconnected
        assert made[0].transport.get_write_buffer_size() == 0

    served(endless, talk)


def test_a_reader_who_takes_the_end_of_an_answer_never_is_broken_off_too(monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.5)

    async def whole(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": PIECE * 64})

    async def talk(reader, writer, made):
        writer.write(REQUEST)
        await asyncio.sleep(0.2)
        assert made[0].cycle.response_complete
        assert made[0].transport.get_write_buffer_size() > 0
        await asyncio.sleep(0.8)
        assert made[0].transport.get_write_buffer_size() == 0

    served(whole, talk)


def test_a_reader_who_is_slow_is_served(monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 1)

    async def talk(reader, writer, made):
        writer.write(REQUEST)
        for _ in range(20):
            await asyncio.sleep(0.1)
            await reader.readexactly(1 << 18)
        assert not made[0].transport.is_closing()

    served(endless, talk)
