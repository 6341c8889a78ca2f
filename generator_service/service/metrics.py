"""What the service counts, for Prometheus; added up over worker processes if there are several.

With several workers prometheus_client keeps the counts in files, in the folder that PROMETHEUS_MULTIPROC_DIR
names when it is imported (server.py sets it), so that any worker can report for all, dead ones included.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from matstream.shared.spec import StreamSpec
from matstream.shared.wire import from_batch

MEDIA_TYPE = CONTENT_TYPE_LATEST

disable_created_metrics()  # no metrics of the times at which counters began

samples = Counter("matstream_samples", "Samples handed to the network.", ["operation"])
redraws = Counter("matstream_redraws", "Attempts at samples sent, beyond the first of each.", ["operation"])
residual = Histogram(
    "matstream_residual",
    "Largest residual of each batch sent.",
    ["operation"],
    buckets=[10.0**exponent for exponent in range(-17, -8)],
)
sent_bytes = Counter("matstream_sent_bytes", "Bytes of streams handed to the network.")
compute_seconds = Counter("matstream_compute_seconds", "Seconds of threads that made batches.")
send_wait_seconds = Counter(
    "matstream_send_wait_seconds", "Seconds that ready batches waited for their readers."
)
open_streams = Gauge("matstream_open_streams", "Streams being sent.", multiprocess_mode="livesum")
requests = Counter("matstream_requests", "Requests answered.", ["route", "status"])
refusals = Counter(
    "matstream_refusals", "Requests refused: as invalid, busy, over the rate, or without key.", ["reason"]
)
workers = Gauge("matstream_workers", "Worker processes alive.", multiprocess_mode="livesum")
worker_starts = Counter(
    "matstream_worker_starts", "Worker processes started, those that replace dead ones included."
)


class Tally(NamedTuple):
    """What a batch holds of one operation."""

    operation: str
    samples: int
    redraws: int
    residual: float


def tallies(spec: StreamSpec, batch: pa.RecordBatch) -> Iterator[Tally]:
    """What a batch holds, operation by operation."""
    columns = from_batch(batch)
    kinds = columns.operation if columns.operation is not None else np.zeros(batch.num_rows, np.int8)
    for kind, operation in enumerate(spec.operation):
        rows = kinds == kind
        if rows.any():
            redrawn = int(columns.attempt[rows].sum(dtype=np.int64))
            yield Tally(operation, int(rows.sum()), redrawn, float(columns.residual[rows].max()))


def count_sent(sent: list[Tally]) -> None:
    """Count samples that were handed to the network."""
    for tally in sent:
        samples.labels(tally.operation).inc(tally.samples)
        redraws.labels(tally.operation).inc(tally.redraws)
        if not math.isnan(tally.residual):  # NaN, of an operation without a residual, would spoil the sum
            residual.labels(tally.operation).observe(tally.residual)


def exposition() -> bytes:
    """All counts in Prometheus' text format, those of every worker added up."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return generate_latest(REGISTRY)
    for path in Path(folder).glob("gauge_live*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another request has seen it too
                mark_process_dead(pid)
        except PermissionError:  # another user's process has got its id
            pass
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)
