"""Samples for the command line: as a table, JSON or an Arrow file."""

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from matstream.generator_service import samples_json
from matstream.shared.files import written_aside
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import from_batch, select

# how a table, JSON and an Arrow file that matstream wrote begin
_WRITTEN = re.compile(rb"[a-z0-9_]+, sample [0-9]+\n|\{\n  \"spec\": |ARROW1.*matstream\.spec", re.DOTALL)


def show(spec: StreamSpec, made: Iterator[pa.RecordBatch], console: Console) -> None:
    """Print samples as tables, the target beside its input or, where they are too wide, below it."""
    for batch in made:
        columns = from_batch(batch)
        for row, index in enumerate(columns.index.tolist()):
            operation = spec.operation[0 if columns.operation is None else columns.operation[row]]
            attempt = f", attempt {columns.attempt[row]}" if columns.attempt[row] else ""
            inputs, targets = (select(column, [row]) for column in (columns.input, columns.target))
            grids = {"input": _grid(inputs[0]), "target": _grid(targets[0])}
            other = (
                ""
                if spec.operations[operation].has_one_answer(inputs, targets)[0]
                else ", not the only answer: a value repeats"
            )
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
            console.print(f"{_residual(columns.residual[row])}{attempt}{other}\n", highlight=False)


def _residual(value: float) -> str:
    return "no residual is measured" if math.isnan(value) else f"residual {value:.1e}"


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


def is_of_others(path: Path) -> bool:
    """Whether there is a file at `path` that none of these functions wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        beginning = file.read(10_000)
    return bool(beginning) and _WRITTEN.match(beginning) is None


def _grid(matrix: NDArray[np.float64]) -> str:
    """A matrix as lines of aligned numbers of four digits."""
    words = [[f"{value:.4g}" for value in row] for row in matrix]
    width = max(len(word) for row in words for word in row)
    return "\n".join("  ".join(word.rjust(width) for word in row) for row in words)
