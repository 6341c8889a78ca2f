"""The HTTP service: its routes, and what every request goes through."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from matstream.generator_service import numerics, samples_json
from matstream.generator_service.service import metrics, refusals
from matstream.generator_service.service.access import Access, Door, client_of, listed
from matstream.generator_service.service.bodies import CSV, JSON, media_type, memory_of, parsed, read_body
from matstream.generator_service.service.catalog import catalog
from matstream.generator_service.service.limits import Limits, check_samples, check_scores, check_stream
from matstream.generator_service.service.open_streams import Slots, busy
from matstream.generator_service.service.queries import (
    NoQuery,
    SamplesQuery,
    ScoreQuery,
    StreamQuery,
    openapi_parameters,
    read_query,
    refuse_long_queries,
)
from matstream.generator_service.service.sending import (
    TimedPool,
    arrow,
    etag,
    offered,
    return_memory,
    unchanged,
)
from matstream.generator_service.stream import generate, makers
from matstream.shared.encodings import by_name
from matstream.shared.errors import Problem, RefusedError
from matstream.shared.marking import Marks
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import MEDIA_TYPE, WIRE_VERSION, schema

STATIC = Path(__file__).parents[1] / "static"


def create_app() -> FastAPI:
    """The service as an ASGI application, under the limits and the access that the environment sets."""
    limits, access = Limits(), Access()
    door = Door(access)
    computing = TimedPool(os.cpu_count(), thread_name_prefix="matstream-compute")
    slots = Slots(access.max_streams, 2 * limits.max_batch_bytes)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # made before the first request is accepted: a service that cannot make a sample does not start
        generate(StreamSpec.model_validate({"operation": "eigenvalues", "dim": 3}), 0, "train", 0, 1)
        metrics.worker_starts.inc()
        metrics.workers.inc()
        returning = asyncio.create_task(return_memory(slots))
        yield
        returning.cancel()
        # nobody is left to read what was still to be made
        computing.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title="matstream",
        summary="Endless linear-algebra problems, as Arrow streams",
        version=version("matstream"),
        docs_url=None,  # FastAPI's page loads from a CDN
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": "."}],  # where the document itself is
        lifespan=lifespan,
        exception_handlers={
            RefusedError: refusals.on_refused,
            HTTPException: refusals.on_http_error,
            Exception: refusals.on_failure,
        },
    )
    app.state.door = door
    app.add_middleware(refuse_long_queries)
    if access.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=listed(access.cors_origins),
            allow_headers=["Authorization", "Content-Type", "If-None-Match"],
            allow_methods=["GET", "HEAD", "POST"],
            expose_headers=["ETag", "Retry-After", "X-Request-ID"],
        )
    checked = [Depends(door.check)] if door.private else []
    v1 = APIRouter(prefix="/v1", dependencies=checked, responses=_PROBLEMS)

    @v1.head("/stream", include_in_schema=False)
    @v1.get(
        "/stream", openapi_extra=openapi_parameters(StreamQuery), responses=_STREAM, response_class=Response
    )
    async def stream(request: Request, held: Held) -> Response:
        """Samples [start, start+count) in order, as an Arrow IPC stream."""
        query = read_query(StreamQuery, request)
        spec = query.spec()
        batch_rows = check_stream(limits, spec, query.count, query.batch_rows)
        stream_schema = schema(spec, query, numerics.fingerprint())
        tag = etag(stream_schema, batch_rows)
        headers = {"ETag": tag, "Cache-Control": "no-cache, private" if door.private else "no-cache"}
        if unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        if request.method == "HEAD":
            return StreamingResponse(iter(()), headers=headers, media_type=MEDIA_TYPE)
        pieces = arrow(spec, query, batch_rows, computing, slots, client_of(request))
        return StreamingResponse(await _begun(pieces, held, request), headers=headers, media_type=MEDIA_TYPE)

    @v1.head("/samples", include_in_schema=False)
    @v1.get(
        "/samples",
        openapi_extra=openapi_parameters(SamplesQuery),
        responses=_SAMPLES,
        response_class=Response,
    )
    async def samples(request: Request, held: Held) -> Response:
        """A few samples as JSON for people."""
        query = read_query(SamplesQuery, request)
        spec = query.spec()
        check_samples(limits, spec, query.count)
        if request.method == "HEAD":
            return Response(media_type="application/json")

        def make() -> tuple[bytes, list[metrics.Tally]]:
            batch = generate(spec, query.seed, query.split, query.start, query.count)
            try:
                text = samples_json.write(spec, query, batch, query.encoding)
            except ValueError as error:
                raise RefusedError([Problem("encoding", query.encoding, str(error))]) from None
            return text.encode(), list(metrics.tallies(spec, batch))

        async def pieces() -> AsyncGenerator[bytes, None]:
            async with slots.one(client_of(request)) as slot:
                text, holds = await asyncio.wrap_future(computing.submit(make))
                metrics.count_sent(holds)
                yield b""
                async for piece in offered([text], slot):
                    yield piece

        return StreamingResponse(await _begun(pieces(), held, request), media_type="application/json")

    @v1.post(
        "/score",
        openapi_extra=openapi_parameters(ScoreQuery) | _PREDICTIONS,
        responses=_SCORES,
        response_class=Response,
    )
    async def score(request: Request) -> Response:
        """Scores of predictions for the samples of a test split from `start` on, one for each prediction."""
        async with slots.one(client_of(request)) as slot:
            await slots.take(slot, memory_of(request, limits.max_body_bytes))
            content = await read_body(request, limits.max_body_bytes, slot)

            def add(make: Callable[[], pa.RecordBatch]) -> None:
                marks.add(make())

            async with _given_up_without_client(request):
                read = computing.submit(parsed, content, media_type(request))
                predictions, fields = await asyncio.wrap_future(read)
                query = read_query(ScoreQuery, request, fields)
                spec, count = query.spec(), len(predictions.sizes)
                rows = check_scores(limits, spec, count)
                samples = query.samples(count)
                marks = Marks(spec, predictions, by_name(query.encoding))
                for batch in makers(spec, samples, rows):  # one at a time, so that others get their turn
                    await asyncio.wrap_future(computing.submit(add, batch))
                found = await asyncio.wrap_future(computing.submit(marks.summary))
            about = {"spec": spec.fields(), **samples.model_dump(), "encoding": query.encoding}
            return Response(samples_json.legible(about | found).encode(), media_type="application/json")

    @v1.head("/catalog", include_in_schema=False)
    @v1.get("/catalog")
    async def catalog_of_limits(request: Request) -> Response:
        """What can be asked for: operations, laws, spectra, structures, encodings, limits."""
        read_query(NoQuery, request)
        return Response(samples_json.legible(catalog(limits)), media_type="application/json")

    app.include_router(v1)

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
    @app.get("/version", responses=_REFUSED)
    async def versions(request: Request) -> dict[str, Any]:
        """Versions, and the numerics behind the fingerprint of every stream."""
        read_query(NoQuery, request)
        return {
            "matstream": version("matstream"),
            "wire_version": WIRE_VERSION,
            "fingerprint": numerics.fingerprint(),
            "numerics": numerics.numerics(),
        }

    @app.head("/metrics", include_in_schema=False, dependencies=checked)
    @app.get("/metrics", dependencies=checked, responses=_PROBLEMS | _METRICS, response_class=Response)
    async def prometheus() -> Response:
        """Counts for Prometheus, those of every worker added up."""
        return Response(metrics.exposition(), media_type=metrics.MEDIA_TYPE)

    @app.head("/docs", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """The API's documentation, which loads nothing from elsewhere."""
        swagger = "static/vendor/swagger-ui-5.35.0"  # addresses that hold behind a proxy's path prefix too
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="matstream: the API",
            swagger_js_url=f"{swagger}/swagger-ui-bundle.js",
            swagger_css_url=f"{swagger}/swagger-ui.css",
            swagger_favicon_url=f"{swagger}/favicon-32x32.png",
        )

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def playground() -> Response:
        """The page on which people choose a stream and watch it."""
        return FileResponse(STATIC / "index.html", headers={"Content-Security-Policy": "default-src 'self'"})

    app.mount("/static", StaticFiles(directory=STATIC))
    return app


_LOOK_SECONDS = 1.0  # between two checks that the client of an answer that has not begun is still there


async def _held() -> AsyncIterator[AsyncExitStack]:
    """A stack for what an answer holds; it is released when the last byte is sent or the client is gone."""
    async with AsyncExitStack() as stack:
        yield stack


async def _begun(
    pieces: AsyncGenerator[bytes, None], held: AsyncExitStack, request: Request
) -> AsyncGenerator[bytes, None]:
    """Wait for the first piece of an answer, which is empty, before the headers are sent, so that an error
    until then gets an answer of its own. The answer is given up if its client leaves, or if its slot goes to
    another client."""
    await held.enter_async_context(aclosing(pieces))
    async with _given_up_without_client(request):
        await anext(pieces)
    return pieces


@asynccontextmanager
async def _given_up_without_client(request: Request) -> AsyncIterator[None]:
    """What is awaited within is given up if the client leaves, or if its slot goes to another client."""
    task = asyncio.current_task()
    assert task is not None
    leaving = asyncio.create_task(_cancelled_without_client(task, request))
    try:
        yield
    except asyncio.CancelledError:
        raise busy() from None
    finally:
        leaving.cancel()


async def _cancelled_without_client(task: asyncio.Task[Any], request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(_LOOK_SECONDS)
    task.cancel()


Held = Annotated[AsyncExitStack, Depends(_held)]


def _response(description: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}}


_REFUSED: dict[int | str, dict[str, Any]] = {
    422: _response("refused: the field, the value, what is allowed", refusals.MEDIA_TYPE, refusals.SCHEMA)
}
_PROBLEMS: dict[int | str, dict[str, Any]] = _REFUSED | {
    401: _response(
        "the service has API keys, and the request has none of them", refusals.MEDIA_TYPE, refusals.SCHEMA
    ),
    414: _response("the query is too long", refusals.MEDIA_TYPE, refusals.SCHEMA),
    429: _response("the key has used up its rate", refusals.MEDIA_TYPE, refusals.SCHEMA),
    503: _response("busy; ask again after Retry-After seconds", refusals.MEDIA_TYPE, refusals.SCHEMA),
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: _response("an Arrow IPC stream", MEDIA_TYPE, {"type": "string", "format": "binary"}),
    304: {"description": "the client already has what would be sent, by its If-None-Match"},
}
_SAMPLES: dict[int | str, dict[str, Any]] = {
    200: _response("samples, as JSON for people", "application/json", {"type": "object"})
}
_SCORES: dict[int | str, dict[str, Any]] = {
    200: _response("the scores, as shares by tolerance", "application/json", {"type": "object"}),
    408: _response("the body did not come", refusals.MEDIA_TYPE, refusals.SCHEMA),
}
_ROWS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_MATRICES = {"type": "array", "items": _ROWS}
_PREDICTIONS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Predictions (p×q matrices like the targets), in the order of the samples: in JSON a "
        "list of matrices, or an object with it as `predictions` beside fields of the query; in CSV a "
        "prediction a line, its entries row by row; in Arrow a column `prediction`, of lists of entries.",
        "content": {
            JSON: {
                "schema": {"type": "object", "properties": {"predictions": _MATRICES}},
                "example": {"operation": "transpose", "dim": 2, "predictions": [[[1, 3], [2, 4]]]},
            },
            CSV: {"schema": {"type": "string"}},
            MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_METRICS: dict[int | str, dict[str, Any]] = {
    200: _response("Prometheus' text format", "text/plain", {"type": "string"})
}
