"""Samples for the command line: made here or read from a generator; as a table, JSON or an Arrow file."""

import itertools
import json
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from generator_service import samples_json
from generator_service.stream import batches, default_batch_rows
from shared.errors import UserError, first_line
from shared.files import written_aside
from shared.spec import SampleRange, StreamSpec
from shared.urls import LOOPBACK, authorization, host_of
from shared.wire import from_batch, read_stream, select


def samples_of(spec: StreamSpec, samples: SampleRange, generator: str | None) -> Iterator[pa.RecordBatch]:
    """The samples, made here or read, verified, from the generator at a URL.

    Raises UserError for a generator that cannot be reached or refuses; WireError for a damaged answer.
    """
    if generator is None:
        yield from batches(spec, samples, default_batch_rows(spec))
        return
    direct = host_of(generator) in LOOPBACK
    opener = build_opener(ProxyHandler({})) if direct else build_opener()
    query = urlencode({**spec.fields(), **samples.model_dump()})
    request = Request(f"{generator.rstrip('/')}/v1/stream?{query}", headers=authorization())
    try:
        with opener.open(request, timeout=60) as response:
            batches_read = read_stream(response, spec, samples)
            while (batch := next(batches_read, None)) is not None:
                yield batch
    except HTTPError as error:
        raise UserError(f"{generator} answered {error.code}: {_detail(error)}") from None
    except URLError as error:
        raise UserError(f"{generator} cannot be reached: {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise UserError(f"{generator} broke off its answer: {first_line(error)}") from None


def show(spec: StreamSpec, made: Iterator[pa.RecordBatch], console: Console) -> None:
    """Print samples as tables, the target beside its input or, where they are too wide, below it."""
    for batch in made:
        columns = from_batch(batch)
        for row, index in enumerate(columns.index.tolist()):
            operation = spec.operation[0 if columns.operation is None else columns.operation[row]]
            attempt = f", attempt {columns.attempt[row]}" if columns.attempt[row] else ""
            matrices = (select(column, [row])[0] for column in (columns.input, columns.target))
            grids = dict(zip(("input", "target"), map(_grid, matrices), strict=True))
            console.print(f"[bold]{operation}[/bold], sample {index}", highlight=False)
            beside = Table(*grids, box=SIMPLE_HEAD)
            beside.add_row(*grids.values())
            unbounded = console.options.update(width=10**9)
            if console.measure(beside, options=unbounded).maximum <= console.width:
                console.print(beside)
            else:
                for name, grid in grids.items():
                    console.print(f"\n{name}\n{grid}", markup=False, soft_wrap=True)
                console.print()
            console.print(f"residual {columns.residual[row]:.1e}{attempt}\n", highlight=False)


def as_json(
    spec: StreamSpec, samples: SampleRange, made: Iterator[pa.RecordBatch], encoding: str | None
) -> str:
    """The samples as the service's JSON for people."""
    table = pa.Table.from_batches(list(made)).combine_chunks()
    return samples_json.write(spec, samples, table.to_batches()[0], encoding)


def write_arrow(path: Path, made: Iterator[pa.RecordBatch]) -> int:
    """Write the samples as an Arrow IPC file, batch by batch, whole or not at all; returns how many."""
    written: int = 0
    first = next(made)
    with (
        written_aside(path) as aside,
        pa.OSFile(str(aside), "wb") as sink,
        pa.ipc.new_file(sink, first.schema) as writer,
    ):
        for batch in itertools.chain([first], made):
            writer.write_batch(batch)
            written += batch.num_rows
    return written


def _grid(matrix: NDArray[np.float64]) -> str:
    """A matrix as lines of aligned numbers of four digits."""
    words = [[f"{value:.4g}" for value in row] for row in matrix]
    width = max(len(word) for row in words for word in row)
    return "\n".join("  ".join(word.rjust(width) for word in row) for row in words)


def _detail(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
