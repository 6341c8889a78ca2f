"""Samples for the command line: made here or read from a generator; as a table, JSON or an Arrow file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, build_opener

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from generator_service import samples_json
from generator_service.stream import batches, default_batch_rows
from shared.errors import UserError
from shared.spec import SampleRange, StreamSpec
from shared.wire import from_batch, read_stream

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def samples_of(spec: StreamSpec, samples: SampleRange, generator: str | None) -> Iterator[pa.RecordBatch]:
    """The samples, made here or read, verified, from the generator at a URL.

    Raises UserError for a generator that cannot be reached or refuses; WireError for a damaged answer.
    """
    if generator is None:
        yield from batches(spec, samples, default_batch_rows(spec))
        return
    if not generator.startswith(("http://", "https://")):
        raise UserError(f"generator {generator!r}: must be a URL like http://127.0.0.1:8000")
    direct = urlsplit(generator).hostname in LOOPBACK
    opener = build_opener(ProxyHandler({})) if direct else build_opener()
    query = urlencode({**spec.fields(), **samples.model_dump()})
    try:
        with opener.open(f"{generator.rstrip('/')}/v1/stream?{query}", timeout=60) as response:
            yield from read_stream(response, spec, samples)
    except HTTPError as error:
        raise UserError(f"{generator} answered {error.code}: {_detail(error)}") from None
    except URLError as error:
        raise UserError(f"{generator} cannot be reached: {error.reason}") from None


def show(spec: StreamSpec, made: Iterator[pa.RecordBatch], file: TextIO) -> None:
    """Print samples as tables."""
    console = Console(file=file)
    for batch in made:
        columns = from_batch(batch)
        for row, index in enumerate(columns.index.tolist()):
            operation = spec.operation[0 if columns.operation is None else columns.operation[row]]
            table = Table(box=SIMPLE_HEAD, title=f"{operation} · sample {index}", title_justify="left")
            table.add_column("input", no_wrap=True)
            table.add_column("target", no_wrap=True)
            matrices = (samples_json.matrix_at(column, row) for column in (columns.input, columns.target))
            table.add_row(*map(_grid, matrices))
            attempt = columns.attempt[row]
            table.caption = f"residual {columns.residual[row]:.1e}" + (
                f", attempt {attempt}" if attempt else ""
            )
            table.caption_justify = "left"
            console.print(table)


def as_json(
    spec: StreamSpec, samples: SampleRange, made: Iterator[pa.RecordBatch], encoding: str | None
) -> str:
    """The samples as the service's JSON for people."""
    table = pa.Table.from_batches(list(made)).combine_chunks()
    return samples_json.write(spec, samples, table.to_batches()[0], encoding)


def write_arrow(path: Path, made: Iterator[pa.RecordBatch]) -> int:
    """Write the samples as an Arrow IPC file, batch by batch, whole or not at all; returns how many."""
    aside = path.with_name(f".{path.name}.part")
    written: int = 0
    try:
        first = next(made)
        with pa.OSFile(str(aside), "wb") as sink, pa.ipc.new_file(sink, first.schema) as writer:
            writer.write_batch(first)
            written += first.num_rows
            for batch in made:
                writer.write_batch(batch)
                written += batch.num_rows
        aside.replace(path)
    except OSError as error:
        raise UserError(f"--out {path}: {error.strerror or error}") from None
    finally:
        aside.unlink(missing_ok=True)
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
