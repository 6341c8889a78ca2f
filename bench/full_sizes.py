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

from rich.console import Console
from rich.markdown import Markdown

from bench.full_page import KEPT, MADE, PAGE, results
from bench.full_trainings import TRAININGS
from bench.trainings import Training, commit, cores, processor, run, start, train
from matstream.trainer.runs.folder import METRICS, RECIPE, RESULT, SCORES, STUDY

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
    PAGE.write_text(results(), encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    Console(width=140).print(Markdown("\n".join(line for line in text.splitlines() if line[:2] != "![")))


def make(training: Training) -> None:
    """Train and score a run, as far as this is not done, and keep what it says of itself."""
    if not training.finished:
        note_start(training)
        train(training, resume=(training.folder / METRICS).is_file())
    wanted = STUDY if "--analyse" in training.scored else SCORES
    if training.scored and not (training.folder / wanted).is_file():
        run("evaluate", str(training.folder), *training.scored)
    keep(training)


def note_start(training: Training) -> None:
    """Note the commit that trains a run, beside those that did before it was interrupted."""
    place = Path("runs/full") / f"{training.run}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    made = json.loads(place.read_text()) if place.is_file() and training.folder.is_dir() else {"commits": []}
    made["commits"] = list(dict.fromkeys([*made["commits"], commit()]))
    made["processor"] = processor()
    made["threads"] = int(os.environ.get("OMP_NUM_THREADS", cores()))
    made["command"] = " ".join(["matstream", *training.command()])
    place.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def keep(training: Training) -> None:
    """Copy what a finished run says of itself to docs/results/."""
    kept = KEPT / training.run
    kept.mkdir(parents=True, exist_ok=True)
    for name in SAID:
        if (training.folder / name).is_file():
            shutil.copy(training.folder / name, kept / name)
    lines = (training.folder / METRICS).read_text(encoding="utf-8").splitlines(keepends=True)
    validations = [line for line in lines if "validation_loss" in line]
    (kept / METRICS).write_text("".join(validations), encoding="utf-8")
    noted = Path("runs/full") / f"{training.run}.json"
    if noted.is_file():
        shutil.copy(noted, kept / MADE)
    else:  # it was trained by hand
        made = dict.fromkeys(("processor", "threads", "command"), "unknown") | {"commits": ["unknown"]}
        (kept / MADE).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    start(main, "full: interrupted; make full goes on")
