"""What a run has learned, as a picture, and as a page for one run or for several side by side."""

import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from matstream.shared.errors import UserError
from matstream.shared.files import written_aside
from matstream.shared.problems import meaning
from matstream.trainer.display.formatting import percent
from matstream.trainer.report import figures, page
from matstream.trainer.report.cases import cases, first_case
from matstream.trainer.report.figures import Bars
from matstream.trainer.report.page import Picture
from matstream.trainer.report.reading import RIGHT, Across, Findings, across, other_than, read_findings
from matstream.trainer.runs.folder import ANSWERS, PAGE, PICTURE, possible

DEFAULT = Path("report")  # the folder for the page of several runs
_MARKS = (b'<meta name="generator" content="matstream">', b"Software\0matstream")  # of our pages and pictures
PIXELS = 96  # per inch of a figure on the page


def draw(folder: Path) -> Path:
    """Draw the run in `folder` as report.png there, and return its path.

    Raises UserError for a folder without a finished run.
    """
    (run,) = read_findings([folder])
    if run.result is None:
        raise UserError(f"{folder} has no result yet: finish it with matstream train --resume")
    path = folder / PICTURE
    _check_no_link(path)
    _save(path, _overview(run).png)
    return path


def write(folders: Sequence[Path], out: Path | None) -> Path:
    """Write the page of one run, or of several side by side, and its pictures beside it; return its path.

    `out` is a page (.html) or a folder for it; by default that of the run, or ./report for several. Of a run
    that was stopped the page shows what there is.

    Raises UserError for a folder without a run or with a damaged file, and if the page or one of its pictures
    would replace a file that no report wrote.
    """
    runs = read_findings(folders)
    place = out or (folders[0] if len(folders) == 1 else DEFAULT)
    path = place if place.suffix == ".html" else place / PAGE
    if not possible(path.parent):
        raise UserError(f"--out {place}: must be a folder, or a page (.html) in one")
    path.parent.mkdir(parents=True, exist_ok=True)
    maps = across(runs)
    pictures = _pictures(runs, maps)
    suffixes = ["" if picture.name == "overview" else f"-{picture.name}" for picture in pictures]
    files = [path.with_name(f"{path.stem}{suffix}.png") for suffix in suffixes]
    for file in (path, *files):
        if place not in folders and _is_of_others(file):
            raise UserError(f"--out {place}: {file}, which is not of a report, would be replaced")
        _check_no_link(file)
    for file, picture in zip(files, pictures, strict=True):
        _save(file, picture.png)
    with written_aside(path) as aside:
        aside.write_text(page.write(runs, maps, pictures), encoding="utf-8")
    return path


def _check_no_link(path: Path) -> None:
    if path.is_symlink():
        raise UserError(f"{path}: is a link, and what it leads to would be replaced: remove it")


def _is_of_others(path: Path) -> bool:
    """Whether there is a file that no report wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        beginning = file.read(1000)
    return not any(mark in beginning for mark in _MARKS)


def _save(path: Path, content: bytes) -> None:
    with written_aside(path) as aside:
        aside.write_bytes(content)


def _pictures(runs: Sequence[Findings], maps: Sequence[Across]) -> list[Picture]:
    """Every picture for which the runs have something to show."""
    found = []
    if len(runs) == 1 and runs[0].result is not None and (runs[0].folder / ANSWERS).is_dir():
        found.append(_overview(runs[0]))
    if any(run.records for run in runs):
        ends = "; ".join(f"{run.name} ends at {percent(run.accuracy)} right" for run in runs)
        alt = f"Curves of loss and validation accuracy against samples and against seconds. {ends}."
        found.append(_picture("curves", partial(figures.curves, runs), alt))
    scored = [run for run in runs if run.accuracy is not None]
    if scored:
        found.append(_by_tolerance(scored))
    for name in ("by_operation", "by_dimension"):
        mixed = [run for run in scored if name in run.scores]
        if mixed:
            found.append(_by_part(mixed, name))
    for one in maps:
        alt = f"Heat map of accuracies, runs by {one.field}; the table below it has the numbers."
        found.append(_picture(f"across-{one.field}", partial(figures.heat_map, one), alt))
    return found + _cases(runs)


def _overview(run: Findings) -> Picture:
    """The picture of a finished run."""
    result = run.result
    assert result is not None
    with meaning(run.spec.definitions):
        spec, case = first_case(run.folder)
    operation, dim = result["spec"]["operation"], result["spec"]["dim"]
    title = (
        f"{result['run']}: {operation}, dimension {dim} — {result['accuracy'][RIGHT]:.1%} right within 5% on "
        f"{result['test_samples']:,} held-out samples, after {result['samples_seen']:,} streamed ones in "
        f"{result['train_seconds']:.0f} s"
    )
    other = other_than(run.spec, spec)
    of = f" ({other})" if other else ""
    alt = f"{title}. A learning curve; the first test problem, its answer and the model's."
    return _picture("overview", partial(figures.overview, run, case, of, title), alt)


def _by_tolerance(runs: Sequence[Findings]) -> Picture:
    tolerances = list(dict.fromkeys(tau for run in runs for tau in run.scores["accuracy"]))

    def row(shares: object) -> list[float | None]:
        return [shares.get(tau) if isinstance(shares, dict) else None for tau in tolerances]

    entries = [
        Bars(
            run.name,
            row(run.scores["accuracy"]),
            row(run.scores.get("ceiling")),
            row(run.published.accuracy if run.published else None),
        )
        for run in runs
    ]
    names = [f"{100 * float(tau):g}%" for tau in tolerances]
    alt = "Bars of accuracy by tolerance; the table below has the numbers."
    return _picture("accuracy", partial(figures.bars, names, entries, "tolerance"), alt)


def _by_part(runs: Sequence[Findings], name: str) -> Picture:
    parts = list(dict.fromkeys(part for run in runs for part in run.scores[name]))

    def row(run: Findings, key: str) -> list[float | None]:
        own = run.scores[name]
        return [own[part][key][RIGHT] if part in own else None for part in parts]

    entries = [Bars(run.name, row(run, "accuracy"), row(run, "ceiling"), [None] * len(parts)) for run in runs]
    kind = name.removeprefix("by_")
    alt = f"Bars of accuracy at 5% by {kind}; the table below has the numbers."
    make = partial(figures.bars, parts, entries, f"{kind} of the mixture")
    return _picture(name.replace("_", "-"), make, alt)


def _cases(runs: Sequence[Findings]) -> list[Picture]:
    found = []
    for number, run in enumerate(runs, start=1):
        with meaning(run.spec.definitions):
            scored = cases(run.folder)
        if scored is None or not scored[1]:
            continue
        spec, chosen = scored
        other = other_than(run.spec, spec)
        caption = f"Scored on other problems than its own: {other}." if other else ""
        kinds = ", ".join(dict.fromkeys(case.kind for case in chosen))
        alt = f"Answers of {run.name}, {kinds}: input, target, prediction, difference as matrices."
        name = "cases" if len(runs) == 1 else f"cases-{number}-{re.sub(r'[^A-Za-z0-9_.]+', '-', run.name)}"
        found.append(_picture(name, partial(figures.matrices, chosen), alt, caption, run=run.name, wide=True))
    return found


def _picture(
    name: str, make: Callable[[], Figure], alt: str, caption: str = "", *, run: str = "", wide: bool = False
) -> Picture:
    content = io.BytesIO()
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever a matplotlibrc says
        mpl.rcParams.update(figures.STYLE)
        figure = make()
        figure.savefig(content, format="png", metadata={"Software": "matstream"})
    width, height = (round(PIXELS * inches) for inches in figure.get_size_inches())
    return Picture(name, content.getvalue(), width, height, alt, caption, run, wide)
