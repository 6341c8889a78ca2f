"""The paper's problems at the paper's sizes on two cores: trains every recipe of full/ unchanged, one after
another, each with a generator of its own over HTTP, and scores its best model on 10,000 held-out samples.

What is trained already stays, and what was interrupted is gone on with. Of each run that is finished, what
it says of itself is kept in docs/results/, without its weights: its recipe, its validations, its scores, the
commit, the processor and the command. docs/RESULTS.md is made of these alone; --page only makes it again.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from bench.trainings import TOLERANCES, Training, commit, cores, markdown, processor, start, train
from matstream.trainer.report.figures import curves
from matstream.trainer.report.reading import Findings, read_findings
from matstream.trainer.runs.folder import METRICS, RECIPE, RESULT, SCORES, STUDY

GOAL = 0.9
PROBLEMS = (
    *("transpose-10", "add-10", "matvec-10", "matmul-5", "eigenvalues-5", "eigenvalues-8", "eigenvectors-5"),
    *("inverse-5", "singular-values-4", "singular-values-5", "svd-4", "eigenvalues-10"),
)
TRAININGS = [Training(f"full/{problem}", f"full-{problem}", {}) for problem in PROBLEMS]
KEPT = Path("docs/results")
PAGE, CURVES = Path("docs/RESULTS.md"), "results.png"
MADE = "made.json"
SAID = (RECIPE, RESULT, SCORES, STUDY)  # kept as they are
# the published accuracy at 5%, and the samples after which it was reported
PUBLISHED_SAMPLES = {
    "eigenvalues-5": (1.0, 40e6),
    "eigenvalues-8": (1.0, 60e6),
    "eigenvalues-10": (0.25, 360e6),
}
Runs = list[tuple[Training, Findings]]
HOW = """\
Each problem is a recipe of `full/`, trained without a GPU on samples streamed by a generator. The weights
that did best on 1,000 validation samples are then scored on {samples} held-out samples, the first ones of the
test split. {verdict} `make full` trains them all, and goes on where it was interrupted; what each run says of
itself is in [results/](results), with its commit, processor and command."""
EXPLAINED = """\
The columns 5% to 0.5% give the accuracy at these tolerances, as the paper defines it: the share of answers
whose relative l1 error is below the tolerance, or whose words (tokens) are exactly those of the target.
*Strict* accuracy goes by the error alone, and for eigenvectors and svd it also requires right values and
orthonormal vectors. The *ceiling* is the accuracy of the exact answer once it is rounded to three digits.
*Published* is the paper's accuracy at 5%, and the samples it reports for it where it does. *Seconds* are
those of training, without validation, on so many *threads*."""


def main(*, page: bool = False) -> None:
    """Train what is missing, and write the page; with --page, only write it."""
    if not page:
        for training in TRAININGS:
            if not training.finished:
                note_start(training)
                train(training, resume=(training.folder / METRICS).is_file())
            keep(training)
    text = results()
    PAGE.write_text(text, encoding="utf-8")
    Console(width=140).print(Markdown("\n".join(line for line in text.splitlines() if line[:2] != "![")))


def note_start(training: Training) -> None:
    """Note the commit that trains a run, beside those that did before it was interrupted."""
    place = Path("runs/full") / f"{training.run}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    made = json.loads(place.read_text()) if place.is_file() and training.folder.is_dir() else {"commits": []}
    made["commits"] = list(dict.fromkeys([*made["commits"], commit()]))
    made["processor"] = processor()
    made["threads"] = int(os.environ.get("OMP_NUM_THREADS", cores()))
    made["command"] = " ".join(["matstream", *training.command()])
    place.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def keep(training: Training) -> None:
    """Copy what a finished run says of itself to docs/results/."""
    kept = KEPT / training.run
    kept.mkdir(parents=True, exist_ok=True)
    for name in SAID:
        if (training.folder / name).is_file():
            shutil.copy(training.folder / name, kept / name)
    lines = (training.folder / METRICS).read_text(encoding="utf-8").splitlines(keepends=True)
    validations = [line for line in lines if "validation_loss" in line]
    (kept / METRICS).write_text("".join(validations), encoding="utf-8")
    noted = Path("runs/full") / f"{training.run}.json"
    if noted.is_file():
        shutil.copy(noted, kept / MADE)
    else:  # it was trained by hand
        made = dict.fromkeys(("processor", "threads", "command"), "unknown") | {"commits": ["unknown"]}
        (kept / MADE).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def results() -> str:
    """All results, as Markdown; draws their curves."""
    kept = [training for training in TRAININGS if (KEPT / training.run / RESULT).is_file()]
    if not kept:
        sys.exit(f"full: {KEPT} holds no results yet")
    runs = list(zip(kept, read_findings([KEPT / training.run for training in kept]), strict=True))
    curves([run for _, run in runs]).savefig(PAGE.parent / CURVES, dpi=110)
    one = runs[0][1].result
    assert one is not None
    how = HOW.format(samples=f"{one['test_samples']:,}", verdict=verdict(runs))
    return (
        "\n\n".join(
            [
                "# The paper's problems at the paper's sizes",
                how,
                table(runs),
                EXPLAINED,
                against(runs),
                f"![Learning curves]({CURVES})",
            ]
        )
        + "\n"
    )


def verdict(runs: Runs) -> str:
    """How many problems reached the goal, in a sentence."""
    missed = ", ".join(training.problem for training, run in runs if (run.accuracy or 0) < GOAL)
    reached = sum((run.accuracy or 0) >= GOAL for _, run in runs)
    said = f"{reached} of {len(PROBLEMS)} problems are at {GOAL:.0%} or more at 5%"
    return f"{said}; below it: {missed}." if missed else f"{said}."


def table(runs: Runs) -> str:
    """A line for each problem."""
    head = (
        "problem",
        "published",
        "samples seen",
        "seconds",
        "threads",
        *("5%", "2%", "1%", "0.5%"),
        "strict, 5%",
        "ceiling, 5%",
    )
    rows = []
    for training, run in runs:
        found: Any = run.result
        made = json.loads((KEPT / training.run / MADE).read_text(encoding="utf-8"))
        rows.append(
            (
                training.problem,
                published(run),
                f"{run.samples:,}",
                f"{run.seconds:,.0f}",
                str(made["threads"]),
                *(f"{found['accuracy'][tau]:.1%}" for tau in TOLERANCES),
                f"{found['accuracy_strict']['0.05']:.1%}",
                f"{found['ceiling']['0.05']:.1%}",
            )
        )
    return markdown(head, rows)


def published(run: Findings) -> str:
    """The published accuracy at 5%, and the samples seen for it."""
    known = run.published
    if known is None:
        return "–"
    share = f"{'over ' if known.at_least else ''}{known.accuracy['0.05']:.0%}"
    return f"{share}, {known.samples}" if known.samples else share


def against(runs: Runs) -> str:
    """How many times fewer samples were seen than published, to the same accuracy."""
    times = {}
    for training, run in runs:
        share, samples = PUBLISHED_SAMPLES.get(training.problem, (2.0, 0.0))
        # published in whole percent
        seen = next(
            (line["samples"] for line in run.records if line.get("accuracy", 0) >= share - 0.005), None
        )
        if seen is not None:
            times[training.problem] = samples / seen
    if not times:
        return ""
    each = ", ".join(f"{problem} {count:,.0f}" for problem, count in times.items())
    return (
        "Published samples divided by ours, to the same accuracy in whole percent (ours on 1,000 validation "
        "samples; the paper does not say after how many it was first reached): "
        f"{each}; the median is {median(times.values()):,.0f}."
    )


if __name__ == "__main__":
    start(main, "full: interrupted; make full goes on")
