"""The nine problems on two cores: trains every recipe of small/ unchanged, one after another, each with a
generator of its own over HTTP, and scores its best model on 10,000 held-out samples.

Starts from the beginning each time. Writes runs/nine/report.html, its pictures, and runs/nine/RESULTS.md.
Fails if on some problem less than 90% of answers are right at 5% tolerance. With --more, it keeps these runs,
adds runs from other seeds for the three hardest problems and in the other precision for two problems, and
writes all results to docs/RESULTS.md. If --more is interrupted, the next --more continues where it was.
"""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import cyclopts
from rich.console import Console
from rich.markdown import Markdown

from matstream.trainer.runs.folder import METRICS, RESULT, clear

GOAL = 0.9
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
TOLERANCES = ("0.05", "0.02", "0.01", "0.005")
HOW = """\
`make nine` took {minutes} minutes (without installation) at commit {commit} on {processor},
with torch {torch}. Each problem is a recipe of `small/`, trained on samples streamed by a generator. The
weights that did best on the validation samples are then scored on {samples} held-out samples, the first ones
of the test split. Matrices are 2×2, or 3×3 if the name ends in -3. {verdict}"""
OTHER_SEEDS = """\
The problems with the lowest accuracies were also trained from other seeds, which change all samples and
the initial weights. The table shows their accuracy at 5%."""
EXPLAINED = """\
The columns 5% to 0.5% give the accuracy at these tolerances, as the paper defines it: the share of answers
whose relative l1 error is below the tolerance, or whose words (tokens) are exactly those of the target.
*Strict* accuracy goes by the error alone, and for eigenvectors and svd it also requires right values and
orthonormal vectors. The *ceiling* is the accuracy of the exact answer once it is rounded to three digits.
*Invalid* answers are not a matrix of numbers, and count as wrong. *Seconds* are those of training, without
validation; *waiting* is the share of them spent waiting for samples. *Seeds* is how many seeds a problem
was trained from. The curves against samples are the same on any machine up to rounding; those against
seconds are not."""
MATSTREAM = [sys.executable, "-m", "matstream"]
FOLDER = Path("runs/nine")
MADE = FOLDER / "made.json"


class Training(NamedTuple):
    """One training: a recipe of small/, and what is changed in it."""

    problem: str
    run: str
    changes: dict[str, Any]


FIRST = [Training(problem, f"nine-{problem}", {}) for problem in PROBLEMS]


def main(*, more: bool = False) -> None:
    """Train the nine problems; with --more, other seeds and precisions beside the runs that are there."""
    others = go_on() if more else []
    if not more:
        start_anew()
    runs = [str(folder(training)) for training in FIRST]
    run("report", *runs, "--out", str(FOLDER))
    text = results(others)
    (FOLDER / "RESULTS.md").write_text(text, encoding="utf-8")
    if more:
        shutil.copy(FOLDER / "report-curves.png", "docs/results.png")
        Path("docs/RESULTS.md").write_text(text.replace("report-curves.png", "results.png"), encoding="utf-8")
    Console(width=140).print(Markdown("\n".join(line for line in text.splitlines() if line[:2] != "![")))
    if below(others):
        sys.exit(verdict(others))


def start_anew() -> None:
    """Train the nine problems, in the place of all that was trained here before."""
    made = {"commit": commit(), "processor": processor()}
    for training in [*FIRST, *precisions(), *seeds(FIRST)]:
        if folder(training).is_dir():
            clear(folder(training))
            with suppress(OSError):  # others have something in it
                folder(training).rmdir()
    started = time.perf_counter()
    for training in FIRST:
        train(training, resume=False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    made["seconds"] = time.perf_counter() - started
    MADE.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def go_on() -> list[Training]:
    """Train what stands beside the nine, as far as it is not there."""
    missing = [str(folder(training)) for training in FIRST if not finished(training)]
    if missing or not MADE.is_file():
        sys.exit(f"nine: {', '.join(missing) or MADE} is not there: run make nine first, to its end")
    made, now = (name.removesuffix("-dirty") for name in (json.loads(MADE.read_text())["commit"], commit()))
    if made != now:
        sys.exit(f"nine: the runs are of commit {made}, this is {now}: check that one out, or run make nine")
    others = [*precisions(), *seeds(sorted(FIRST, key=accuracy)[:HARDEST])]
    for training in others:
        if not finished(training):
            train(training, resume=(folder(training) / METRICS).is_file())
    return others


def precisions() -> list[Training]:
    """Two problems in another precision."""
    return [
        Training(problem, f"nine-{problem}-{precision}", {"training.precision": precision})
        for problem, precision in PRECISIONS.items()
    ]


def seeds(trainings: Sequence[Training]) -> list[Training]:
    """Problems from other seeds, of the samples and of the first weights."""
    return [
        Training(
            training.problem,
            f"nine-{training.problem}-seed-{seed}",
            {"stream.seed": seed, "training.seed": seed},
        )
        for training in trainings
        for seed in SEEDS
    ]


def train(training: Training, *, resume: bool) -> None:
    """Train and score, as `matstream train` does."""
    flags = [word for key, value in training.changes.items() for word in (f"--{key}", str(value))]
    how = "--resume" if resume else "--overwrite"
    run("train", f"small/{training.problem}", "--run", training.run, how, *flags)


def run(*arguments: str) -> None:
    """Run matstream, without a GPU, and end if it fails; told to stop, let it stop by itself first."""
    process = subprocess.Popen([*MATSTREAM, *arguments], env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    try:
        status = process.wait()
    except KeyboardInterrupt:  # which it was sent too
        process.wait()
        raise
    except SystemExit:
        process.terminate()
        process.wait()
        raise
    if status:
        sys.exit(status)  # it has said why


def folder(training: Training) -> Path:
    return Path("runs") / training.run


def finished(training: Training) -> bool:
    return (folder(training) / RESULT).is_file()


def result(training: Training) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder(training) / RESULT).read_text(encoding="utf-8"))
    return found


def accuracy(training: Training) -> float:
    return float(result(training)["accuracy"]["0.05"])


def below(others: Sequence[Training]) -> list[str]:
    """The runs that did not reach the goal."""
    return [training.run.removeprefix("nine-") for training in [*FIRST, *others] if accuracy(training) < GOAL]


def verdict(others: Sequence[Training]) -> str:
    """What reached the goal, in a sentence."""
    missed = ", ".join(below(others))
    return (
        f"Under {GOAL:.0%} at 5%: {missed}." if missed else f"Every problem is at {GOAL:.0%} or more at 5%."
    )


def commit() -> str:
    """The commit that is checked out, `-dirty` behind it where files differ."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def processor() -> str:
    """The processor's name, and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text().splitlines()
        name = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def results(others: Sequence[Training]) -> str:
    """All results, as Markdown."""
    made = json.loads(MADE.read_text(encoding="utf-8"))
    seeded = [training for training in others if "training.seed" in training.changes]
    precise = [training for training in others if "training.precision" in training.changes]
    one = result(FIRST[0])
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
        found = result(training)
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
        shares = [accuracy(training) for training in runs]
        spread = f"{100 * (max(shares) - min(shares)):.1f} points"
        rows.append((problem, *(f"{share:.1%}" for share in shares), spread))
    return markdown(("problem", *(f"seed {seed}" for seed in (0, *SEEDS)), "spread"), rows)


def precision_table(precise: Sequence[Training]) -> str:
    """Each problem in both precisions."""
    rows = []
    for problem in PRECISIONS:
        for training in [*FIRST, *precise]:
            if training.problem == problem:
                found = result(training)
                shares = (f"{found['accuracy'][tau]:.1%}" for tau in TOLERANCES)
                rows.append((problem, found["precision"], f"{found['train_seconds']:.0f}", *shares))
    return markdown(("problem", "precision", "seconds", "5%", "2%", "1%", "0.5%"), rows)


def markdown(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; its columns but the first are numbers."""
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _end(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    try:
        cyclopts.run(main)
    except KeyboardInterrupt:
        sys.exit("nine: interrupted; make nine starts anew, make results goes on")
