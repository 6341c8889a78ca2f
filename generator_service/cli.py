"""`matstream serve`."""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Annotated

import uvicorn
from cyclopts import Parameter, validators

from generator_service.app import create_app
from shared.errors import UserError

GRACE_SECONDS = 4  # that streams have to finish after SIGTERM


def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 8000,
    embedded: Annotated[bool, Parameter(show=False)] = False,
) -> None:
    """Serve streams over HTTP until interrupted.

    Limits are set by the environment: MATSTREAM_MAX_DIM, MATSTREAM_MAX_COUNT, MATSTREAM_MAX_WORK,
    MATSTREAM_MAX_BATCH_BYTES.

    Parameters
    ----------
    host
        Address to listen on; 0.0.0.0 for every interface.
    port
        Port to listen on; 0 lets the system choose.
    embedded
        For a program that starts the service as its child: write the URL as the only line on standard
        output, and end when standard input closes.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        create_app(),
        timeout_graceful_shutdown=GRACE_SECONDS,
        log_level="warning" if embedded else "info",
        access_log=not embedded,
    )
    server = _Server(config)
    url = f"http://{host}:{listener.getsockname()[1]}"
    if embedded:
        threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
        os.write(sys.stdout.fileno(), f"{url}\n".encode())
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn raises the signal that ended it again, so that its process dies of it; ours exits 0."""

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
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listener


def _end_with_stdin(server: uvicorn.Server) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    server.should_exit = True
