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

from matstream.generator_service.stream import batches, default_batch_rows
from matstream.shared.benchmark import RANGE, BenchmarkSet, benchmark_sets, hash_of_inputs
from matstream.shared.wire import from_batch
from matstream.trainer.display.formatting import percent
from matstream.trainer.scoring.baselines import Part, compared
from matstream.trainer.scoring.benchmark import HEAD

FILE, PAGE = Path("docs/benchmark.json"), Path("docs/benchmark.md")
BEGIN, END = "<!-- written by bench/benchmark.py -->\n", "<!-- end -->\n"


def measured(one: BenchmarkSet) -> dict[str, Any]:
    """The hash of a set, and what methods and the best constant answer reach on it."""
    made = list(batches(one.spec, RANGE, default_batch_rows(one.spec)))
    columns = [from_batch(batch) for batch in made]
    inputs = np.concatenate([column.input for column in columns])
    targets = np.concatenate([column.target for column in columns])
    [operation] = one.spec.operations.values()
    part = Part(operation, inputs, targets)
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
    return "\n".join([*lines, "", "## Models", "", HEAD, *sorted(kept["models"].values()), ""])


def main(runs: list[str]) -> None:
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"sets": {}, "models": {}}
    kept["sets"] = {one.name: measured(one) for one in benchmark_sets()}
    for run in runs:
        for row in rows_of(run):
            cells = [cell.strip() for cell in row.strip("| ").split("|")]
            kept["models"][f"{cells[0]} {cells[2]}"] = row
    known = tuple(f"{name} " for name in kept["sets"])
    kept["models"] = {name: row for name, row in kept["models"].items() if name.startswith(known)}
    FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{tables(kept)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
