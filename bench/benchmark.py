"""The frozen test sets of docs/benchmark.md: their hashes, and what numerical methods and models score on
them.

`.venv/bin/python bench/benchmark.py [RUN …]` writes docs/benchmark.json, which keeps the rows of models that
it was given before, and from it the tables in docs/benchmark.md.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import matstream
from matstream.generator_service.stream import batches, default_batch_rows
from matstream.shared.benchmark import RANGE, BenchmarkSet, benchmark_sets, hash_of_inputs
from matstream.trainer.display.formatting import percent
from matstream.trainer.scoring.baselines import Part, compared

FILE, PAGE = Path("docs/benchmark.json"), Path("docs/benchmark.md")
BEGIN, END = "<!-- written by bench/benchmark.py -->\n", "<!-- end -->\n"


def measured(one: BenchmarkSet) -> dict[str, Any]:
    """The hash of a set, and what methods and the best constant answer reach on it."""
    made: list[pa.RecordBatch] = list(batches(one.spec, RANGE, default_batch_rows(one.spec)))
    samples = matstream.sample(one.spec, count=RANGE.count, split="test")
    [operation] = one.spec.operations.values()
    part = Part(operation, np.asarray(samples.inputs), np.asarray(samples.targets))
    records = compared(one.spec.operation[0], [part])
    return {"query": one.query, "hash": hash_of_inputs(made), "baselines": records}


def rows_of(run: str) -> list[str]:
    """The rows that `matstream benchmark` prints of a run."""
    command = [sys.executable, "-m", "matstream", "benchmark", run]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line for line in printed.splitlines() if re.match(r"\| [a-z_]+-[0-9]", line)]


def tables(kept: dict[str, Any]) -> str:
    """All tables, as Markdown."""
    lines = [
        "| test set | `/v1/stream?`… | hash of inputs | best constant answer | methods in 1, 2, 4, 8 steps |",
        "|---|---|---|---|---|",
    ]
    for name, found in kept["sets"].items():
        methods: dict[str, list[str]] = {}
        for record in found["baselines"]:
            methods.setdefault(record["method"], []).append(percent(record["accuracy"]["0.05"]))
        [constant] = methods.pop("best constant answer")
        said = "; ".join(f"{method} {', '.join(shares)}" for method, shares in methods.items()) or "–"
        lines.append(f"| {name} | `{found['query']}` | `{found['hash']}` | {constant} | {said} |")
    head = [
        "| test set | hash | model | within 5% | 1% | strict | ceiling | weights | samples seen |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, "", "## Models", "", *head, *sorted(kept["models"].values()), ""])


def main(runs: list[str]) -> None:
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"sets": {}, "models": {}}
    kept["sets"] = {one.name: measured(one) for one in benchmark_sets()}
    for run in runs:
        for row in rows_of(run):
            cells = [cell.strip() for cell in row.strip("| ").split("|")]
            kept["models"][f"{cells[0]} {cells[2]}"] = row
    FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{tables(kept)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
