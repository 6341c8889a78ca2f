"""The nine problems on two cores: trains every recipe of small/ unchanged, one after another, each with a
generator of its own over HTTP, and scores its best model on 10,000 held-out samples.

Starts from the beginning each time. Writes runs/nine/report.html, its pictures, and runs/nine/NINE.md.
Fails if on some problem less than 90% of answers are right at 5% tolerance. With --more, it keeps these runs,
adds runs from other seeds for the three hardest problems and in the other precision for two problems, and
writes all results to docs/NINE.md. If --more is interrupted, the next --more continues where it was.
"""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from bench.trainings import (
    ACCURACIES,
    GOAL,
    TOLERANCES,
    Training,
    commit,
    markdown,
    processor,
    run,
    start,
    train,
)
from matstream.trainer.runs.folder import METRICS, clear

PROBLEMS = (
    "transpose",
    "transpose-3",
    "add",
    "add-3",
    "matvec",
    "matmul",
    "eigenvalues",
    "eigenvectors",
    "inverse",
    "singular-values",
    "svd",
)
HARDEST = 3  # problems that are trained from other seeds
SEEDS = (1, 2)  # beside 0
PRECISIONS = {"eigenvalues": "bf16", "matmul": "bf16"}  # beside fp32
HOW = """\
`make nine` took {minutes} minutes (without installation) at commit {commit} on {processor},
with torch {torch}. Each problem is a recipe of `small/`, trained on samples streamed by a generator. The
weights that did best on the validation samples are then scored on {samples} held-out samples, the first ones
of the test split. Matrices are 2×2, or 3×3 if the name ends in -3. {verdict}"""
OTHER_SEEDS = """\
The problems with the lowest accuracies were also trained from other seeds, which change all samples and
the initial weights. The table shows their accuracy at 5%."""
EXPLAINED = f"""\
{ACCURACIES}
*Invalid* answers are not a matrix of numbers, and count as wrong. *Seconds* are those of training, without
validation; *waiting* is the share of them spent waiting for samples. *Seeds* is how many seeds a problem
was trained from. The curves against samples are the same on any machine up to rounding; those against
seconds are not."""
FOLDER = Path("runs/nine")
MADE = FOLDER / "made.json"


FIRST = [Training(f"small/{problem}", f"nine-{problem}", {}) for problem in PROBLEMS]


def main(*, more: bool = False) -> None:
    """Train the nine problems; with --more, other seeds and precisions beside the runs that are there."""
    others = go_on() if more else []
    if not more:
        start_anew()
    runs = [str(training.folder) for training in FIRST]
    run("report", *runs, "--out", str(FOLDER))
    text = results(others)
    (FOLDER / "NINE.md").write_text(text, encoding="utf-8")
    if more:
        shutil.copy(FOLDER / "report-curves.png", "docs/nine.png")
        Path("docs/NINE.md").write_text(text.replace("report-curves.png", "nine.png"), encoding="utf-8")
    Console(width=140).print(Markdown("\n".join(line for line in text.splitlines() if line[:2] != "![")))
    if below(others):
        sys.exit(verdict(others))


def start_anew() -> None:
    """Train the nine problems, in the place of all that was trained here before."""
    made = {"commit": commit(), "processor": processor()}
    for training in [*FIRST, *precisions(), *seeds(FIRST)]:
        if training.folder.is_dir():
            clear(training.folder)
            with suppress(OSError):  # others have something in it
                training.folder.rmdir()
    started = time.perf_counter()
    for training in FIRST:
        train(training, resume=False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    made["seconds"] = time.perf_counter() - started
    MADE.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def go_on() -> list[Training]:
    """Train what stands beside the nine, as far as it is not there."""
    missing = [str(training.folder) for training in FIRST if not training.finished]
    if missing or not MADE.is_file():
        sys.exit(f"nine: {', '.join(missing) or MADE} is not there: run make nine first, to its end")
    made, now = (name.removesuffix("-dirty") for name in (json.loads(MADE.read_text())["commit"], commit()))
    if made != now:
        sys.exit(f"nine: the runs are of commit {made}, this is {now}: check that one out, or run make nine")
    others = [*precisions(), *seeds(sorted(FIRST, key=lambda training: training.accuracy)[:HARDEST])]
    for training in others:
        if not training.finished:
            train(training, resume=(training.folder / METRICS).is_file())
    return others


def precisions() -> list[Training]:
    """Two problems in another precision."""
    return [
        Training(f"small/{problem}", f"nine-{problem}-{precision}", {"training.precision": precision})
        for problem, precision in PRECISIONS.items()
    ]


def seeds(trainings: Sequence[Training]) -> list[Training]:
    """Problems from other seeds, of the samples and of the first weights."""
    return [
        Training(
            training.recipe,
            f"{training.run}-seed-{seed}",
            {"stream.seed": seed, "training.seed": seed},
        )
        for training in trainings
        for seed in SEEDS
    ]


def below(others: Sequence[Training]) -> list[str]:
    """The runs that did not reach the goal."""
    return [training.run.removeprefix("nine-") for training in [*FIRST, *others] if training.accuracy < GOAL]


def verdict(others: Sequence[Training]) -> str:
    """What reached the goal, in a sentence."""
    missed = ", ".join(below(others))
    return (
        f"Under {GOAL:.0%} at 5%: {missed}." if missed else f"Every problem is at {GOAL:.0%} or more at 5%."
    )


def results(others: Sequence[Training]) -> str:
    """All results, as Markdown."""
    made = json.loads(MADE.read_text(encoding="utf-8"))
    seeded = [training for training in others if "training.seed" in training.changes]
    precise = [training for training in others if "training.precision" in training.changes]
    one = FIRST[0].result
    how = HOW.format(
        minutes=f"{made['seconds'] / 60:.0f}",
        commit=made["commit"],
        processor=made["processor"],
        torch=one["torch"],
        samples=f"{one['test_samples']:,}",
        verdict=verdict(others),
    )
    curves = "![Learning curves](report-curves.png)"
    parts = ["# Nine problems on two cores", how, table(seeded), EXPLAINED, curves]
    if others:
        parts += [
            "## Other seeds",
            OTHER_SEEDS,
            seeds_table(seeded),
            "## Another precision",
            "These problems were trained in two precisions, from the same samples and initial weights.",
            precision_table(precise),
            "`make results` trained the additional models, after `make nine`, and wrote this page.",
        ]
    return "\n\n".join(parts) + "\n"


def table(seeded: Sequence[Training]) -> str:
    """A line for each problem."""
    head = (
        "problem",
        "samples seen",
        "seconds",
        "waiting",
        *("5%", "2%", "1%", "0.5%"),
        "strict, 5%",
        "ceiling, 5%",
        "invalid",
        "seeds",
    )
    rows = []
    for training in FIRST:
        found = training.result
        runs = 1 + sum(other.problem == training.problem for other in seeded)
        rows.append(
            (
                training.problem,
                f"{found['samples_seen']:,}",
                f"{found['train_seconds']:.0f}",
                f"{found['data_wait']:.1%}",
                *(f"{found['accuracy'][tau]:.1%}" for tau in TOLERANCES),
                f"{found['accuracy_strict']['0.05']:.1%}",
                f"{found['ceiling']['0.05']:.1%}",
                str(found["invalid"]),
                str(runs),
            )
        )
    return markdown(head, rows)


def seeds_table(seeded: Sequence[Training]) -> str:
    """Accuracies at 5% by seed, and how far apart they are."""
    rows = []
    for problem in dict.fromkeys(training.problem for training in seeded):
        runs = [training for training in [*FIRST, *seeded] if training.problem == problem]
        shares = [training.accuracy for training in runs]
        spread = f"{100 * (max(shares) - min(shares)):.1f} points"
        rows.append((problem, *(f"{share:.1%}" for share in shares), spread))
    return markdown(("problem", *(f"seed {seed}" for seed in (0, *SEEDS)), "spread"), rows)


def precision_table(precise: Sequence[Training]) -> str:
    """Each problem in both precisions."""
    rows = []
    for problem in PRECISIONS:
        for training in [*FIRST, *precise]:
            if training.problem == problem:
                found = training.result
                shares = (f"{found['accuracy'][tau]:.1%}" for tau in TOLERANCES)
                rows.append((problem, found["precision"], f"{found['train_seconds']:.0f}", *shares))
    return markdown(("problem", "precision", "seconds", "5%", "2%", "1%", "0.5%"), rows)


if __name__ == "__main__":
    start(main, "nine: interrupted; make nine starts anew, make results goes on")
