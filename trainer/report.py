"""The picture of a run: how it learned, and what it answers to a problem it has not seen."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import zarr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from shared.errors import UserError
from shared.files import written_aside
from trainer.metrics import read_metrics
from trainer.run import read_run

STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}
BLUE, ORANGE = "#3b6fb6", "#d9772b"


def draw(folder: Path) -> Path:
    """Draw the run in `folder` as report.png there, and return its path.

    Raises UserError for a folder without a finished run.
    """
    recipe = read_run(folder)
    if not (folder / "result.json").is_file():
        raise UserError(f"{folder} has no result yet: finish it with matstream train --resume")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    records = read_metrics(folder)
    group = zarr.open_group(folder / "evaluation.zarr", mode="r")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.2), dpi=110, layout="constrained")
        grid = figure.add_gridspec(1, 4, width_ratios=[1.9, 1, 1, 1])
        _curves(figure.add_subplot(grid[0]), records, recipe.training.samples)
        matrices = {
            "input": group["inputs"][0],
            "target": group["targets"][0],
            "prediction": group["predictions"][0],
        }
        limit = max(np.nanmax(np.abs(matrix)) for matrix in matrices.values())
        for place, (title, matrix) in enumerate(matrices.items(), start=1):
            _heat_map(figure.add_subplot(grid[place]), title, matrix, limit)
        figure.suptitle(
            f"{result['run']}: {result['spec']['operation']}, dimension {result['spec']['dim']} — "
            f"{result['accuracy']['0.05']:.1%} right within 5% on {result['test_samples']:,} held-out "
            f"samples, after {result['samples_seen']:,} streamed ones in {result['train_seconds']:.0f} s",
            fontsize=11,
        )
    path = folder / "report.png"
    with written_aside(path) as aside:
        figure.savefig(aside, format="png")
    return path


def _curves(axes: Axes, records: list[dict[str, Any]], samples: int) -> None:
    """Loss (left axis) and validation accuracy (right axis) against samples seen."""
    loss = [(r["samples"], r["loss"]) for r in records if "loss" in r]
    accuracy = [(r["samples"], 100 * r["accuracy"]) for r in records if "accuracy" in r]
    axes.semilogy(*zip(*loss, strict=True), color=ORANGE)
    axes.set(title="learning", xlabel="samples seen", xlim=(0, samples))
    axes.set_ylabel("training loss", color=ORANGE)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=5)
    right = axes.twinx()
    right.plot(*zip(*accuracy, strict=True), color=BLUE, marker="o", markersize=3)
    right.set_ylabel("right within 5%, validation (%)", color=BLUE)
    right.set_ylim(0, 102)


def _heat_map(axes: Axes, title: str, matrix: NDArray[np.float64], limit: float) -> None:
    """A matrix as colours from -limit to limit, with its entries to three digits."""
    axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if matrix.size <= 50:
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, f"{value:.3g}", ha="center", va="center", color=colour)
