"""`matstream benchmark`: a model on the frozen test sets that it can read, as rows of docs/benchmark.md."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from matstream.shared.benchmark import RANGE, BenchmarkSet, benchmark_sets, hash_of_inputs
from matstream.shared.errors import UserError
from matstream.shared.tasks import tasks_of
from matstream.trainer.client import Client
from matstream.trainer.client.embedded import generators
from matstream.trainer.display.formatting import percent
from matstream.trainer.display.progress import working
from matstream.trainer.display.tables import say
from matstream.trainer.runs.folder import CONFIG, RESULT
from matstream.trainer.runs.pretrained import Pretrained, load
from matstream.trainer.runs.shipped import folder_of
from matstream.trainer.scoring.answers import answers, summaries
from matstream.trainer.tokens.magnitudes import of_inputs, of_targets

HEAD = (
    "| test set | hash | model | within 5% | 1% | strict | ceiling | weights | samples seen |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def benchmark(folder: Path, urls: Sequence[str] | None) -> None:
    """Print a row for each test set whose problems a model was made for. Raises UserError if there is
    none."""
    folder = folder_of(folder)
    model = load(folder)
    sets = [found for found in benchmark_sets() if _can_answer(model, found)]
    if not sets:
        fields = model.recipe.stream.fields()
        size = "×".join(str(fields[name]) for name in ("dim", "cols") if name in fields)
        raise UserError(
            f"{folder} was trained on {fields['operation']} of dimension {size}: no test set of "
            "docs/benchmark.md has such problems, in numbers that its encodings can write"
        )
    with generators(urls, []) as found, Client(found) as client:
        rows = [_row(model, folder, one, client) for one in sets]
    say("\n".join([HEAD, *rows]))


def _can_answer(model: Pretrained, one: BenchmarkSet) -> bool:
    """Whether a model was made for such problems, and its encodings can write their numbers."""
    read, write = model.solver.read, model.solver.write
    held = of_inputs(one.spec).largest <= read.encoding.largest
    held &= of_targets(one.spec).largest <= write.encoding.largest
    return held and set(tasks_of(one.spec)) <= set(read.tasks)


def _row(model: Pretrained, folder: Path, one: BenchmarkSet, client: Client) -> str:
    with closing(client.stream(one.spec, **RANGE.model_dump())) as batches:
        hashed = hash_of_inputs(batches)
    with working(f"{folder} on {one.name}", RANGE.count) as done:
        address = RANGE.seed, RANGE.split, RANGE.count
        size = model.recipe.evaluation.batch_size
        scores = summaries(answers(model.solver, client, one.spec, *address, size, done=done))
    weights = sum(weight.numel() for weight in model.solver.model.parameters())
    shares = [scores["accuracy"]["0.05"], scores["accuracy"]["0.01"], scores["accuracy_strict"]["0.05"]]
    cells = [*map(percent, [*shares, scores["ceiling"]["0.05"]]), f"{weights:,}", _seen(folder)]
    return f"| {one.name} | `{hashed}` | {folder.resolve().name} | {' | '.join(cells)} |"


def _seen(folder: Path) -> str:
    """The samples that a model has learned from; those exported by earlier versions do not say."""
    result, config = folder / RESULT, folder / CONFIG
    if result.is_file():
        said = json.loads(result.read_bytes())
    else:
        said = json.loads(config.read_bytes()).get("result", {}) if config.is_file() else {}
    return f"{said['samples_seen']:,}" if said else "–"
