"""The sections of docs/RESULTS.md about the paper's other experiments, and about all laws of the entries."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl

from bench.full_results import SHARES, first, found, kept, scored_across, shares
from bench.full_trainings import EIGENVECTORS, MIXED, NOISE, OF_LAWS, OF_SPECTRA, SCRATCH, SHOT, TOGETHER
from bench.trainings import GOAL, markdown
from matstream.trainer.display.formatting import study_tables
from matstream.trainer.report.figures import STYLE, heat_map
from matstream.trainer.report.published_results import published_study
from matstream.trainer.report.reading import Findings

SPECTRA = Path("docs/results-spectra.png")
OUT = """\
Eigenvalues of 5×5 matrices with gaussian coefficients, as in the paper, trained on one spectrum each (rows)
and tested on all seven (columns): the share of 10,000 test samples that are right within 5%, in percent. The
picture frames what each was trained on."""
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
samples; *published* is what that paper's notebook found on a model of its own and 50,000. *Values within 1%*
among the findings are those of a matrix together (in l1); by rank, each counts by itself. *Condition* is the
condition number of the predicted vectors, 1 if they are orthonormal: the rule that answers below the
*threshold* are right, and others wrong, holds for as many as its *accuracy* says."""
LAWS = """\
The recipes of `laws/` are trained on matrices of all five laws of the entries together (whole numbers, many
zeros, and several orders of magnitude are among them), some of them also on several structures. The
share of test samples of the same streams that are right within 5%, in percent, on all laws together and on
each apart. How the models do on matrices that people type is in their model cards (`models/`)."""


def spectra() -> str:
    """Out of distribution: trained on each spectrum, tested on all."""
    runs = kept(OF_SPECTRA)
    one = scored_across(runs, "spectrum")
    if one is None:
        return ""
    trained = [
        (str(training.changes["stream.spectrum"]), run) for training, run in runs if run.name in one.runs
    ]
    names = [name for name, _ in trained]
    with mpl.rc_context(STYLE):
        heat_map(replace(one, runs=names), "trained on").savefig(SPECTRA, dpi=110)
    rows = [
        (name, *(f"{100 * share:.1f}" for share in row), f"{run.samples:,}")
        for (name, run), row in zip(trained, one.accuracy, strict=True)
    ]
    claimed = one.accuracy[:, [value in CLAIMED for value in one.values]]
    return section(
        "Out of distribution",
        f"{OUT} {generalisation(dict(zip(names, claimed.min(axis=1), strict=True)))}",
        markdown(("trained on", *one.values, "samples seen"), rows),
        f"![Trained on one spectrum, tested on all]({SPECTRA.name})",
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
    well = [name for name, scores in parts.items() if scores["accuracy"]["0.05"] >= GOAL]
    rest = ", ".join(name for name in parts if name not in well)
    said = f" {len(well)} of {len(parts)} operations are at {GOAL:.0%} or more at 5%" + (
        f"; a seventh of these samples is too few for {rest}." if rest else "."
    )
    return section("Several operations at once", OPERATIONS + learned(run) + said, markdown(head, rows))


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
    for (training, run), row in zip(
        [pair for pair in runs if pair[1].name in one.runs], one.accuracy, strict=True
    ):
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
