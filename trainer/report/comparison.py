"""Runs side by side, as tables of the report's page."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matstream.shared.scoring import TOLERANCES
from matstream.trainer.display.formatting import DASH, number, percent
from matstream.trainer.report.markup import Markup, element, joined, table
from matstream.trainer.report.reading import RIGHT, Findings, other_than

EXPLAINED = """\
Right is what the published rule counts as right: an error in l1 below the tolerance, or every word as in the
target. Strictly right goes by the error alone; for eigenvectors and svd the values must be right and the
vectors orthonormal too. The ceiling is what the exact answer scores, rounded as the encoding rounds it."""

_MEASURES = {
    "accuracy": "right",
    "accuracy_strict": "strictly right",
    "accuracy_unrounded": "against unrounded numbers",
    "ceiling": "ceiling",
}


def problem(run: Findings) -> str:
    """The problem that a run learns to solve, in words."""
    fields = run.spec.fields()
    shape = f"{fields['dim']} × {fields['cols']}" if "cols" in fields else fields["dim"]
    return f"{fields['operation'].replace(',', ', ')}, dimension {shape}"


def comparison(runs: Sequence[Findings]) -> Markup:
    """What each run was trained on and how well it did, a column for each."""
    rows: list[tuple[str, Callable[[Findings], str]]] = [
        ("operation", lambda run: ", ".join(run.spec.operation)),
        ("dimension", lambda run: problem(run).rpartition("dimension ")[2]),
        ("else of the stream", _rest),
        ("reads → writes", lambda run: f"{run.recipe.tokens.input} → {run.recipe.tokens.output}"),
        ("samples seen", _samples),
        ("seconds", lambda run: number(run.seconds)),
        ("samples/s", lambda run: number(run.samples / run.seconds if run.seconds else None)),
        ("waiting for data", lambda run: percent(run.data_wait)),
        ("parameters", lambda run: number(run.result["parameters"] if run.result else None)),
        ("precision", lambda run: run.recipe.training.precision),
        ("scored on", lambda run: run.scored_on or DASH),
        *((f"right within {_tau(tau)}", _share("accuracy", tau)) for tau in map("{:g}".format, TOLERANCES)),
        ("strictly right within 5%", _share("accuracy_strict", RIGHT)),
        ("ceiling at 5%", _share("ceiling", RIGHT)),
        ("invalid", lambda run: number(run.scores.get("invalid"))),
        ("published, at 5%", lambda run: _published(run, RIGHT)),
    ]
    body = [(name, *map(value, runs)) for name, value in rows]
    shown = [row for row in body if row[0] != "else of the stream" or any(cell != DASH for cell in row[1:])]
    sources = dict.fromkeys(_source(run) for run in runs if run.published)
    return joined(
        [
            table("What was trained, and how well", ["", *(run.name for run in runs)], shown),
            *(element("p", source, class_="hint") for source in sources),
            element("p", EXPLAINED, class_="hint"),
        ]
    )


def _rest(run: Findings) -> str:
    rest = {k: v for k, v in run.spec.fields().items() if k not in ("operation", "dim", "cols")}
    return ", ".join(f"{name} {value}" for name, value in rest.items()) or DASH


def _samples(run: Findings) -> str:
    return f"{run.samples:,}" if run.result else f"{run.samples:,} of {run.recipe.training.samples:,}"


def _of(run: Findings, runs: Sequence[Findings], what: str) -> str:
    """The name of a row, with the run's where there are several."""
    return what if len(runs) == 1 else f"{run.name}: {what}"


def _share(measure: str, tolerance: str) -> Callable[[Findings], str]:
    return lambda run: percent(run.scores.get(measure, {}).get(tolerance))


def _tau(tolerance: str) -> str:
    return f"{100 * float(tolerance):g}%"


def _published(run: Findings, tolerance: str) -> str:
    known = run.published
    if known is None or tolerance not in known.accuracy:
        return DASH
    return f"{'over ' if known.at_least else ''}{percent(known.accuracy[tolerance])}"


def _source(run: Findings) -> str:
    known = run.published
    assert known is not None
    encodings = f", {known.encodings[0]} → {known.encodings[1]}" if known.encodings else ""
    after = f", after {known.samples} samples" if known.samples else ""
    bound = ", said of all nine problems" if known.at_least else ""
    return f"Published for {problem(run)}{encodings}{after}{bound}: {known.source}."


def accuracies(runs: Sequence[Findings]) -> Markup:
    """The share of samples that each run gets right, by tolerance and rule, beside published shares."""
    scored = [run for run in runs if run.scores]
    if not scored:
        return Markup("")
    tolerances = list(dict.fromkeys(tau for run in scored for tau in run.scores["accuracy"]))
    rows = []
    for run in scored:
        for measure, name in _MEASURES.items():
            shares = run.scores.get(measure)
            if shares:
                rows.append((_of(run, runs, name), *(percent(shares.get(tau)) for tau in tolerances)))
        if run.published:
            rows.append((_of(run, runs, "published"), *(_published(run, tau) for tau in tolerances)))
    return table("Share of samples right", ["tolerance", *map(_tau, tolerances)], rows)


def parts(runs: Sequence[Findings], name: str) -> Markup:
    """How mixtures do on each of their operations (`name` by_operation) or dimensions (by_dimension)."""
    rows = [
        (_of(run, runs, part), *_scored(own))
        for run in runs
        for part, own in run.scores.get(name, {}).items()
    ]
    kind = name.removeprefix("by_")
    return table(f"Test samples by {kind}", [kind, *_SCORED], rows) if rows else Markup("")


def evaluations(runs: Sequence[Findings]) -> Markup:
    """Every score by `matstream evaluate`."""
    rows = [
        (
            f"{run.name} on {other_than(run.spec, spec) or 'its own stream'}",
            f"{record['split']}, seed {record['seed']}{', constrained' if record['constrained'] else ''}",
            *_scored(record),
        )
        for run in runs
        for spec, record in run.elsewhere
    ]
    return table("Every score by matstream evaluate", ["run", "of", *_SCORED], rows) if rows else Markup("")


_SCORED = ("samples", "within 5%", "within 1%", "strictly, 5%", "ceiling, 5%", "invalid")


def _scored(scores: Mapping[str, Any]) -> list[str]:
    return [
        number(scores["test_samples"]),
        *(percent(scores["accuracy"].get(tau)) for tau in (RIGHT, "0.01")),
        percent(scores["accuracy_strict"].get(RIGHT)),
        percent(scores["ceiling"].get(RIGHT)),
        number(scores["invalid"]),
    ]
