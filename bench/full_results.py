"""What docs/results/ keeps of the runs of `make full`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.trainings import TOLERANCES, Training
from matstream.trainer.report.reading import Across, Findings, across, read_findings
from matstream.trainer.runs.folder import RESULT

KEPT = Path("docs/results")
MADE = "made.json"
SHARES = ("5%", "2%", "1%", "0.5%")
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


def shares(scores: Any) -> list[str]:
    """The accuracies at all tolerances."""
    return [f"{scores['accuracy'][tau]:.1%}" for tau in TOLERANCES]


def first(run: Findings, share: float) -> int | None:
    """After how many samples so large a share of validation samples was right for the first time."""
    return next((line["samples"] for line in run.records if line.get("accuracy", 0) >= share), None)
