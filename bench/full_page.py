"""docs/RESULTS.md, its tables and pictures, from what docs/results/ keeps of the runs of `make full`."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

from bench.full_trainings import (
    EIGENVALUES,
    EIGENVECTORS,
    MIXED,
    NOISE,
    OF_LAWS,
    OF_SEEDS,
    OF_SPECTRA,
    PROBLEMS,
    SCRATCH,
    SHOT,
    TOGETHER,
)
from bench.trainings import ACCURACIES, TOLERANCES, Training, markdown
from matstream.trainer.display.formatting import study_tables
from matstream.trainer.report.figures import STYLE, curves, heat_map
from matstream.trainer.report.published_results import published_study
from matstream.trainer.report.reading import Across, Findings, across, read_findings
from matstream.trainer.runs.folder import RESULT

GOAL = 0.9
KEPT = Path("docs/results")
PAGE, CURVES, SPECTRA = Path("docs/RESULTS.md"), "results.png", "results-spectra.png"
MADE = "made.json"
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
itself is in [results/](results), with its commit, processor and command."""
EXPLAINED = f"""\
{ACCURACIES}
*Published* is the paper's accuracy at 5%, and the samples it reports for it where it does. *Seconds* are
those of training, without validation, on so many *threads*."""

OUT = """\
Eigenvalues of 5×5 matrices with gaussian coefficients, as in the paper, trained on one spectrum each (rows)
and tested on all seven (columns): the share of 10,000 test samples that are right within 5%, in percent."""
CLAIMED = ("laplace", "positive", "semicircle")  # the spectra that the paper's claim is about
FEW = """\
Eigenvalues of 6×6 matrices, from the weights of `full/eigenvalues-5` on, and from random ones. The first
columns are the samples after which such a share of 1,000 validation samples was right within 5%; the last is
the accuracy on 10,000 test samples."""
SIZES = "One model for eigenvalues of 5×5 to 10×10 matrices, on 10,000 test samples of each size."
OPERATIONS = "One model for the seven operations on 5×5 matrices that the paper trains together."
NOISY = """\
Eigenvalues of 5×5 matrices, trained with normal noise of 0.05 of the entries' deviation on the inputs and
tested with this noise and with others. The targets are those of the matrices without it, which cannot be
known exactly."""
FAILURES = """\
The failure study of the second paper (arXiv 2211.00170), on our model of 5×5 eigenvectors and 10,000 test
samples; *published* is what that paper's notebook found on a model of its own and 50,000."""
LAWS = """\
The recipes of `laws/` are trained on matrices of all five laws of the entries together (whole numbers, many
zeros, and several orders of magnitude are among them), some of them also on several structures. The
share of test samples of the same streams that are right within 5%, in percent, on all laws together and on
each apart. How the models do on matrices that people type is in their model cards (`models/`)."""
SHARES = ("5%", "2%", "1%", "0.5%")
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
    runs = [run for _, run in problems]
    with mpl.rc_context(STYLE):
        curves(runs).savefig(PAGE.parent / CURVES, dpi=110)
    one = runs[0].result
    assert one is not None
    parts = [
        "# The paper's problems at the paper's sizes",
        HOW.format(samples=f"{one['test_samples']:,}", verdict=verdict(problems)),
        table(problems),
        EXPLAINED,
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


Runs = list[tuple[Training, Findings]]


def kept(trainings: Sequence[Training]) -> Runs:
    """What is kept of those of the trainings that are finished."""
    return [(training, run) for training in trainings if (run := found(training.run)) is not None]


def found(name: str) -> Findings | None:
    """What is kept of a run, None if it is not finished."""
    return read_findings([KEPT / name])[0] if (KEPT / name / RESULT).is_file() else None


def scored_across(runs: Runs, field: str) -> Across | None:
    """The accuracies of runs over the values of a field, None if there are none."""
    return next((one for one in across([run for _, run in runs]) if one.field == field), None)


def verdict(runs: Runs) -> str:
    """How many problems reached the goal, in a sentence."""
    missed = [training.problem for training, _ in below_goal(runs)]
    reached = len(runs) - len(missed)
    trained = {training.run for training, _ in runs}
    rest = ", ".join(training.problem for training in PROBLEMS if training.run not in trained)
    said = f"{reached} of {len(runs)} problems are at {GOAL:.0%} or more at 5%"
    below = f"; below it: {', '.join(missed)}" if missed else ""
    return f"{said}{below}{f'; not trained yet: {rest}' if rest else ''}."


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


def shares(scores: Any) -> list[str]:
    """The accuracies at all tolerances."""
    return [f"{scores['accuracy'][tau]:.1%}" for tau in TOLERANCES]


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


def first(run: Findings, share: float) -> int | None:
    """After how many samples so large a share of validation samples was right for the first time."""
    return next((line["samples"] for line in run.records if line.get("accuracy", 0) >= share), None)


def seeds() -> str:
    """The accuracies of 5×5 eigenvalues from other seeds."""
    one, others = found(EIGENVALUES), kept(OF_SEEDS)
    if one is None or not others:
        return ""
    scored = ", ".join(f"{run.accuracy:.1%}" for run in (one, *(run for _, run in others)))
    numbers = ", ".join(map(str, range(len(others) + 1)))
    return (
        f"From seeds {numbers}, which change all samples and the initial weights, {scored} of the 5×5 "
        "eigenvalues are right."
    )


def spectra() -> str:
    """Out of distribution: trained on each spectrum, tested on all."""
    runs = kept(OF_SPECTRA)
    one = scored_across(runs, "spectrum")
    if one is None:
        return ""
    names = [str(training.changes["stream.spectrum"]) for training, _ in runs]
    with mpl.rc_context(STYLE):
        heat_map(replace(one, runs=names), "trained on").savefig(PAGE.parent / SPECTRA, dpi=110)
    rows = [
        (name, *(f"{100 * share:.1f}" for share in row), f"{run.samples:,}")
        for name, row, (_, run) in zip(names, one.accuracy, runs, strict=True)
    ]
    claimed = one.accuracy[:, [value in CLAIMED for value in one.values]]
    return section(
        "Out of distribution",
        f"{OUT} {generalisation(dict(zip(names, claimed.min(axis=1), strict=True)))}",
        markdown(("trained on", *one.values, "samples seen"), rows),
        f"![Trained on one spectrum, tested on all]({SPECTRA})",
    )


def generalisation(worst: Mapping[str, float]) -> str:
    """What the worst accuracies of the models, on the spectra of the paper's claim, say about it."""
    if not {"laplace", "semicircle"} <= worst.keys():
        return ""
    laplace, semicircle = worst["laplace"], worst["semicircle"]
    verb = "confirms" if laplace >= GOAL > semicircle else "contradicts"
    claimed = ", ".join(f"`{spectrum}`" for spectrum in CLAIMED)
    return (
        f"On {claimed}, the model trained on `laplace` is right in at least {laplace:.1%}, the one "
        f"trained on `semicircle` (matrices of independent entries) on its worst in {semicircle:.1%}: this "
        f"{verb} the paper's finding that the first generalises to the other two and the second does not."
    )


def few_shots() -> str:
    """6×6 eigenvalues from a 5×5 model on, and from random weights."""
    known, scratch = found(SHOT), found(SCRATCH)
    if known is None or scratch is None:
        return ""
    marks = (0.5, 0.9, 0.95, 0.99)
    rows = []
    for name, run in (("the 5×5 model", known), ("random weights", scratch)):
        cells = [first(run, share) for share in marks]
        shown = ("–" if count is None else f"{count:,}" for count in cells)
        rows.append((name, *shown, f"{run.samples:,}", f"{run.accuracy:.1%}"))
    head = ("started from", *(f"{share:.0%}" for share in marks), "samples seen", "5%")
    return section("Few shots: from 5×5 to 6×6", FEW, markdown(head, rows))


def sizes() -> str:
    """One model for several sizes."""
    run = found(MIXED)
    if run is None:
        return ""
    scored = {spec.dim.low: record for spec, record in run.elsewhere if spec.dim.fixed}
    rows = [(f"{dim}×{dim}", *shares(scored[dim])) for dim in sorted(scored)]
    return section("Mixed sizes", SIZES + learned(run), markdown(("matrices", *SHARES), rows))


def operations() -> str:
    """One model for several operations."""
    run = found(TOGETHER)
    if run is None or run.result is None:
        return ""
    parts = run.result["by_operation"]
    rows = [(name, f"{scores['test_samples']:,}", *shares(scores)) for name, scores in parts.items()]
    head = ("operation", "test samples", *SHARES)
    return section("Several operations at once", OPERATIONS + learned(run), markdown(head, rows))


def noise() -> str:
    """Eigenvalues of noisy matrices."""
    run = found(NOISE)
    if run is None or run.result is None:
        return ""
    by_level = {run.spec.noise: run.result} | {spec.noise: record for spec, record in run.elsewhere}
    rows = [(f"{level:g}", *shares(by_level[level])) for level in sorted(by_level)]
    return section("Noise", NOISY + learned(run), markdown(("noise of the test", *SHARES), rows))


def failures() -> str:
    """The failure study of the second paper on our own model."""
    run = found(EIGENVECTORS)
    if run is None or not run.studies:
        return ""
    tables = study_tables(run.studies[-1], published_study(run.studies[-1]))
    shown = (
        f"{one.title}:\n\n{markdown(tuple(one.head), [tuple(row) for row in one.rows])}" for one in tables
    )
    return section("Where eigenvectors fail", FAILURES, *shown)


def laws() -> str:
    """The recipes that are trained on all laws of the entries, scored on each."""
    runs = kept(OF_LAWS)
    one = scored_across(runs, "coefficients")
    if one is None:
        return ""
    rows = []
    for (training, run), row in zip(runs, one.accuracy, strict=True):
        cells = [f"{100 * share:.1f}" for share in row]
        rows.append((training.problem, str(run.spec.fields()["dim"]), *cells, f"{run.samples:,}"))
    values = ["all" if "," in value else value for value in one.values]
    head = ("operation", "dimension", *values, "samples seen")
    return section("All laws of the entries", LAWS, markdown(head, rows))


def learned(run: Findings) -> str:
    """How long a run was trained, as a sentence."""
    return f" It saw {run.samples:,} samples in {run.seconds:,.0f} s of training."


def section(title: str, *parts: str) -> str:
    return "\n\n".join([f"## {title}", *parts])
