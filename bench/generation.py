"""Samples/s that reach a client over HTTP, against bare numpy.linalg on ready matrices, in the same run.

    python bench/generation.py [--seconds 1] [--rounds 5] [--out FILE.json]

A generator runs as a process of its own; this process reads its streams with one request in flight, verifying
every batch as the trainer does. Bare NumPy runs here, on one core, on matrices of the same stream. The two
are measured in turn, round by round, so that a slow spell of the machine falls on both.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cyclopts
import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from matstream.generator_service import numerics  # one BLAS thread here too
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import Matrices, from_batch
from matstream.trainer.client import stream
from matstream.trainer.client.embedded import embedded_generator

# operation -> what NumPy alone does with ready inputs (B, m, w)
BARE: dict[str, Callable[[np.ndarray], object]] = {
    "add": lambda a: a[:, :, : a.shape[2] // 2] + a[:, :, a.shape[2] // 2 :],
    "eigenvalues": np.linalg.eigvalsh,
    "eigenvectors": np.linalg.eigh,
    "inverse": np.linalg.inv,
    "matmul": lambda a: a[:, :, : a.shape[2] // 2].swapaxes(1, 2) @ a[:, :, a.shape[2] // 2 :],
    "matvec": lambda a: a[:, :, :-1].swapaxes(1, 2) @ a[:, :, -1:],
    "singular_values": lambda a: np.linalg.svd(a, compute_uv=False),
    "svd": lambda a: np.linalg.svd(a, full_matrices=False),
    "symmetric_inverse": np.linalg.inv,
    "transpose": lambda a: a.swapaxes(1, 2).copy(),
}
DIMS = (5, 10)
MIXED = "5-15"
STREAMED = (("transpose", "3"), ("eigenvalues", "5"), ("eigenvalues,svd", "2-5"))
SMALL_REQUESTS = ("/v1/samples?operation=add&dim=2", "/v1/stream?operation=eigenvalues&dim=5&count=100")
MOST_SERVED = 500_000  # samples of a measurement, for operations that take NumPy hardly any time


def main(seconds: float = 1.0, rounds: int = 5, out: Path | None = None) -> None:
    """Measure, print a table, and write it as JSON.

    Parameters
    ----------
    seconds
        About how long each measurement takes.
    rounds
        How often each is repeated; medians and spreads are over these.
    out
        Where to write the figures as JSON.
    """
    with _generator() as (url, _):
        fixed = [_against_numpy(url, op, dim, seconds, rounds) for op in BARE for dim in DIMS]
        mixed = [_mixed(url, op, seconds, rounds) for op in ("eigenvalues", "eigenvectors")]
        latency = {path: _latency(url, path) for path in SMALL_REQUESTS}
    memory = {f"{operation} {dim}": _memory(operation, dim) for operation, dim in STREAMED}
    _show(fixed, mixed, memory, latency)
    if out is not None:
        figures = {"machine": _machine(), "fixed": fixed, "mixed": mixed, "memory": memory}
        figures["latency_ms"] = latency
        out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _against_numpy(url: str, operation: str, dim: int, seconds: float, rounds: int) -> dict[str, Any]:
    spec = StreamSpec(operation=operation, dim=dim)
    matrices = _inputs(url, spec, 8192)
    bare_rate = len(matrices) / _timed(lambda: BARE[operation](matrices))
    repeats = max(1, int(bare_rate * seconds / len(matrices)))
    count = min(MOST_SERVED, int(bare_rate * seconds))
    bare, served = [], []
    for _ in range(rounds):
        bare.append(
            repeats * len(matrices) / _timed(lambda: [BARE[operation](matrices) for _ in range(repeats)])
        )
        served.append(count / _timed(lambda: _drain(url, spec, count)))
    ratios = [s / b for s, b in zip(served, bare, strict=True)]
    return {"operation": operation, "dim": dim} | {
        name: _spread(values) for name, values in (("bare", bare), ("served", served), ("ratio", ratios))
    }


def _mixed(url: str, operation: str, seconds: float, rounds: int) -> dict[str, Any]:
    """The cost of a sample of mixed dimensions, over the mean of the costs at each dimension alone."""
    low, high = map(int, MIXED.split("-"))
    specs = {dim: StreamSpec(operation=operation, dim=dim) for dim in range(low, high + 1)}
    together = StreamSpec(operation=operation, dim=MIXED)
    count = int(seconds * 20_000)
    ratios = []
    for _ in range(rounds):
        alone = [_timed(lambda spec=spec: _drain(url, spec, count)) for spec in specs.values()]
        ratios.append(_timed(lambda: _drain(url, together, count)) / statistics.mean(alone))
    return {"operation": operation, "dim": MIXED, "cost": _spread(ratios)}


def _memory(operation: str, dim: str) -> dict[str, float]:
    """Peak resident MiB of a fresh generator during streams of growing length, measured for each stream."""
    spec = StreamSpec(operation=operation, dim=dim)
    peaks = {}
    with _generator() as (url, process):
        for count in (10**5, 10**6, 10**7):
            Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")  # forget the last peak
            _drain(url, spec, count)
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            peaks[f"{count:,}"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return peaks


def _latency(url: str, path: str) -> dict[str, float]:
    """Milliseconds that a small request takes, one after another on one connection."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        client.get(path).raise_for_status()
        return _spread([1e3 * _timed(lambda: client.get(path)) for _ in range(200)])


def _inputs(url: str, spec: StreamSpec, count: int) -> np.ndarray:
    parts = [from_batch(batch).input for batch in stream(url, spec, 0, "train", 0, count)]
    assert not any(isinstance(part, Matrices) for part in parts)
    return np.concatenate(parts)


def _drain(url: str, spec: StreamSpec, count: int) -> None:
    """Read a whole stream as one request, verified."""
    taken = sum(
        batch.num_rows
        for batch in stream(url, spec, 0, "train", 0, count, connections=1, request_samples=count)
    )
    assert taken == count


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "platform": platform.platform(), **numerics.numerics()}


@contextmanager
def _generator() -> Iterator[tuple[str, psutil.Process]]:
    with embedded_generator() as url:
        [child] = psutil.Process().children()
        yield url, child


def _show(
    fixed: list[dict[str, Any]],
    mixed: list[dict[str, Any]],
    memory: dict[str, dict[str, float]],
    latency: dict[str, dict[str, float]],
) -> None:
    console = Console()
    table = Table("operation", "dim", "bare NumPy /s", "served /s", "ratio", "least–most", box=None)
    for row in fixed:
        ratio = row["ratio"]
        table.add_row(
            row["operation"],
            str(row["dim"]),
            f"{row['bare']['median']:,.0f}",
            f"{row['served']['median']:,.0f}",
            f"{ratio['median']:.2f}",
            f"{ratio['least']:.2f}–{ratio['most']:.2f}",
        )
    console.print(table)
    for row in mixed:
        cost = row["cost"]
        console.print(
            f"{row['operation']} {row['dim']}: {cost['median']:.2f} × the mean cost of its dimensions "
            f"({cost['least']:.2f}–{cost['most']:.2f})"
        )
    for path, took in latency.items():
        console.print(f"{path}: {took['median']:.1f} ms ({took['least']:.1f}–{took['most']:.1f})")
    for streamed, peaks in memory.items():
        text = ", ".join(f"{peak:.0f} MiB in {count}" for count, peak in peaks.items())
        console.print(f"peak memory of a generator, {streamed}: {text}")


if __name__ == "__main__":
    cyclopts.run(main)
