"""docs/RESULTS.md, its tables and pictures, from what docs/results/ keeps of the runs of `make full`."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

from bench.full_experiments import failures, few_shots, laws, noise, operations, sizes, spectra
from bench.full_results import KEPT, MADE, SHARES, Runs, first, found, kept, shares
from bench.full_trainings import EIGENVALUES, OF_SEEDS, PROBLEMS, TRAININGS
from bench.trainings import ACCURACIES, GOAL, markdown
from matstream.trainer.report.figures import STYLE, curves
from matstream.trainer.report.reading import Findings

PAGE, CURVES = Path("docs/RESULTS.md"), "results.png"
# the published accuracy at 5%, and the samples after which it was reported
PUBLISHED_SAMPLES = {
    "eigenvalues-5": (1.0, 40e6),
    "eigenvalues-8": (1.0, 60e6),
    "eigenvalues-10": (0.25, 360e6),
}
HOW = """\
Each problem is a recipe of `full/`, trained without a GPU on samples streamed by a generator. The weights
that did best on 1,000 validation samples are then scored on {samples} held-out samples, the first ones of the
test split. {verdict} `make full` trains them all, and goes on where it was interrupted; what each run says of
itself is in [results/](results), with its commit, processor and command. {hours}"""
EXPLAINED = f"""\
{ACCURACIES}
*Published* is the paper's accuracy at 5%, and the samples it reports for it where it does. *Seconds* are
those of training, without validation, on so many *threads*."""

# what was tried for problems that may be below the goal, each with its figures in docs/LOG.md
TRIED = {
    "inverse-5": "To be right within 5%, each entry of an inverse must be exact to about 5% divided by the "
    "matrix's condition number, some 0.3%. Tried without gain: the rate doubled, batches halved, no values "
    "beside the words, 100,000 samples each of 3×3 and of 4×4 matrices first, and 2.6 million samples on a "
    "GPU",
    "eigenvectors-5": "Tried: one number after another (87.5% after a million samples), two decoder layers, "
    "batches of 64, width 256, a row at a time with random signs",
    "svd-4": "Tried without gain: batches of 64, a row at a time with random signs, and 60,000 samples of "
    "2×2 and 120,000 of 3×3 matrices first. More samples help: on a GPU, 55% after 2.5 million in batches of "
    "128, still rising",
}


def results() -> str:
    """All results, as Markdown; draws their pictures."""
    problems = kept(PROBLEMS)
    if not problems:
        sys.exit(f"full: {KEPT} holds no results of full/ yet")
    runs = [replace(run, name=training.problem) for training, run in problems]
    with mpl.rc_context(STYLE):
        curves(runs).savefig(PAGE.parent / CURVES, dpi=110)
    one = runs[0].result
    assert one is not None
    parts = [
        "# The paper's problems at the paper's sizes",
        HOW.format(samples=f"{one['test_samples']:,}", verdict=verdict(problems), hours=hours()),
        table(problems),
        EXPLAINED,
        stages(problems),
        missed(problems),
        against(problems),
        seeds(),
        f"![Learning curves]({CURVES})",
        spectra(),
        few_shots(),
        sizes(),
        operations(),
        noise(),
        failures(),
        laws(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict(runs: Runs) -> str:
    """How many problems reached the goal, in a sentence."""
    missed = [training.problem for training, _ in below_goal(runs)]
    reached = len(runs) - len(missed)
    trained = {training.run for training, _ in runs}
    rest = ", ".join(training.problem for training in PROBLEMS if training.run not in trained)
    said = f"{reached} of {len(runs)} problems are at {GOAL:.0%} or more at 5%"
    below = f"; below it: {', '.join(missed)}" if missed else ""
    strict = {
        training.problem: run.result["accuracy_strict"]["0.05"]
        for training, run in runs
        if run.result is not None and training.problem not in missed
    }
    short = ", ".join(f"{problem} ({share:.1%})" for problem, share in strict.items() if share < GOAL)
    strictly = f"; by the strict rule, just below it: {short}" if short else ""
    return f"{said}{below}{strictly}{f'; not trained yet: {rest}' if rest else ''}."


def hours() -> str:
    """How long all runs were trained, in a sentence."""
    runs = kept(TRAININGS)
    spent = sum(run.seconds for _, run in runs) / 3600
    return (
        f"The {len(runs)} runs of this page took {spent:.1f} hours of training, on one thread each, most of "
        "them two at a time on the two cores of one machine."
    )


def stages(runs: Runs) -> str:
    """Which problems are trained on others first, in a sentence."""
    smaller = {
        training.problem: " and ".join(
            f"{stage.samples:,} of dimension {(stage.model_extra or {})['dim']}"
            for stage in run.recipe.curriculum
        )
        for training, run in runs
        if run.recipe.curriculum
    }
    listed = "; ".join(f"{problem}: {samples}" for problem, samples in smaller.items())
    told = "Samples of smaller matrices that come first (a curriculum), included in the samples seen"
    return f"{told}: {listed}. Until they are over, the validation loss may rise." if listed else ""


def table(runs: Runs) -> str:
    """A line for each problem."""
    head = (
        "problem",
        "published",
        "samples seen",
        "seconds",
        "threads",
        *SHARES,
        "strict, 5%",
        "ceiling, 5%",
    )
    rows = []
    for training, run in runs:
        scores: Any = run.result
        made = json.loads((KEPT / training.run / MADE).read_text(encoding="utf-8"))
        rows.append(
            (
                training.problem,
                published(run),
                f"{run.samples:,}",
                f"{run.seconds:,.0f}",
                str(made["threads"]),
                *shares(scores),
                f"{scores['accuracy_strict']['0.05']:.1%}",
                f"{scores['ceiling']['0.05']:.1%}",
            )
        )
    return markdown(head, rows)


def in_short() -> str:
    """The table of README: each problem's accuracy, samples and published figures."""
    head = "paper's problem and size", "right within 5%", "within 2%", "samples seen", "published"
    rows = []
    for training, run in kept(PROBLEMS):
        within, closer, *_ = shares(run.result)
        rows.append((training.problem, within, closer, f"{run.samples:,}", published(run)))
    return markdown(head, rows)


def below_goal(runs: Runs) -> Runs:
    return [(training, run) for training, run in runs if (run.accuracy or 0) < GOAL]


def missed(runs: Runs) -> str:
    """How far the problems below the goal got, and what was tried for them."""
    lines = []
    for training, run in below_goal(runs):
        loss = run.records[-1]["validation_loss"]
        tried = TRIED.get(training.problem, "Its trials are in the log")
        lines.append(
            f"- {training.problem}: {run.accuracy:.1%}, with a validation loss of {loss:.2f} nats. {tried} "
            "(docs/LOG.md)."
        )
    return "\n".join(["What misses the goal:", "", *lines]) if lines else ""


def published(run: Findings) -> str:
    """The published accuracy at 5%, and the samples seen for it."""
    known = run.published
    if known is None:
        return "–"
    share = f"{'over ' if known.at_least else ''}{known.accuracy['0.05']:.0%}"
    return f"{share}, {known.samples}" if known.samples else share


def against(runs: Runs) -> str:
    """How many times fewer samples were seen than published, to the same accuracy."""
    times: dict[str, float] = {}
    below = []
    for training, run in runs:
        if training.problem not in PUBLISHED_SAMPLES:
            continue
        share, samples = PUBLISHED_SAMPLES[training.problem]
        seen = first(run, share - 0.005)  # published in whole percent
        if seen is None:
            below.append(training.problem)
        else:
            times[training.problem] = samples / seen
    if not times:
        return ""
    each = ", ".join(f"{problem} {count:,.0f}" for problem, count in times.items())
    middle = f"; the median is {median(times.values()):,.0f}" if len(times) > 1 else ""
    others = f" The published accuracy was not reached on {', '.join(below)}." if below else ""
    return (
        "Published samples divided by ours, to the same accuracy in whole percent (ours on 1,000 validation "
        f"samples; the paper does not say after how many it was first reached): {each}{middle}.{others}"
    )


def seeds() -> str:
    """The accuracies of 5×5 eigenvalues from other seeds."""
    one, others = found(EIGENVALUES), kept(OF_SEEDS)
    if one is None or not others:
        return ""
    scored = ", ".join(
        f"{run.accuracy:.1%} from seed {run.recipe.stream.seed}" for run in (one, *(run for _, run in others))
    )
    return (
        f"Other seeds change all samples and the initial weights: of the 5×5 eigenvalues, right are {scored}."
    )
