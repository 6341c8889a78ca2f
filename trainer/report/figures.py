"""The figures of a report, drawn from what report.findings reads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from matstream.trainer.report.cases import Case
from matstream.trainer.report.reading import Across, Findings

DPI = 144
STYLE: Any = {
    "text.parse_math": False,  # a $ in the name of a run is a $
    "font.size": 10,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid.axis": "y",
    "grid.color": "#e3e3e3",
    "legend.frameon": False,
}
# Okabe and Ito's colours, which colour-blind people can tell apart
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
DASHES = ("-", "--", "-.", ":")
HATCHES = ("", "////", "....", "xxxx")
APART = 4  # if the longest run is over so many times the shortest, whose curve would be squeezed: log axes
BLUE, ORANGE = "#0072b2", "#c24e00"  # dark enough for text
CELL, LARGEST = 0.52, 24  # inches of a cell with its number; with more columns, cells have no numbers
TITLE, HEADER, GAP = 0.8, 0.75, 0.2  # inches: least room for a title, lines above a matrix, space between


class Bars(NamedTuple):
    """Shares of one run, one for each group, and what they are compared with; None where there is none."""

    label: str
    shares: Sequence[float | None]
    ceilings: Sequence[float | None]
    published: Sequence[float | None]


def overview(run: Findings, case: Case, of: str, title: str) -> Figure:
    """How a run learned, and its answer to one problem; `of` says in the title of which stream."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    grid = figure.add_gridspec(1, 4, width_ratios=[1.9, 1, 1, 1])
    _learning(figure.add_subplot(grid[0]), run)
    matrices = {f"input{of}": case.input, "target": case.target, "prediction": case.prediction}
    limit = max(_largest(case.input), _largest(case.target))
    for place, (name, matrix) in enumerate(matrices.items(), start=1):
        axes = figure.add_subplot(grid[place])
        _matrix(axes, matrix, limit, most=6, size=10 if matrix.shape[1] < 5 else 8)
        axes.set_title(name)
    figure.suptitle(title, fontsize=11)
    return figure


def _learning(axes: Axes, run: Findings) -> None:
    """Loss (left axis) and validation accuracy (right axis) against samples seen."""
    axes.semilogy(*_points(run.records, "samples", "loss"), color=ORANGE)
    axes.set(title="learning", xlabel="samples seen", xlim=(0, run.recipe.training.samples))
    axes.set_ylabel("training loss (nats per position)", color=ORANGE)
    axes.grid(visible=False)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.locator_params(axis="x", nbins=5)
    _label_decades(axes)
    right = axes.twinx()
    points = _points(run.records, "samples", "accuracy", 100)
    right.plot(*points, color=BLUE, marker="o", markersize=3, clip_on=False)  # seen whole on an edge too
    right.set_ylabel("right within 5%, validation (%)", color=BLUE)
    right.set_ylim(0, 102)
    right.grid(visible=False)


def curves(runs: Sequence[Findings]) -> Figure:
    """Loss and validation accuracy of several runs, against samples and against seconds; on logarithmic axes
    if some runs are much longer than others."""
    rows = -(-len(runs) // 6)
    figure = Figure(figsize=(10.5, 6.2 + 0.2 * rows), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for number, run in enumerate(runs):
        look = {"color": _colour(number), "linestyle": DASHES[number // len(COLOURS) % len(DASHES)]}
        for column, against in enumerate(("samples", "seconds")):
            loss, accuracy = axes[0, column], axes[1, column]
            loss.plot(*_points(run.records, against, "loss"), alpha=0.45, linewidth=1, **look)
            marked = {"linewidth": 1.8, "marker": "o", "markersize": 3, **look}
            loss.plot(*_points(run.records, against, "validation_loss"), **marked)
            label = run.name if run.records else None
            accuracy.plot(*_points(run.records, against, "accuracy", 100), label=label, **marked)
    thin = " (thin: training)" if any("loss" in record for run in runs for record in run.records) else ""
    axes[0, 0].set(title="loss", ylabel=f"nats per position{thin}", yscale="log")
    axes[1, 0].set(title="right within 5%", ylabel="validation samples (%)", ylim=(-2, 102))
    axes[1, 0].set_xlabel("samples seen")
    axes[1, 1].set_xlabel("seconds of training")
    ends = [run.records[-1]["samples"] for run in runs if run.records]
    apart = max(ends) > APART * min(ends)
    for place in axes.flat:
        place.grid(visible=True, axis="both")
        if apart:
            place.set_xscale("log")
        else:
            place.set_xlim(left=0)
    axes[1, 0].xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[1, 1].xaxis.set_major_formatter("{x:g}")
    _label_decades(axes[0, 0])
    if len(runs) > 1:
        handles, labels = axes[1, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=_columns(figure, labels))
    return figure


def _columns(figure: Figure, labels: Sequence[str]) -> int:
    """How many columns of a legend fit into the width of a figure."""
    wide = 0.6 + 0.09 * max(map(len, labels))  # inches of a line, its label and the space beside them
    return max(1, min(len(labels), int(figure.get_figwidth() / wide)))


def bars(groups: Sequence[str], runs: Sequence[Bars], xlabel: str) -> Figure:
    """Shares of samples in groups of bars, one bar for a run, marks for ceilings and published numbers."""
    figure = Figure(figsize=(10.5, 4.4 + 0.2 * (len(runs) // 4)), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(runs)
    few = len(runs) * len(groups) <= 24
    for number, run in enumerate(runs):
        places = np.arange(len(groups)) + (number - (len(runs) - 1) / 2) * width
        shares, known = _percent(run.shares), _percent(run.published)
        hatch = HATCHES[number // len(COLOURS) % len(HATCHES)]
        look: dict[str, Any] = {"color": _colour(number), "hatch": hatch, "edgecolor": "white"}
        axes.bar(places, shares, 0.92 * width, label=run.label, linewidth=0, **look)
        if few:
            for place, share, mark in zip(places, shares, known, strict=True):
                text = "" if np.isnan(share) else f"{share:.1f}"
                foot = (
                    max(share + 1, mark + 3) if mark < share + 8 else share + 1
                )  # above a mark that it would touch
                axes.text(place, foot if text else 0, text, ha="center", va="bottom", fontsize=9)
        ceilings = axes.hlines(
            _percent(run.ceilings), places - width / 2, places + width / 2, color="black", linewidth=1.8
        )
        published = axes.scatter(
            places, known, marker="D", s=40, facecolor="white", edgecolor="black", zorder=3
        )
        if number == 0:
            ceilings.set_label("ceiling of the encoding")
            published.set_label("published")
    axes.set(ylim=(0, 112), yticks=range(0, 101, 20), ylabel="right samples (%)", xlabel=xlabel)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.grid(visible=True, axis="y")
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    marks = {
        "ceiling of the encoding": any(value is not None for run in runs for value in run.ceilings),
        "published": any(value is not None for run in runs for value in run.published),
    }
    shown = [(h, name) for h, name in zip(handles, labels, strict=True) if marks.get(name, True)]
    columns = _columns(figure, [name for _, name in shown])
    figure.legend(*zip(*shown, strict=True), loc="outside upper left", ncols=columns)
    return figure


def heat_map(found: Across, rows_are: str = "run") -> Figure:
    """Accuracy of each run (row) on each value of a field (column); the value trained on is outlined."""
    rows, columns = found.accuracy.shape
    longest = max(map(len, found.runs))
    figure = Figure(figsize=(1.6 + 0.09 * longest + 1.0 * columns, 1.7 + 0.5 * rows), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(100 * found.accuracy, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (row, column), share in np.ndenumerate(found.accuracy):
        text = "–" if np.isnan(share) else f"{100 * share:.1f}"
        colour = "white" if share < 0.5 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=11)
    for row, column in enumerate(found.own):
        edge = Rectangle((column - 0.47, row - 0.45), 0.94, 0.9, fill=False, edgecolor="#d55e00", linewidth=3)
        axes.add_patch(edge)
    axes.set_xticks(range(columns), found.values, rotation=25 if max(map(len, found.values)) > 9 else 0)
    axes.set_yticks(range(rows), found.runs)
    axes.set(xlabel=f"{found.field} of the test", ylabel=rows_are, title="right within 5% (%)")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def matrices(found: Sequence[Case]) -> Figure:
    """Cases below each other: input, target, prediction and their difference as numbers on colours."""
    widest = max(case.input.shape[1] for case in found), max(case.target.shape[1] for case in found)
    cell = min(CELL, CELL * LARGEST / max(widest))
    widths = [max(cell * count, TITLE) for count in (widest[0], *[widest[1]] * 3)]
    lefts = GAP + np.cumsum([0, *(width + GAP for width in widths)])
    heights = [HEADER + cell * max(len(case.input), len(case.target)) for case in found]
    width, height = max(float(lefts[-1]), 5.0), sum(heights)
    figure = Figure(figsize=(width, height))
    for case, top in zip(found, height - np.cumsum([0, *heights[:-1]]), strict=True):
        figure.text(GAP / width, (top - 0.25) / height, _about(case), fontsize=10, fontweight="bold")
        with np.errstate(over="ignore", invalid="ignore"):
            difference = case.prediction - case.target
        drawn = {
            "input": (case.input, _largest(case.input)),
            "target": (case.target, _largest(case.target)),
            "prediction": (case.prediction, _largest(case.target)),
            "difference": (difference, _largest(case.target)),
        }
        for left, (name, (matrix, limit)) in zip(lefts, drawn.items(), strict=False):
            high, wide = (cell * count for count in matrix.shape)
            place = (left / width, (top - HEADER + GAP - high) / height, wide / width, high / height)
            axes = figure.add_axes(place)
            _matrix(axes, matrix, limit)
            axes.set_title(name, fontsize=9, fontweight="normal", pad=4)
    return figure


def _about(case: Case) -> str:
    error = f"error {100 * case.error:.3g}%" if case.error < 10 else f"error {100 * case.error:,.0f}%"
    if case.kind == "invalid":
        error = "no matrix of numbers"
    elif not np.isfinite(case.error) or case.error < 0:
        error = "beyond measure" if case.error != -1 else "the reference is zero"
    return f"{case.kind} · {error} · {case.operation}, sample {case.index:,}"


def _matrix(
    axes: Axes, matrix: NDArray[np.float64], limit: float, most: int = LARGEST, size: int = 8
) -> None:
    """A matrix as colours from -limit to limit, with its entries if it has no more than `most` in a line."""
    axes.imshow(np.clip(matrix, -limit, limit), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    if max(matrix.shape) <= most:
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, _short(value), ha="center", va="center", color=colour, fontsize=size)


def _short(value: float) -> str:
    """A value with three digits or two, as fits into a cell, or × for NaN."""
    if np.isnan(value):
        return "×"
    value = value or 0.0  # -0 is 0
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    forms = f"{value:.3g}", f"{value:.2g}", f"{mantissa}e{int(exponent)}" if exponent else mantissa
    text = next((form for form in forms if len(form) <= 7 and "e" not in form), forms[-1])
    return text.replace("-", "−")


def _largest(matrix: NDArray[np.float64]) -> float:
    """The largest finite magnitude in a matrix, 1 if there is none or it is 0."""
    finite = np.abs(matrix[np.isfinite(matrix)])
    return float(finite.max(initial=0)) or 1.0


def _label_decades(axes: Axes) -> None:
    """Plain numbers on a logarithmic axis, also between the powers of ten if there are few of these."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter("{x:g}")
    between = "235" if high < 30 * low else ""
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in between else "")


def _points(
    records: Sequence[dict[str, Any]], x: str, y: str, factor: float = 1
) -> tuple[list[float], list[float]]:
    found = [record for record in records if x in record and y in record]
    return [record[x] for record in found], [factor * record[y] for record in found]


def _percent(shares: Sequence[float | None]) -> NDArray[np.float64]:
    return 100 * np.array([np.nan if share is None else share for share in shares], dtype=np.float64)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
