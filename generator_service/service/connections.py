"""Connections: those of uvicorn, but with limits on how long they wait for the client."""

import asyncio
import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10  # in which the head of a request must arrive
STALL_SECONDS = 30  # in which a reader must take what was written last: at most a piece of an answer

_SCHEME_AND_HOST = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")


class Connection(H11Protocol):
    """A connection that is closed if no whole request comes in time, and broken off if its reader stalls.

    A client that closes its own half of the connection after a request still gets the answer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # a piece is written once the one before it has left: no more than one waits in memory, and
        # pause_writing is called while it waits
        transport.set_write_buffer_limits(high=0)
        self._half_closed = False
        self._stalling: asyncio.TimerHandle | None = None
        self._expecting: asyncio.TimerHandle | None = None
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._stalling, self._expecting):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalling = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._end_of_stall()
        super().resume_writing()

    def _end_of_stall(self) -> None:
        if self._stalling is not None:
            self._stalling.cancel()

    def send_400_response(self, msg: str) -> None:
        """Say that what has arrived is not HTTP, and give up answering the request before it."""
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        super().send_400_response(msg)

    def eof_received(self) -> bool:  # type: ignore[override]
        self._half_closed = True
        if self._answering() and self.cycle is not None and self.cycle.more_body:
            # the rest of its body will not come
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            return False
        return self._answering()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._half_closed and not self._answering():
            self.transport.close()
        self._expect_request()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect_request(self) -> None:
        if self._expecting is not None:
            self._expecting.cancel()
        self._expecting = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if not self._answering():
            self.transport.close()


def in_origin_form(app: ASGIApp) -> ASGIApp:
    """Wrap an app so that a target like http://host/path, which HTTP/1.1 has for proxies, becomes /path."""

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (absolute := _SCHEME_AND_HOST.match(scope["raw_path"])):
            raw_path = scope["raw_path"][absolute.end() :] or b"/"
            scope = {**scope, "raw_path": raw_path, "path": unquote(raw_path.decode("ascii"))}
        await app(scope, receive, send)

    return asked
