"""Errors as RFC 9457 problem documents."""

import json
from typing import Any

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from matstream.generator_service.service import metrics
from matstream.generator_service.service.access import KEY_IN_QUERY
from matstream.shared.errors import RefusedError

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20  # listed in one answer

SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong, in a sentence"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


_TITLES = {401: "No valid key", 414: "Too long", 429: "Too many requests", 503: "Busy"}


async def on_refused(request: Request, error: Exception) -> Response:
    """422: a query that is wrong, over a limit, or cannot be drawn."""
    assert isinstance(error, RefusedError)
    metrics.refusals.labels("invalid").inc()
    problems = error.problems
    if request.app.state.door.has_key(request.scope["query_string"].decode("latin-1")):
        problems = [KEY_IN_QUERY]  # the other problems may quote the key
    errors = [{"field": problem.field, "message": str(problem)} for problem in problems[:MAX_ERRORS]]
    detail = "; ".join(told["message"] for told in errors)
    if (more := len(problems) - MAX_ERRORS) > 0:
        detail += f"; and {more} more"
    return _document(422, "Refused", detail, errors)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Any other status, with its headers."""
    assert isinstance(error, HTTPException)
    title, headers, shown = error.detail, dict(error.headers or {}), request.app.state.door.shown
    detail, path = error.detail, shown(request.scope["raw_path"].decode("latin-1"))
    if error.status_code == 404:
        detail = f"nothing is served at {path}; try /v1/catalog, /v1/samples, /v1/stream or /v1/score"
    elif error.status_code == 405:
        allowed = "POST" if path.endswith("/v1/score") else "GET, HEAD"
        headers["Allow"] = allowed
        detail = f"{shown(request.method)} is not for {path}: it answers {allowed.replace(', ', ' and ')}"
    else:
        title = _TITLES.get(error.status_code, title)
    response = _document(error.status_code, title, detail)
    response.headers.update(headers)
    return response


async def on_failure(request: Request, error: Exception) -> Response:
    """500: a fault of ours."""
    return _document(500, "Internal error", "the service failed; its log says more")


def _document(status: int, title: str, detail: str, errors: list[dict[str, str]] | None = None) -> Response:
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = errors
    text = json.dumps(body, ensure_ascii=False, indent=2) + "\n"
    return Response(text, status, media_type=MEDIA_TYPE)
