"""The page of a report: what was learned, by which runs, and how to learn it again, in one file."""

import shlex
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import NamedTuple
from urllib.parse import urlencode

import numpy as np

from matstream.trainer.display.formatting import DASH, baseline_tables, percent
from matstream.trainer.recipes.reading import write_recipe
from matstream.trainer.report.comparison import accuracies, comparison, evaluations, parts, problem
from matstream.trainer.report.failures import studies
from matstream.trainer.report.markup import (
    NOTHING,
    Markup,
    element,
    joined,
    scrolling,
    section,
    table,
    wrapped,
)
from matstream.trainer.report.published_results import PAPER
from matstream.trainer.report.reading import Across, Findings
from matstream.trainer.runs.folder import RECIPE

SHOWN = 1_000  # samples of the URL that shows what a run was trained on

# what the paper says without giving a number
SAID = {
    "spectrum": "The paper's finding: models trained on Laplace-distributed eigenvalues generalise to Wigner "
    f"and to positive matrices; the reverse fails ({PAPER})."
}


class Picture(NamedTuple):
    """A drawn figure, as PNG."""

    name: str
    png: bytes
    width: int  # on the page, in CSS pixels
    height: int
    alt: str
    caption: str
    run: str  # the run that it shows, "" if it shows all
    wide: bool  # whether it is scrolled rather than shrunk


def write(runs: Sequence[Findings], maps: Sequence[Across], pictures: Sequence[Picture]) -> str:
    """The page as HTML."""
    shown = {picture.name: _figure(picture) for picture in pictures}
    heading = _heading(runs)
    sections = [
        section("At a glance", shown.get("overview", NOTHING)),
        section("Runs", comparison(runs)),
        section("Learning", *_learning(shown)),
        section("Accuracy by tolerance", shown.get("accuracy", NOTHING), accuracies(runs)),
        section("Mixture by operation", shown.get("by-operation", NOTHING), parts(runs, "by_operation")),
        section("Mixture by dimension", shown.get("by-dimension", NOTHING), parts(runs, "by_dimension")),
        section("Beside numerical methods", *_baselines(runs)),
        _elsewhere(runs, maps, shown),
        _cases(runs, pictures, shown),
        section("Where it fails", *(studies(run.name, run.studies) for run in runs)),
        section("Do it again", *(_again(run) for run in runs)),
    ]
    template = Template((files("matstream.trainer.report") / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(heading),
        lead=joined(map(_lead, runs)),
        sections=joined(sections),
    )


def _heading(runs: Sequence[Findings]) -> str:
    if len(runs) == 1:
        run = runs[0]
        learned = "" if run.accuracy is None else f": {percent(run.accuracy)} right within 5%"
        return f"{problem(run)}{learned}"
    problems = dict.fromkeys(map(problem, runs))
    named = "; ".join(problems) if len(problems) <= 3 else f"{len(problems)} problems"
    return f"{len(runs)} runs: {named}"


def _lead(run: Findings) -> Markup:
    """What a run learned, in a sentence."""
    learned = f"{run.name} saw {run.samples:,} streamed samples in {run.seconds:,.0f} s"
    if run.accuracy is not None:
        learned += f" and is right within 5% on {percent(run.accuracy)} of {run.scored_on}"
    if run.result is not None:
        return element("p", f"{learned}.")
    planned = run.recipe.training.samples
    note = element(
        "span", f"Not finished: stopped, or still running; {planned:,} samples are planned.", class_="note"
    )
    return wrapped("p", joined([element("span", f"{learned}."), note]))


def _figure(picture: Picture) -> Markup:
    source = f"data:image/png;base64,{b64encode(picture.png).decode()}"
    size = f'width="{picture.width}" height="{picture.height}"'
    kind = ' class="wide"' if picture.wide else ""
    image = Markup(f'<img src="{source}" {size} alt="{escape(picture.alt)}"{kind}>')
    caption = element("figcaption", picture.caption) if picture.caption else NOTHING
    return wrapped("figure", joined([scrolling(image, picture.alt), caption]))


def _learning(shown: dict[str, Markup]) -> list[Markup]:
    hint = element(
        "p",
        "Loss: thin is training, thick is validation, with the averaged weights where there are any. A "
        "position is a number in the factored form, a word in the sequential one: losses of the two do "
        "not compare.",
        class_="hint",
    )
    return [shown["curves"], hint] if "curves" in shown else []


def _baselines(runs: Sequence[Findings]) -> list[Markup]:
    """What numerical methods and the best constant answer reach on the same samples."""
    found = [
        table(f"{run.name}: {title}" if len(runs) > 1 else title, head, rows)
        for run in runs
        if run.result is not None
        for title, head, rows in baseline_tables(run.result.get("baselines", []))
    ]
    if not found:
        return []
    hint = element(
        "p",
        "Methods get the inputs with all their digits, and answers are compared with the exact ones: this "
        "model's accuracy may differ a little from that above, for which both are rounded to its words. The "
        "best constant answer is the same for all samples, chosen to be right for as many as possible. "
        "Relative RMSE: the root of the mean square of the error, divided by that of the targets.",
        class_="hint",
    )
    return [hint, *found]


def _elsewhere(runs: Sequence[Findings], maps: Sequence[Across], shown: dict[str, Markup]) -> Markup:
    """How runs do on streams other than their own."""
    found = []
    for one in maps:
        rows = [
            (run, *(DASH if np.isnan(share) else percent(share) for share in shares))
            for run, shares in zip(one.runs, one.accuracy, strict=True)
        ]
        found += [
            element("h3", f"By {one.field}"),
            shown[f"across-{one.field}"],
            element("p", f"Outlined: the {one.field} that the run was trained on.", class_="hint"),
            element("p", SAID[one.field], class_="hint") if one.field in SAID else NOTHING,
            table(f"Right within 5%, run by {one.field} of the test", ["run", *one.values], rows),
        ]
    every = evaluations(runs)
    if every:
        found.append(wrapped("details", joined([element("summary", "Every score, by stream"), every])))
    return section("Out of distribution", *found)


def _cases(runs: Sequence[Findings], pictures: Sequence[Picture], shown: dict[str, Markup]) -> Markup:
    found = [
        wrapped(
            "div", joined([element("h3", picture.run) if len(runs) > 1 else NOTHING, shown[picture.name]])
        )
        for picture in pictures
        if picture.name.startswith("cases")
    ]
    hint = element(
        "p",
        "The first right answers, the wrong ones nearest to right, the worst, and the first invalid one (× "
        "is not a number). The error is the scored one, in l1. Target, prediction and difference are "
        "coloured on one scale.",
        class_="hint",
    )
    return section(
        "Right, nearly right, worst", *([hint, wrapped("div", joined(found), class_="side")] if found else [])
    )


def _again(run: Findings) -> Markup:
    """The command that repeats a run, and the URL of its samples."""
    recipe = str(run.folder / RECIPE)
    base = run.folder.resolve().name
    command = shlex.join(["matstream", "train", recipe, "--run", f"{base}-again"])
    urls = []
    for stream, start, stop in run.recipe.segments():
        fields = {**stream.spec().fields(), "seed": stream.seed, "split": "train", "start": start}
        urls.append(f"/v1/stream?{urlencode({**fields, 'count': min(stop - start, SHOWN)}, safe=',:')}")
    most = run.recipe.training.samples
    parts = [element("h3", run.name), wrapped("pre", element("code", command))]
    if run.result is None:
        going_on = shlex.join(["matstream", "train", recipe, "--run", base, "--resume"])
        parts += [element("p", "Or go on with it:"), wrapped("pre", element("code", going_on))]
    if run.recipe.training.start_from:
        parts.append(
            element(
                "p", f"Its first weights are those of {run.recipe.training.start_from}, which must be there."
            )
        )
    parts += [
        element(
            "p",
            f"The problems it is trained on, {most:,} in all, from any generator"
            + (", of one stage after another" if len(urls) > 1 else "")
            + f". A URL has the first of them, {SHOWN:,} at most; another start and count give the others.",
        ),
        *(wrapped("pre", element("code", url)) for url in urls),
    ]
    if run.result is not None:
        used = run.result.get("fingerprints", [])
        facts = [f"numerics fingerprint {one['fingerprint']} from sample {one['start']:,} on" for one in used]
        made = ", ".join([*facts, *(f"torch {run.result[key]}" for key in ("torch",) if key in run.result)])
        parts.append(element("p", f"It was made with {made}.", class_="hint") if made else NOTHING)
    toml = wrapped("pre", element("code", write_recipe(run.recipe)))
    parts.append(wrapped("details", joined([element("summary", "The whole recipe"), toml])))
    return joined(parts)
