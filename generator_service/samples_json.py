"""Samples as JSON for people: every matrix row on a line of its own."""

import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shared.encodings import by_name, matrix_words
from shared.spec import SampleRange, StreamSpec
from shared.wire import Matrices, from_batch

MAX_JSON_SAMPLES = 100


def write(spec: StreamSpec, samples: SampleRange, batch: pa.RecordBatch, encoding: str | None) -> str:
    """The samples of a batch, with the words of their matrices if an encoding is named.

    Raises ValueError for a value too large for the encoding.
    """
    columns = from_batch(batch)
    entries = []
    for row, index in enumerate(columns.index.tolist()):
        matrices = {"input": matrix_at(columns.input, row), "target": matrix_at(columns.target, row)}
        entry: dict[str, Any] = {"index": index}
        if columns.operation is not None:
            entry["operation"] = spec.operation[columns.operation[row]]
        entry |= {name: matrix.tolist() for name, matrix in matrices.items()}
        entry["residual"] = float(columns.residual[row])
        entry["attempt"] = int(columns.attempt[row])
        if encoding is not None:
            entry["words"] = {
                name: " ".join(matrix_words(by_name(encoding), matrix)) for name, matrix in matrices.items()
            }
        entries.append(entry)
    return legible({"spec": spec.fields(), "seed": samples.seed, "split": samples.split, "samples": entries})


def legible(document: dict[str, Any]) -> str:
    """Indented JSON in which a list of plain values stands on one line."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)
    return re.sub(r"\[\s+([^\[\]{}]+?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def matrix_at(column: NDArray[np.float64] | Matrices, row: int) -> NDArray[np.float64]:
    """The matrix of one row of a column."""
    if not isinstance(column, Matrices):
        matrix: NDArray[np.float64] = column[row]
        return matrix
    end = column.shapes[: row + 1].prod(axis=1).sum()
    rows, cols = column.shapes[row]
    return column.entries[end - rows * cols : end].reshape(rows, cols)
