"""Structured logs: a line for each request, with an id; JSON where no person watches."""

import asyncio
import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from pythonjsonlogger.core import RESERVED_ATTRS
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from generator_service import metrics
from generator_service.queries import PARAMETERS

logger = logging.getLogger("matstream")

MAX_SHOWN = 1000  # characters of a path or a query: a longer one is not logged, and none of ours is
HIDDEN = "***"
HEALTH = ("/healthz", "/readyz")  # asked every few seconds by whoever watches over the service

_A_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")  # of a proxy before us; anything else is replaced


def configuration(level: str) -> dict[str, Any]:
    """Logging on standard error, for logging.config.dictConfig."""
    plain = {"format": "%(asctime)s %(levelname)s %(message)s"}
    as_json = {
        "()": "pythonjsonlogger.json.JsonFormatter",
        "fmt": "%(levelname)s %(name)s %(message)s",
        "rename_fields": {"levelname": "level", "name": "logger"},
        "reserved_attrs": [*RESERVED_ATTRS, "color_message"],
        "timestamp": True,
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": plain if sys.stderr.isatty() else as_json},
        "filters": {"meant": {"()": "generator_service.logs.without_what_is_meant"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["meant"]}},
        "root": {"level": level, "handlers": ["stderr"]},
    }


def without_what_is_meant() -> Callable[[logging.LogRecord], bool]:
    """A filter of what uvicorn calls an error where a stream is broken off on purpose."""
    return lambda record: not str(record.msg).startswith("ASGI callable returned without completing")


def log_requests(app: ASGIApp, is_key: Callable[[str], bool]) -> ASGIApp:
    """The app, each of its requests logged and counted once it has ended, however it did.

    A key that stands in an address, as `is_key` tells, is not logged; nor are parameters of unknown names.
    """

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        request_id = _request_id(scope)
        status, sent, ended = 500, 0, False
        started = time.perf_counter()

        async def counting(message: Message) -> None:
            nonlocal status, sent, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)
            sent += len(message.get("body", b""))
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await app(scope, receive, counting)
        except asyncio.CancelledError:
            pass  # the service ends: uvicorn closes a connection that is left without its end
        finally:
            route = getattr(scope.get("route"), "path", "none")
            metrics.requests.labels(route, status).inc()
            event = {
                "request_id": request_id.decode(),
                "method": scope["method"],
                "target": _target(scope, is_key),
                "status": status,
                "bytes": sent,
                "seconds": round(time.perf_counter() - started, 4),
                "client": (scope.get("client") or ("",))[0],
                "key": scope.get("state", {}).get("key"),
            }
            text = "%(method)s %(target)s %(status)d, %(bytes)d bytes in %(seconds).3f s"
            level = logging.DEBUG if scope["path"] in HEALTH else logging.INFO
            logger.log(level, ("" if ended else "broken off: ") + text, event, extra=event)

    return logged


def _target(scope: Scope, is_key: Callable[[str], bool]) -> str:
    """Path and query as they came, percent-encoded, so that no line breaks are in them; without secrets."""

    def shown(text: str) -> str:
        return HIDDEN if is_key(unquote(text)) else text

    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    segments = path.split("/") if len(path) <= MAX_SHOWN else ["…"]
    target = "/".join(map(shown, segments))
    if len(query) > MAX_SHOWN:
        return target + "?…"
    parameters = (part.partition("=") for part in query.split("&") if part)
    words = (f"{name}={shown(value)}" if name in PARAMETERS else HIDDEN for name, _, value in parameters)
    return f"{target}?{'&'.join(words)}" if query else target


def _request_id(scope: Scope) -> bytes:
    given = dict(scope["headers"]).get(b"x-request-id", b"")
    return given if _A_REQUEST_ID.fullmatch(given) else uuid4().hex.encode()
