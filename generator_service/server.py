"""Running the service: its socket, its signals, its end."""

import asyncio
import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator

import uvicorn
from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from generator_service.app import create_app
from generator_service.limits import Limits
from shared.errors import RefusedError, UserError, explain

GRACE_SECONDS = 4  # that streams have to finish after SIGTERM


def run(host: str, port: int, *, embedded: bool) -> None:
    """Serve until SIGINT or SIGTERM; also, if `embedded`, until standard input closes.

    An embedded service writes its URL as the only line on standard output. Raises UserError if it cannot
    listen, or for a limit in the environment that is none.
    """
    try:
        app = create_app()
    except ValidationError as error:
        problems = explain(error.errors(), Limits)
        named = [problem._replace(field=f"MATSTREAM_{problem.field.upper()}") for problem in problems]
        raise RefusedError(named) from None
    listener = _listen(host, port)
    config = uvicorn.Config(
        _broken_quietly(app),
        timeout_graceful_shutdown=GRACE_SECONDS,
        log_level="warning" if embedded else "info",
        access_log=not embedded,
    )
    server = _Server(config)
    if embedded:
        address = f"[{host}]" if ":" in host else host
        server.announced_url = f"http://{address}:{listener.getsockname()[1]}"
        threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
    server.run(sockets=[listener])


def _broken_quietly(app: ASGIApp) -> ASGIApp:
    """The app, with streams that are broken off at the end of the service no exceptions in its log."""

    async def run_app(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # uvicorn closes a connection left without its end
            await app(scope, receive, send)

    return run_app


class _Server(uvicorn.Server):
    """uvicorn raises the signal that ended it again, so that its process dies of it; ours exits 0."""

    announced_url: str | None = None  # written on standard output once it can be used

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.announced_url:
            os.write(sys.stdout.fileno(), f"{self.announced_url}\n".encode())

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listener


def _end_with_stdin(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 4096):  # sys.stdin itself would be locked when the process ends
        pass
    server.should_exit = True
