"""matstream/models/, the trained models that come with matstream: the best weights of some runs of
`make full`, each in a folder with its configuration, checksums and a model card.

Weights are rounded to bfloat16, and the rounded model is scored anew: on 10,000 samples of its own stream and
of each law of the entries, and on matrices that people type. Where rounding costs more than 0.2 points, the
weights stay as they were. Given names of models, it writes only these.
"""

import copy
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.full_results import KEPT, MADE
from bench.full_trainings import OF_LAWS
from bench.trainings import markdown, start
from matstream.shared.fields import COEFFICIENTS
from matstream.shared.spec import StreamSpec
from matstream.shared.tasks import Task
from matstream.trainer.client import Client
from matstream.trainer.client.embedded import generators
from matstream.trainer.display.formatting import percent
from matstream.trainer.runs import weights
from matstream.trainer.runs.export import write_model
from matstream.trainer.runs.kept_recipe import recipe_of
from matstream.trainer.runs.model_card import written
from matstream.trainer.runs.pretrained import Pretrained, best_of
from matstream.trainer.runs.results import read_result
from matstream.trainer.runs.shipped import MODELS
from matstream.trainer.scoring.answers import answers, sizes_done_well, summaries

SHIPPED = {training.problem: training.run for training in OF_LAWS}  # model -> its run
COST = 0.002  # of rounding to bfloat16, the most that is taken
TYPED = 1_000  # matrices of each kind
Floats = NDArray[np.float64]


def main(*names: str) -> None:
    """Write the models whose runs are finished, or those of the names given."""
    unknown = sorted(set(names) - SHIPPED.keys())
    if unknown:
        sys.exit(f"models: {unknown[0]!r}: must be one of {', '.join(SHIPPED)}")
    for name, run in SHIPPED.items():
        if name not in (names or SHIPPED):
            continue
        result = read_result(KEPT / run) if (Path("runs") / run).is_dir() else None
        if result is not None:
            write(name, Path("runs") / run, result)
        elif names:
            sys.exit(f"models: runs/{run} is not finished and kept: make full trains it")


def write(name: str, run: Path, result: Mapping[str, Any]) -> None:
    """Write a model from a finished run."""
    recipe = recipe_of(run)
    model = best_of(run, recipe)
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for weight in rounded.solver.model.parameters():
            weight.copy_(weight.bfloat16())
    with generators(None, []) as urls, Client(urls) as client:
        scores = scored(rounded, client)
        lost = result["accuracy"]["0.05"] - scores["accuracy"]["0.05"]
        kept, dtype = (rounded, torch.bfloat16) if lost <= COST else (model, torch.float32)
        by_law = {law: scored(kept, client, law)["accuracy"]["0.05"] for law in COEFFICIENTS}
    kept = replace(kept, sizes=tuple(scores["largest_entry"]))
    if dtype == torch.float32:
        scores = {**result, "largest_entry": scores["largest_entry"]}
    found = {**result, **scores, "run": name}
    how = json.loads((KEPT / run.name / MADE).read_text(encoding="utf-8"))
    card = "\n".join([written(recipe, found, name), laws(by_law), typed(kept), how_made(found, how, dtype)])
    write_model(MODELS / name, recipe, found, weights.as_file(kept.solver.model, dtype), card)


def scored(model: Pretrained, client: Client, law: str | None = None) -> dict[str, Any]:
    """The scores of a model on test samples of its own stream, or of it with one law of the entries."""
    stream = model.recipe.stream
    spec = stream.spec()
    if law is not None:
        spec = StreamSpec.model_validate({**spec.fields(), "coefficients": law})
    count, size = 10_000, model.recipe.evaluation.batch_size
    found = answers(model.solver, client, spec, stream.seed, "test", count, size)
    return summaries(found) | {"largest_entry": sizes_done_well(found)}


def laws(by_law: Mapping[str, float]) -> str:
    """A table of the accuracy on each law of the entries."""
    rows = [(law, percent(share)) for law, share in by_law.items()]
    table = markdown(("entries", "right"), rows)
    return f"On 10,000 held-out samples of each law of the entries apart, within 5%:\n\n{table}\n"


def typed(model: Pretrained) -> str:
    """A table of how a model does on matrices that people type."""
    rows = []
    for kind, draw in KINDS.items():
        found = asked(model, draw)
        rows.append((kind, *("–" if share is None else percent(share) for share in found)))
    table = markdown(("matrices", "right", "wrong, with a warning"), rows)
    return f"On {TYPED:,} matrices of each kind that people type, of all its sizes, within 5%:\n\n{table}\n"


def how_made(result: Mapping[str, Any], how: Mapping[str, Any], dtype: torch.dtype) -> str:
    """How the weights came to be, in two sentences."""
    bits = "rounded to bfloat16; all scores here are theirs" if dtype == torch.bfloat16 else "in float32"
    threads = f"{how['threads']} thread{'s' if how['threads'] != 1 else ''}"
    return (
        f"Made by `{how['command']}` at commit {how['commits'][-1]}, in {result['train_seconds']:,.0f} s on "
        f"{threads} of {how['processor']}. The weights are {bits}.\n"
    )


Draw = Callable[[np.random.Generator, int, int, int], Floats]


def identities(rng: np.random.Generator, count: int, m: int, n: int) -> Floats:
    """Identity matrices and whole multiples of them (count, m, n), up to 10."""
    return rng.integers(1, 11, size=(count, 1, 1)) * np.eye(m, n)


def whole_numbers(rng: np.random.Generator, count: int, m: int, n: int, most: int = 9) -> Floats:
    """Whole numbers (count, m, n) from -most to most."""
    return rng.integers(-most, most + 1, size=(count, m, n)).astype(np.float64)


def with_zeros(rng: np.random.Generator, count: int, m: int, n: int) -> Floats:
    """Whole numbers (count, m, n), half of them replaced by 0."""
    return whole_numbers(rng, count, m, n) * rng.integers(0, 2, size=(count, m, n))


KINDS: dict[str, Draw] = {
    "multiples of the identity": identities,
    "whole numbers": whole_numbers,
    "whole numbers, half of them 0": with_zeros,
    "decimals from -1 to 1": lambda *asked: whole_numbers(*asked, most=99) / 100,
    "whole numbers up to 100": partial(whole_numbers, most=100),
    "whole numbers up to 1,000": partial(whole_numbers, most=1000),
    "all entries 0": lambda rng, count, m, n: np.zeros((count, m, n)),
}


def asked(model: Pretrained, draw: Draw) -> tuple[float | None, float | None]:
    """Of matrices of a kind, the share that a model answers right within 5%, and the share that it answers
    wrong, but warns of. None where none of the kind has an answer, as no zero matrix has an inverse."""
    tasks = model.solver.read.tasks
    right, warned, count = 0, 0, 0
    for task in tasks:
        matrices = suited(task, partial(draw, np.random.default_rng(0)), -(-TYPED // len(tasks)))
        if len(matrices) == 0:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            errors = model.check(matrices, task.operation).errors
        good = errors < 0.05
        right, count = right + int(good.sum()), count + len(matrices)
        warned += int((model.unlike(matrices, task.operation) & ~good).sum())
    return (right / count, warned / count) if count else (None, None)


def suited(task: Task, draw: Callable[[int, int, int], Floats], count: int) -> Floats:
    """Inputs (count or fewer, rows, cols) of a task, each of whose operands is drawn: symmetric where they
    have to be, and of matrices to be inverted those that are not singular."""
    operands = []
    for operand in task.definition.operands(task.m, task.n):
        matrices = draw(count, operand.rows, operand.cols)
        if task.definition.symmetric:
            matrices = np.tril(matrices) + np.tril(matrices, -1).swapaxes(1, 2)
        operands.append(matrices)
    if task.operation == "inverse":
        operands = [matrices[np.linalg.matrix_rank(matrices) == task.m] for matrices in operands]
    return np.concatenate(operands, axis=2)


if __name__ == "__main__":
    start(main, "models: interrupted")
