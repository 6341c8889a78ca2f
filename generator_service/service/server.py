"""Running the service: its socket, its worker processes, its signals, its end."""

import contextlib
import multiprocessing
import os
import re
import resource
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.process import BaseProcess

import uvicorn
from pydantic import SecretStr, ValidationError
from uvicorn.supervisors import Multiprocess

from matstream.generator_service.service.access import Access
from matstream.generator_service.service.connections import Connection, in_origin_form
from matstream.generator_service.service.limits import Limits
from matstream.generator_service.service.logs import configuration, log_requests, logger
from matstream.shared.errors import Problem, RefusedError, UserError, explain
from matstream.shared.problems import Source, learn_only

# for streams to finish after SIGTERM, so that the service ends within 5 seconds even on a busy machine; with
# several workers, their parent takes up to half a second to tell them
GRACE_SECONDS = 3.5
WORKERS_GRACE_SECONDS = 3.0
# for which a thread that computes may keep the other threads from running Python: ten times shorter than
# usual, since requests wait for it
SWITCH_SECONDS = 0.0005


def run(host: str, port: int, workers: int, *, embedded: int | None, sources: Sequence[Source] = ()) -> None:
    """Serve until SIGINT or SIGTERM; also, if `embedded`, until standard input closes. Every worker process
    reads the problem files as they are now.

    An embedded service writes its URL to the file descriptor `embedded`, and closes that. Raises UserError if
    it cannot listen, or for a setting in the environment that is not valid.
    """
    for settings in (Limits, Access):
        _check(settings)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file
    listener = _listen(host, port)
    config = uvicorn.Config(
        partial(worker_app, sources),
        factory=True,
        http=Connection,
        ws="none",  # uvicorn would log the targets of WebSockets as they come
        h11_max_incomplete_event_size=1 << 18,  # of headers: refuse_long_queries answers too long a query
        workers=workers,
        timeout_graceful_shutdown=GRACE_SECONDS if workers == 1 else WORKERS_GRACE_SECONDS,  # type: ignore[arg-type]
        log_config=configuration("INFO" if embedded is None else "WARNING"),
        access_log=False,  # log_requests writes a line for each request
        server_header=False,
    )
    address = f"[{host}]" if ":" in host else host
    url = f"http://{address}:{listener.getsockname()[1]}"
    logger.info("serving at %s, for people too: open it in a browser", url)
    if workers > 1:
        with tempfile.TemporaryDirectory(prefix="matstream-") as shared:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared  # read when metrics are imported, in the workers
            Multiprocess(config, [listener]).run()
        return
    server = _Server(config)
    if embedded is not None:
        server.announcement = embedded, f"{url}\n"
        threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
    server.run(sockets=[listener])


def worker_app(sources: Sequence[Source]) -> object:
    """The service in a process of its own, which ends when its parent does."""
    from matstream.generator_service.service.app import create_app

    learn_only(sources)
    sys.setswitchinterval(SWITCH_SECONDS)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    app = create_app()
    return in_origin_form(log_requests(app, app.state.door.shown))


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


class _Server(uvicorn.Server):
    """uvicorn raises the signal that ended it again, so that its process dies of it; ours exits with 0."""

    announcement: tuple[int, str] | None = None  # a file descriptor, and the text to write once it can serve

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self.announcement is not None:
            descriptor, text = self.announcement
            # the program that started it may be gone; then standard input has ended too
            with contextlib.suppress(BrokenPipeError), open(descriptor, "w", encoding="ascii") as announced:
                announced.write(text)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def _check(settings: type[Limits] | type[Access]) -> None:
    try:
        settings()
    except ValidationError as error:
        problems = explain(error.errors(), settings)
        raise RefusedError([_as_set(settings, problem) for problem in problems]) from None


def _as_set(settings: type[Limits] | type[Access], problem: Problem) -> Problem:
    """The problem under the name of its environment variable, and without a value that is secret."""
    field = settings.model_fields.get(problem.field)
    value = None if field is not None and field.annotation is SecretStr else problem.value
    return problem._replace(field=f"MATSTREAM_{problem.field.upper()}", value=value)


def _listen(host: str, port: int) -> socket.socket:
    if not re.fullmatch(r"[^\s<>]+", host):  # Python takes "" as every interface, <broadcast> as an address
        raise UserError(
            f"host={host!r}: must be an address or a name of this machine, such as 127.0.0.1, or 0.0.0.0 for "
            "every interface"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small answers at once (TCP_NODELAY) only where it sees that the protocol is TCP
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, TypeError) as error:  # TypeError: a name that DNS cannot have
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot listen on {host}:{port}: {reason}") from None
    return listener


def _end_with_stdin(server: uvicorn.Server) -> None:
    # a read of sys.stdin itself would hold its lock when the process ends
    while os.read(sys.stdin.fileno(), 4096):
        pass
    server.should_exit = True
