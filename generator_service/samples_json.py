"""Samples as JSON for people: every matrix row on a line of its own."""

import json
import math
import re
from typing import Any

import pyarrow as pa

from matstream.shared.encodings import by_name, matrix_words
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import from_batch, select

MAX_JSON_SAMPLES = 100


def write(spec: StreamSpec, samples: SampleRange, batch: pa.RecordBatch, encoding: str | None) -> str:
    """The samples of a batch, with the words of their matrices if an encoding is named.

    Raises ValueError for a value too large for the encoding.
    """
    columns = from_batch(batch)
    entries = []
    for row, index in enumerate(columns.index.tolist()):
        one = {name: select(getattr(columns, name), [row]) for name in ("input", "target")}
        matrices = {name: matrix[0] for name, matrix in one.items()}
        operation = spec.operation[0 if columns.operation is None else columns.operation[row]]
        entry: dict[str, Any] = {"index": index}
        if columns.operation is not None:
            entry["operation"] = operation
        entry |= {name: matrix.tolist() for name, matrix in matrices.items()}
        residual = float(columns.residual[row])
        entry["residual"] = None if math.isnan(residual) else residual  # NaN: no residual is measured
        entry["attempt"] = int(columns.attempt[row])
        entry["unique"] = bool(spec.operations[operation].has_one_answer(one["input"], one["target"])[0])
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
