"""The body of POST /v1/score -> predictions: JSON, CSV, or an Arrow stream."""

import asyncio
import io
import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from starlette.exceptions import HTTPException
from starlette.requests import Request

from matstream.shared.errors import Problem, RefusedError, first_line
from matstream.shared.marking import Predictions
from matstream.shared.wire import MEDIA_TYPE

JSON, CSV = "application/json", "text/csv"
READ_SECONDS = 60.0  # in which a body must have come


class Body(NamedTuple):
    """What a client sent: predictions, and fields of the query that stand beside them in JSON."""

    predictions: Predictions
    fields: dict[str, Any]


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request. Raises RefusedError if it has more than `most` bytes, HTTPException (408) if it
    does not come."""
    refused = RefusedError(
        [Problem("predictions", None, f"are more than {most} bytes: must be at most that in one request")]
    )
    if int(request.headers.get("content-length", "0")) > most:
        raise refused
    parts, size = [], 0
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise refused
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {READ_SECONDS:g} s") from None
    return b"".join(parts)


def parsed(content: bytes, media_type: str) -> Body:
    """Predictions as they are written in JSON, CSV (a prediction a row) or Arrow (a column `prediction`).

    Raises RefusedError, which says what is expected."""
    kind = media_type.partition(";")[0].strip().lower()
    if kind == CSV:
        return Body(_from_csv(content), {})
    if kind == MEDIA_TYPE:
        return Body(_from_arrow(content), {})
    if kind in (JSON, ""):
        return _from_json(content)
    raise _wrong(f"are of media type {kind!r}: must be {JSON}, {CSV} or {MEDIA_TYPE}, by Content-Type")


def _from_json(content: bytes) -> Body:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"are not JSON: {first_line(error)}") from None
    fields: dict[str, Any] = {}
    if isinstance(document, dict):
        fields = {name: value for name, value in document.items() if name != "predictions"}
        document = document.get("predictions")
    if not isinstance(document, list) or not document:
        raise _wrong("must be a list of matrices, in JSON by itself or as `predictions` of an object")
    try:
        regular = np.array(document, dtype=np.float64)  # null is NaN
    except (TypeError, ValueError, OverflowError):
        regular = None
    if regular is not None and regular.ndim > 1:
        sizes = np.full(len(regular), regular[0].size)
        return Body(Predictions(regular.reshape(-1), sizes), fields)
    try:
        each = [np.array(matrix, dtype=np.float64).reshape(-1) for matrix in document]
    except (TypeError, ValueError, OverflowError):
        raise _wrong("must be matrices: lists of rows of numbers, null for what is no number") from None
    return Body(Predictions(np.concatenate(each), np.array([len(one) for one in each])), fields)


def _from_csv(content: bytes) -> Predictions:
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(content.rstrip() + b"\n"),  # a line without an end is no line to it
            read_options=pyarrow.csv.ReadOptions(autogenerate_column_names=True, use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(
                null_values=["", "nan", "NaN", "null", "None", "NA"], strings_can_be_null=True
            ),
        )
        columns = [pc.cast(column, pa.float64()) for column in table.columns]
    except pa.ArrowInvalid as error:
        reason = f"are not CSV of numbers: {first_line(error)}"
        raise _wrong(
            f"{reason}; must be a prediction a line, its entries row by row, without a heading"
        ) from None
    entries = np.stack([column.to_numpy() for column in columns], axis=1).astype(np.float64)
    return Predictions(entries.reshape(-1), np.full(len(entries), entries.shape[1]))


def _from_arrow(content: bytes) -> Predictions:
    try:
        table = pa.ipc.open_stream(content).read_all()
        column = table.column("prediction").combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if pa.types.is_struct(column.type):  # matrices whose shapes vary, as in a stream
            column = column.field("data")
        sizes = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        entries = pc.cast(column.flatten(), pa.float64()).to_numpy(zero_copy_only=False)
        return Predictions(np.asarray(entries, dtype=np.float64), np.asarray(sizes, dtype=np.int64))
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        reason = f"are no Arrow stream with a column `prediction` of lists of numbers: {first_line(error)}"
        raise _wrong(reason) from None


def _wrong(reason: str) -> RefusedError:
    return RefusedError([Problem("predictions", None, reason)])
