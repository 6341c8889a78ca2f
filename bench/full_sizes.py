"""The paper's problems at the paper's sizes on two cores: trains every recipe of full/ unchanged, one after
another, each with a generator of its own over HTTP, and scores its best model on 10,000 held-out samples;
then what the paper's other tables need, and the recipes of laws/. Given names of runs, it trains only these.

What is trained already stays, and what was interrupted is gone on with. Of each run that is finished, what
it says of itself is kept in docs/results/, without its weights: its recipe, its validations, its scores, the
commit, the processor and the command. docs/RESULTS.md is made of these alone; --page only makes it again.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from bench.full_page import PAGE, results
from bench.full_results import KEPT, MADE, kept
from bench.full_trainings import PROBLEMS, TRAININGS
from bench.trainings import Training, commit, cores, processor, run, start, train
from matstream.trainer.runs.folder import METRICS, RECIPE, RESULT, SCORES, STUDY

NOTED = Path("runs/full")
SAID = (RECIPE, RESULT, SCORES, STUDY)  # kept as they are


def main(*runs: str, page: bool = False) -> None:
    """Train what is missing, and write the page; with --page, only write it."""
    unknown = sorted(set(runs) - {training.run for training in TRAININGS})
    if unknown:
        known = ", ".join(training.run for training in TRAININGS)
        sys.exit(f"full: {unknown[0]!r}: must be one of {known}")
    if not page:
        for training in TRAININGS:
            if not runs or training.run in runs:
                make(training)
    if page or kept(PROBLEMS):
        text = results()
        PAGE.write_text(text, encoding="utf-8")
        shown = "\n".join(line for line in text.splitlines() if line[:2] != "![")
        Console(width=140).print(Markdown(shown))


def make(training: Training) -> None:
    """Train and score a run, as far as this is not done, and keep what it says of itself."""
    if not training.finished:
        made = noted(training) if training.folder.is_dir() else {}
        note(
            training,
            commits=list(dict.fromkeys([*made.get("commits", []), commit()])),
            processor=processor(),
            threads=int(os.environ.get("OMP_NUM_THREADS", cores())),
            command=" ".join(["matstream", *training.command()]),
            scored=False,
        )
        train(training, resume=(training.folder / METRICS).is_file())
    if training.scored and not noted(training).get("scored"):
        run("evaluate", str(training.folder), *training.scored)
        note(training, scored=True)
    keep(training)


def noted(training: Training) -> dict[str, Any]:
    """What was noted of how a run was made: its commits, those before it was interrupted first; nothing if it
    was trained by hand."""
    place = NOTED / f"{training.run}.json"
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
    return found


def note(training: Training, **changes: Any) -> None:
    """Note more of how a run is made."""
    NOTED.mkdir(parents=True, exist_ok=True)
    made = {**noted(training), **changes}
    (NOTED / f"{training.run}.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def keep(training: Training) -> None:
    """Copy what a finished run says of itself to docs/results/."""
    place = KEPT / training.run
    place.mkdir(parents=True, exist_ok=True)
    for name in SAID:
        if (training.folder / name).is_file():
            shutil.copy(training.folder / name, place / name)
    lines = (training.folder / METRICS).read_text(encoding="utf-8").splitlines(keepends=True)
    validations = [line for line in lines if "validation_loss" in line]
    (place / METRICS).write_text("".join(validations), encoding="utf-8")
    unknown = {"commits": ["unknown"], **dict.fromkeys(("processor", "threads", "command"), "unknown")}
    made = {name: noted(training).get(name, other) for name, other in unknown.items()}
    (place / MADE).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    start(main, "full: interrupted; make full goes on")
