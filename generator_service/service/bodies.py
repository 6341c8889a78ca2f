"""The body of POST /v1/score -> predictions: JSON, CSV, or an Arrow stream."""

import asyncio
import contextlib
import io
import json
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import Request

from matstream.generator_service.service.open_streams import Slot, busy
from matstream.shared.arrow_bytes import ArrowBytes, WireError
from matstream.shared.errors import Problem, RefusedError, first_line
from matstream.shared.marking import Predictions
from matstream.shared.wire import MEDIA_TYPE

JSON, CSV = "application/json", "text/csv"
_ENTRIES = pa.list_(pa.float64())
_ROWS = pa.list_(_ENTRIES)
READ_SECONDS = 60.0  # in which a body must have come
# bytes of memory for a byte of a body, at most: JSON becomes Python's lists and floats first
JSON_MEMORY, TABLE_MEMORY = 56, 36


class Body(NamedTuple):
    """What a client sent: predictions, and fields of the query that stand beside them in JSON."""

    predictions: Predictions
    fields: dict[str, Any]


def media_type(request: Request) -> str:
    """What a body is written in, by its header."""
    return (request.headers.get("content-type") or JSON).partition(";")[0].strip().lower()


def memory_of(request: Request, most: int) -> int:
    """Bytes of memory that a body of at most `most` bytes may need, and what it is read into.

    Raises RefusedError if its headers say that it has more bytes or is compressed.
    """
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise _wrong(f"have Content-Encoding {coding!r}: must not be compressed")
    told = request.headers.get("content-length")
    size = most if told is None else int(told)
    if size > most:
        raise _too_large(most)
    return size * (JSON_MEMORY if media_type(request) == JSON else TABLE_MEMORY)


async def read_body(request: Request, most: int, slot: Slot) -> bytes:
    """The body of a request.

    Raises RefusedError if it has more than `most` bytes, HTTPException if it does not come: 408, or 503 if
    meanwhile its slot went to another client.
    """
    parts, size = [], 0
    slot.awaited = monotonic()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for part in request.stream():
                slot.awaited = monotonic()
                size += len(part)
                if size > most:
                    raise _too_large(most)
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {READ_SECONDS:g} s") from None
    except asyncio.CancelledError:
        raise busy() from None
    finally:
        slot.awaited = None
    return b"".join(parts)


def parsed(content: bytes, kind: str) -> Body:
    """Predictions as they are written in JSON, CSV (a prediction a row) or Arrow (a column `prediction`).

    Raises RefusedError, which says what is expected."""
    if kind == CSV:
        body = Body(_from_csv(content), {})
    elif kind == MEDIA_TYPE:
        body = Body(_from_arrow(content), {})
    elif kind == JSON:
        body = _from_json(content)
    else:
        raise _wrong(f"are of media type {kind!r}: must be {JSON}, {CSV} or {MEDIA_TYPE}, by Content-Type")
    if not len(body.predictions.sizes):
        raise _wrong("are none: must be at least one")
    return body


def _from_json(content: bytes) -> Body:
    try:
        document = json.loads(content, parse_int=_number)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"are not JSON: {first_line(error)}") from None
    fields: dict[str, Any] = {}
    if isinstance(document, dict):
        fields = {name: value for name, value in document.items() if name != "predictions"}
        document = document.get("predictions")
    if not isinstance(document, list) or not document:
        raise _wrong("must be a list of matrices, in JSON by itself or as `predictions` of an object")
    for type_ in (_ROWS, _ENTRIES):
        with contextlib.suppress(pa.ArrowException):
            return Body(_of_lists(pa.array(document, type_)), fields)
    raise _wrong("must be matrices: lists of rows of numbers, null for what is no number")


def _number(text: str) -> int | float:
    """A whole number of JSON: one that float64 cannot hold exactly is rounded."""
    return int(text) if len(text) <= 15 else float(text)


def _from_csv(content: bytes) -> Predictions:
    content = content.replace(b"\r\n", b"\n").strip()
    if not content:
        raise _wrong("are not CSV of numbers: there is none")
    marks = np.frombuffer(content, np.uint8)
    marks = marks[(marks == ord(",")) | (marks == ord("\n"))] == ord("\n")
    sizes = np.diff(np.flatnonzero(marks), prepend=-1, append=len(marks))
    try:
        # one number a line: what it reads columns into takes memory for each of them
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content.replace(b",", b"\n") + b"\n"),
            read_options=pyarrow.csv.ReadOptions(column_names=["entry"], use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={"entry": pa.float64()}, null_values=["", "nan", "NaN", "null", "None", "NA"]
            ),
        )
    except pa.ArrowInvalid as error:
        reason = f"are not CSV of numbers: {first_line(error).rpartition(': ')[2]}"
        raise _wrong(
            f"{reason}; must be a prediction a line, its entries row by row, without a heading"
        ) from None
    return Predictions(table.column("entry").to_numpy(), sizes)


def _from_arrow(content: bytes) -> Predictions:
    # compressed, or of a type that needs no bytes for a value, a few bytes would become gigabytes
    source = ArrowBytes(io.BytesIO(content), len(content))
    try:
        column = pa.ipc.open_stream(pa.PythonFile(source, mode="r")).read_all().column("prediction")
        column.validate(full=True)
        if len(column) > len(content):
            raise ValueError("a value takes no bytes")
        column = pa.concat_arrays(column.chunks)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        if pa.types.is_struct(column.type):  # matrices whose shapes vary, as in a stream
            if column.type.get_field_index("data") < 0:
                raise TypeError(f"its type is {column.type}")
            column = column.field("data")
        return _of_lists(column)
    except (pa.ArrowException, WireError, OSError, KeyError, ValueError, TypeError) as error:
        told = source.error or error
        reason = f"are no Arrow stream with a column `prediction` of lists of numbers: {first_line(told)}"
        raise _wrong(reason) from None
    finally:
        source.error = None  # its traceback holds all that was read


def _of_lists(column: pa.Array) -> Predictions:
    """The predictions in an array of lists of entries, or of lists of rows. A null entry is NaN.

    Raises TypeError for an array of something else.
    """
    if not _is_list(column.type):
        raise TypeError(f"its type is {column.type}")
    sizes, entries, rows = _lengths(column), column.flatten(), None
    if _is_list(entries.type):
        rows, each = sizes, _lengths(entries)
        last = np.cumsum(rows)
        whose = np.repeat(np.arange(len(rows)), rows)
        uneven = np.flatnonzero(each != each[(last - rows)[whose]])
        if len(uneven):
            raise _wrong(f"must be matrices: the rows of number {whose[uneven[0]]} differ in length")
        ends = np.concatenate([[0], np.cumsum(each)])
        sizes, entries = ends[last] - ends[last - rows], entries.flatten()
    if not (pa.types.is_integer(entries.type) or pa.types.is_floating(entries.type)):
        raise TypeError(f"its type is {column.type}")
    values = pc.cast(entries, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return Predictions(values, sizes, rows)


def _is_list(type_: pa.DataType) -> bool:
    return isinstance(type_, pa.ListType | pa.LargeListType | pa.FixedSizeListType)


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    """How many values each list has; a null has none."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)


def _too_large(most: int) -> RefusedError:
    return _wrong(
        f"are more than {most} bytes: must be at most that in one request; send them in parts, by start"
    )


def _wrong(reason: str) -> RefusedError:
    return RefusedError([Problem("predictions", None, reason)])
