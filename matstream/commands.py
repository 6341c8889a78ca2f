"""The command line: `matstream serve`, `sample`, `train`, `evaluate`, `benchmark`, `report`,
`models`, `recipes`.

Each command is loaded when it is called, so that the service needs no
torch and the trainer no FastAPI.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from matstream.shared.interrupts import loading

with loading():
    import logging
    from io import StringIO, TextIOWrapper
    from pathlib import Path
    from typing import Annotated, Literal

    import cyclopts
    from cyclopts import App, Parameter, validators
    from rich.console import Console

    from matstream.generator_service.cli import serve
    from matstream.shared.encodings import ENCODINGS
    from matstream.shared.errors import UserError
    from matstream.shared.files import written_aside
    from matstream.shared.problems import read_problems

RUNS = Path("runs")
Setting = dict[str, str] | None  # values of one section of a recipe, by key

# an import that fails -> the extra that brings it
_EXTRA = {
    "fastapi": "generator",
    "prometheus_client": "generator",
    "pydantic_settings": "generator",
    "pyrate_limiter": "generator",
    "pythonjsonlogger": "generator",
    "scipy": "generator",
    "threadpoolctl": "generator",
    "uvicorn": "generator",
    "matplotlib": "trainer",
    "safetensors": "trainer",
    "tensorboard": "trainer",
    "tomli_w": "trainer",
    "torch": "trainer",
    "zarr": "trainer",
}

app = App(
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # main handles it
    name="matstream",
    help="Endless linear-algebra problems as Arrow streams over HTTP, and transformers trained on them.",
)
app.command(serve)


@app.command
def sample(
    operation: str,
    /,
    *,
    dim: str,
    cols: str | None = None,
    coefficients: str | None = None,
    scale: str | None = None,
    spectrum: str | None = None,
    structure: str | None = None,
    noise: str | None = None,
    max_abs: str | None = None,
    seed: str = "0",
    split: str = "train",
    start: str = "0",
    count: Annotated[str, Parameter(name=["--count", "-n"])] = "1",
    format: Literal["table", "json", "arrow"] = "table",  # noqa: A002
    encoding: str | None = None,
    out: Path | None = None,
    generator: str | None = None,
    problems: list[str] | None = None,
) -> None:
    """Print sample problems or write them to a file; they are made here or by a running generator.

    Parameters
    ----------
    operation
        One operation, or several separated by commas.
    dim
        Rows of a matrix: 5, or 5-15 drawn per sample.
    cols
        Columns, in the same way, drawn independently; without it matrices are square.
    coefficients
        Law of the entries: uniform, gaussian, integers, sparse or log_uniform; several separated by commas.
    scale
        The s of the coefficients: a number, or 1-100 drawn per sample.
    spectrum
        Law of the eigenvalues of symmetric matrices; several separated by commas.
    structure
        A structured ensemble, such as toeplitz or condition-100; several separated by commas.
    noise
        Level of normal noise on the input.
    max_abs
        Draw a sample again when an entry exceeds this.
    seed
        Another seed is another stream.
    split
        train, valid or test.
    start
        Index of the first sample.
    count
        How many samples.
    format
        table or json, for at most 100 samples, or arrow, an Arrow IPC file (with --out).
    encoding
        With --format json, also write each matrix in the words (tokens) of this encoding.
    out
        File to write instead of the terminal.
    generator
        URL of a running generator; without it the samples are made here.
    problems
        A Python file or module with operations and structures of your own; may be given several times.
    """
    read_problems(*problems or ())
    with loading():
        from matstream.generator_service import sample as samples_for
        from matstream.generator_service.samples_json import MAX_JSON_SAMPLES
        from matstream.generator_service.stream import batches, default_batch_rows
        from matstream.samples import read_address

    given = {
        "dim": dim,
        "cols": cols,
        "coefficients": coefficients,
        "scale": scale,
        "spectrum": spectrum,
        "structure": structure,
        "noise": noise,
        "max_abs": max_abs,
    }
    fields = {name: value for name, value in given.items() if value is not None}
    spec, samples = read_address(operation, fields, seed=seed, split=split, start=start, count=count)
    if format != "arrow" and samples.count > MAX_JSON_SAMPLES:
        raise UserError(
            f"count={samples.count}: must be at most {MAX_JSON_SAMPLES} as {format}; use --format arrow"
        )
    if encoding is not None and (format != "json" or encoding not in ENCODINGS):
        raise UserError(f"encoding={encoding!r}: must be one of {', '.join(ENCODINGS)}, with --format json")
    if format == "arrow" and out is None:
        raise UserError("--format arrow needs --out FILE")
    if out is not None and out.is_dir():
        raise UserError(f"--out {out}: is a folder; must be a file")
    if out is not None and samples_for.is_of_others(out):
        raise UserError(
            f"--out {out}: exists, and holds no samples that matstream wrote: choose another name"
        )
    if generator is None:
        made = batches(spec, samples, default_batch_rows(spec))
    else:
        with loading():
            from matstream.trainer.client import stream as samples_from

        address = samples.model_dump()
        made = samples_from(generator, spec, **address, patience=0.0)
    try:
        if out is not None and format == "arrow":
            written = samples_for.write_arrow(out, made)
            sys.stdout.write(f"{out}: {written:,} samples\n")
            return
        if format == "json":
            text = samples_for.as_json(spec, samples, made, encoding)
        elif out is None:
            samples_for.show(spec, made, Console())
            return
        else:
            table = StringIO()
            samples_for.show(spec, made, Console(file=table))
            text = table.getvalue()
        if out is None:
            sys.stdout.write(text)
            return
        with written_aside(out) as aside:
            aside.write_text(text, encoding="utf-8")
    except OSError as error:
        if out is None:
            raise
        raise UserError(f"--out {out}: {error.strerror or error}") from None


@app.command
def train(
    recipe: str,
    /,
    *,
    generator: list[str] | None = None,
    problems: list[str] | None = None,
    run: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    start_from: Annotated[str | None, Parameter("--from")] = None,
    stream: Setting = None,
    tokens: Setting = None,
    model: Setting = None,
    training: Setting = None,
    evaluation: Setting = None,
    fetch: Setting = None,
) -> None:
    """Train a recipe on a live stream: one that comes with matstream (see `recipes`), or a .toml file.

    The run is kept in runs/NAME. Ctrl-C stops it with a checkpoint.

    Parameters
    ----------
    recipe
        Name of a recipe, or path of a .toml file.
    generator
        URL of a running generator; may be given several times, for replicas. Without it, one is started for
        the run.
    problems
        A Python file or module with operations and structures of your own; may be given several times.
    run
        Name of the run; the recipe's by default.
    resume
        Go on with a run that was stopped.
    overwrite
        Replace a run that exists.
    start_from
        A run whose best weights training starts from, such as runs/small-eigenvalues, or a model by its name.
    stream
        The problems: --stream.KEY VALUE, as in --stream.dim 4; the same for every section of the recipe.
    tokens
        How numbers are written: --tokens.KEY VALUE.
    model
        The transformer's sizes: --model.KEY VALUE.
    training
        Samples, learning rate, precision and so on: --training.KEY VALUE.
    evaluation
        How many held-out samples are scored, and how: --evaluation.KEY VALUE.
    fetch
        How samples travel: --fetch.KEY VALUE.
    """
    read_problems(*problems or ())
    with loading():
        from matstream.trainer.cli import train_run
        from matstream.trainer.client.embedded import generators
        from matstream.trainer.runs import run as runs

    sections = {"stream": stream, "tokens": tokens, "model": model, "training": training}
    sections |= {"evaluation": evaluation, "fetch": fetch}
    overrides = {section: values for section, values in sections.items() if values}
    if start_from is not None:
        overrides["training"] = {**overrides.get("training", {}), "start_from": start_from}
    prepared = runs.prepare(
        recipe, name=run, runs=RUNS, resume=resume, overwrite=overwrite, overrides=overrides
    )
    with generators(generator, prepared.recipe.definitions.sources) as urls:
        train_run(prepared, urls, resume=resume)


@app.command
def evaluate(
    runs: Annotated[list[Path], Parameter(negative=())],
    /,
    *,
    generator: list[str] | None = None,
    problems: list[str] | None = None,
    stream: Setting = None,
    across: str | None = None,
    samples: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=1_000_000))] = None,
    split: Literal["train", "valid", "test"] = "test",
    constrained: bool = False,
    analyse: bool = False,
    baselines: bool = False,
    out: Path | None = None,
) -> None:
    """Score trained models on held-out samples of any stream they can read, their own by default.

    Parameters
    ----------
    runs
        Folders of runs or of exported models, or names of models that come with matstream (see `models`).
    generator
        URL of a running generator; may be given several times, for replicas. Without it, one is started.
    problems
        A Python file or module with operations and structures of your own; may be given several times.
    stream
        What differs from training: --stream.KEY VALUE, as in --stream.spectrum laplace.
    across
        Print a table over the values of a field: spectrum for all seven, or some of them, as in dim=5,6,7.
    samples
        How many samples; by default as many as the run's recipe says.
    split
        The split of the stream from which they are taken.
    constrained
        Let the model write only words (tokens) that the grammar of an answer allows.
    analyse
        Also study where it fails: by rank, by condition number, norms and angles of vectors.
    baselines
        Also say what numerical methods reach on the same samples, in 1, 2, 4 and 8 steps, and what the best
        constant answer does.
    out
        Folder for scores, answers and study; for several runs, a folder for each is made in it. By default
        the run's own folder.
    """
    read_problems(*problems or ())
    with loading():
        from matstream.trainer.scoring.evaluate import Choice, examine, plan

    planned = plan(runs, stream or {}, across, out)
    examine(planned, generator, Choice(samples, split, constrained), study=analyse, compare=baselines)


@app.command
def benchmark(model: Path, /, *, generator: list[str] | None = None) -> None:
    """Score a model on the frozen test sets that it can read, and print rows for the table of
    docs/benchmark.md.

    Parameters
    ----------
    model
        Folder of a run or of an exported model, or the name of one that comes with matstream (see `models`).
    generator
        URL of a running generator; may be given several times, for replicas. Without it, one is started.
    """
    with loading():
        from matstream.trainer.scoring.benchmark import benchmark as rows_of

    rows_of(model, generator)


@app.command
def report(runs: Annotated[list[Path], Parameter(negative=())], /, *, out: Path | None = None) -> None:
    """Write one HTML page, with its pictures, about runs side by side, finished or not.

    Parameters
    ----------
    runs
        Folders of runs, such as runs/quickstart.
    out
        The page or its folder; by default the run's own folder for one run, ./report for several.
    """
    with loading():
        from matstream.trainer import cli

    cli.report(runs, out)


@app.command
def models() -> None:
    """List the trained models that come with matstream."""
    with loading():
        from matstream.trainer.runs.shipped import models as show

    show()


@app.command
def recipes() -> None:
    """List the recipes that come with matstream."""
    with loading():
        from matstream.trainer.recipes.listing import recipes as show

    show()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake ends it with one sentence on standard error and a non-zero status."""
    try:
        _open_streams()
        _forget_settings_of_libraries()
        logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
        # trainer.client itself logs what it asks again, and why
        logging.getLogger("stamina").setLevel(logging.ERROR)
        with _ended_by_sigterm():
            app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except UserError as error:
        _fail(str(error), 1)
    except cyclopts.CycloptsError as error:
        _fail(f"{error} (matstream --help says more)", 2)
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        _fail(f"this command needs {missing}: pip install 'matstream[{_EXTRA[missing]}]'", 1)
    except BrokenPipeError:  # the reader of our output has closed it, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)
    except KeyboardInterrupt as interrupt:
        _fail(str(interrupt) or "interrupted", 130)


def _open_streams() -> None:
    """Let the standard streams take whatever is written.

    A closed one is connected to the null device, since otherwise a file opened later would get its number,
    and all that libraries print. A character that the encoding of a stream lacks becomes a question mark.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest free number
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # not a replacement by a Python program
            stream.reconfigure(errors="replace")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the body as Ctrl-C does, so that nothing half written is left behind."""

    def end(*_: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _forget_settings_of_libraries() -> None:
    """Remove the settings of matplotlib's backend and of zarr from the environment.

    Pictures need no backend, and matplotlib cannot be imported if the backend of a notebook is not installed
    here; answers are always written and read in the same way.
    """
    for name in list(os.environ):
        if name == "MPLBACKEND" or name.startswith("ZARR_"):
            del os.environ[name]


def _fail(sentence: str, status: int) -> None:
    with suppress(OSError):  # nobody can be told
        sys.stderr.write(f"matstream: {sentence}\n")
        sys.stderr.flush()
    sys.exit(status)
