"""Structured logs: a line for each request, with an id; JSON unless standard error is a terminal."""

import asyncio
import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from pythonjsonlogger.core import RESERVED_ATTRS
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matstream.generator_service.service import metrics
from matstream.generator_service.service.access import HIDDEN
from matstream.generator_service.service.queries import PARAMETERS

logger = logging.getLogger("matstream")

HEALTH = ("/healthz", "/readyz")  # requested every few seconds by whatever watches over the service

_A_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")  # set by a proxy before us; anything else is replaced


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
        "filters": {"meant": {"()": "matstream.generator_service.service.logs.without_what_is_meant"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["meant"]}},
        "root": {"level": level, "handlers": ["stderr"]},
    }


def without_what_is_meant() -> Callable[[logging.LogRecord], bool]:
    """A filter that drops what uvicorn logs as an error when a stream is broken off on purpose."""
    return lambda record: not str(record.msg).startswith("ASGI callable returned without completing")


def log_requests(app: ASGIApp, shown: Callable[[str], str]) -> ASGIApp:
    """Wrap an app so that each request is logged and counted once it has ended, in whatever way.

    Texts from clients are logged as `shown` returns them, and parameters of unknown names are hidden.
    """

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        request_id = _request_id(scope, shown)
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
            pass  # the service ends: uvicorn closes the connection of an unfinished answer
        finally:
            route = getattr(scope.get("route"), "path", "none")
            metrics.requests.labels(route, status).inc()
            event = {
                "request_id": request_id.decode(),
                "method": shown(scope["method"]),
                "target": _target(scope, shown),
                "status": status,
                "bytes": sent,
                "seconds": round(time.perf_counter() - started, 4),
                "client": shown((scope.get("client") or ("",))[0]),
                "key": scope.get("state", {}).get("key"),
            }
            text = "%(method)s %(target)s %(status)d, %(bytes)d bytes in %(seconds).3f s"
            level = logging.DEBUG if scope["path"] in HEALTH else logging.INFO
            logger.log(level, ("" if ended else "broken off: ") + text, event, extra=event)

    return logged


def _target(scope: Scope, shown: Callable[[str], str]) -> str:
    """Path and query as they came, percent-encoded, so that no line breaks are in them."""
    path, given = shown(scope["raw_path"].decode("latin-1")), scope["query_string"].decode("latin-1")
    query = shown(given)
    if query == given:
        parts = (part for part in query.split("&") if part)
        query = "&".join(part if part.partition("=")[0] in PARAMETERS else HIDDEN for part in parts)
    return f"{path}?{query}" if query else path


def _request_id(scope: Scope, shown: Callable[[str], str]) -> bytes:
    given: bytes = dict(scope["headers"]).get(b"x-request-id", b"")
    usable = _A_REQUEST_ID.fullmatch(given) and shown(given.decode()) == given.decode()
    return given if usable else uuid4().hex.encode()
