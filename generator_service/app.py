"""The HTTP service: routes, errors, health."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from generator_service import numerics, samples_json
from generator_service.limits import Limits, check_samples, check_stream
from generator_service.queries import (
    NoQuery,
    SamplesQuery,
    StreamQuery,
    openapi_parameters,
    read_query,
    spec_of,
)
from generator_service.samples_json import MAX_JSON_SAMPLES
from generator_service.stream import batches, generate
from generator_service.targets import RESIDUAL_BOUND
from shared.encodings import ENCODINGS
from shared.errors import Problem, RefusedError
from shared.operations import OPERATIONS
from shared.spec import COEFFICIENTS, SPECTRA, STRUCTURES, StreamSpec
from shared.wire import MEDIA_TYPE, WIRE_VERSION, schema, write_stream


def create_app(limits: Limits | None = None) -> FastAPI:
    """The service as an ASGI application, under `limits` (by default those of the environment)."""
    limits = limits or Limits()
    computing = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="matstream-compute")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # made before the first request is accepted: a service that cannot make a sample does not start
        generate(StreamSpec.model_validate({"operation": "eigenvalues", "dim": 3}), 0, "train", 0, 1)
        yield
        computing.shutdown(
            wait=False, cancel_futures=True
        )  # nobody is left to read what was still to be made

    app = FastAPI(
        title="matstream",
        version=version("matstream"),
        docs_url=None,  # FastAPI's pages load from a CDN
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers={
            RefusedError: _on_refused,
            HTTPException: _on_http_error,
            Exception: _on_failure,
        },
    )

    @app.head("/v1/stream", include_in_schema=False)
    @app.get("/v1/stream", openapi_extra=openapi_parameters(StreamQuery))
    async def stream(request: Request) -> Response:
        """Samples [start, start+count) in order, as an Arrow IPC stream."""
        query = read_query(StreamQuery, request)
        spec = spec_of(query)
        batch_rows = check_stream(limits, spec, query.count, query.batch_rows)
        stream_schema = schema(spec, query, numerics.fingerprint())
        headers = {"ETag": _etag(stream_schema.metadata, batch_rows), "Cache-Control": "no-cache"}
        if _unchanged(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        if request.method == "HEAD":
            return StreamingResponse(iter(()), headers=headers, media_type=MEDIA_TYPE)
        messages = write_stream(batches(spec, query, batch_rows, computing), stream_schema)
        chunks = (b"".join(buffers) for buffers in messages)
        # made before the headers go out, so that a spec that cannot be drawn is still a 422
        first = await to_thread.run_sync(next, chunks)
        return StreamingResponse(_one_ahead(first, chunks), headers=headers, media_type=MEDIA_TYPE)

    @app.head("/v1/samples", include_in_schema=False)
    @app.get("/v1/samples", openapi_extra=openapi_parameters(SamplesQuery))
    async def samples(request: Request) -> Response:
        """A few samples as JSON for people."""
        query = read_query(SamplesQuery, request)
        spec = spec_of(query)
        check_samples(limits, spec, query.count)
        if request.method == "HEAD":
            return Response(media_type="application/json")

        def make() -> str:
            batch = generate(spec, query.seed, query.split, query.start, query.count)
            try:
                return samples_json.write(spec, query, batch, query.encoding)
            except ValueError as error:
                raise RefusedError([Problem("encoding", query.encoding, str(error))]) from None

        text = await asyncio.wrap_future(computing.submit(make))
        return Response(text, media_type="application/json")

    @app.head("/v1/catalog", include_in_schema=False)
    @app.get("/v1/catalog")
    async def catalog(request: Request) -> Response:
        """What can be asked for: operations, laws, spectra, structures, encodings, limits."""
        read_query(NoQuery, request)
        return Response(samples_json.legible(_catalog(limits)), media_type="application/json")

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Alive."""
        return {"status": "alive"}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        """Able to serve: answered only once a first sample was made."""
        return {"status": "ready"}

    @app.head("/version", include_in_schema=False)
    @app.get("/version")
    async def versions(request: Request) -> dict[str, Any]:
        """Versions, and the numerics behind the fingerprint of every stream."""
        read_query(NoQuery, request)
        return {
            "matstream": version("matstream"),
            "wire_version": WIRE_VERSION,
            "fingerprint": numerics.fingerprint(),
            "numerics": numerics.numerics(),
        }

    return app


async def _one_ahead(first: bytes, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks in order, each made while the one before it is sent; never more than one waits."""

    async def make() -> bytes | None:
        return await to_thread.run_sync(next, chunks, None)

    chunk: bytes | None = first
    while chunk is not None:
        following = asyncio.create_task(make())
        try:
            yield chunk
        except BaseException:
            following.cancel()
            raise
        chunk = await following


def _etag(metadata: dict[bytes, bytes], batch_rows: int) -> str:
    """A hash of what the bytes of a stream depend on: its provenance and its batches."""
    return '"' + hashlib.sha256(repr((sorted(metadata.items()), batch_rows)).encode()).hexdigest()[:32] + '"'


def _unchanged(request: Request, etag: str) -> bool:
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return etag in known or "*" in known


def _catalog(limits: Limits) -> dict[str, Any]:
    return {
        "operations": {
            name: {
                "letter": operation.letter,
                "input": operation.input_form,
                "target": operation.target_form,
                "square": operation.square,
                "spectra": list(SPECTRA) if operation.symmetric else [],
                "structures": _structures(name),
                "residual_bound": RESIDUAL_BOUND[name],
            }
            for name, operation in OPERATIONS.items()
        },
        "parameters": {
            name: field.description for name, field in StreamQuery.model_fields.items() if field.description
        },
        "coefficients": list(COEFFICIENTS),
        "encodings": list(ENCODINGS),
        "limits": {**limits.model_dump(), "max_json_samples": MAX_JSON_SAMPLES},
    }


def _structures(operation: str) -> list[str]:
    """The structures an operation may have, condition-κ among them as an example."""
    fitting = []
    for structure in (*STRUCTURES, "condition-100"):
        with suppress(ValidationError):  # 4 has divisors, which kronecker wants
            StreamSpec.model_validate({"operation": operation, "dim": 4, "structure": structure})
            fitting.append(structure)
    return fitting


def _problem(status: int, title: str, detail: str, errors: list[dict[str, str]] | None = None) -> Response:
    """An RFC 9457 problem document."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = errors
    text = json.dumps(body, ensure_ascii=False, indent=2) + "\n"
    return Response(text, status, media_type="application/problem+json")


async def _on_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    errors = [{"field": problem.field, "message": str(problem)} for problem in error.problems]
    return _problem(422, "Refused", str(error), errors)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 404:
        detail = f"nothing is served at {request.url.path}; try /v1/catalog, /v1/samples or /v1/stream"
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = "GET, HEAD"
        detail = f"{request.method} is not for {request.url.path}: it answers GET and HEAD"
    response = _problem(error.status_code, error.detail, detail)
    response.headers.update(headers)
    return response


async def _on_failure(request: Request, error: Exception) -> Response:
    return _problem(500, "Internal error", "the service failed; its log says more")
