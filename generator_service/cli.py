"""`matstream serve` and `sample`. What they need is loaded when they run, so that help needs none of it."""

import os
import sys
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators
from pydantic import ValidationError

from shared.encodings import ENCODINGS
from shared.errors import RefusedError, UserError, explain
from shared.files import written_aside
from shared.spec import SampleRange, StreamSpec


def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 8000,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=256))] = 1,
    embedded: Annotated[bool, Parameter(show=False)] = False,
) -> None:
    """Serve streams over HTTP until interrupted.

    Limits are set by the environment: MATSTREAM_MAX_DIM, MATSTREAM_MAX_COUNT, MATSTREAM_MAX_SECONDS,
    MATSTREAM_MAX_BATCH_BYTES, MATSTREAM_MAX_JSON_NUMBERS, MATSTREAM_MAX_STREAMS (at a time, of each worker).
    MATSTREAM_API_KEYS (separated by commas) lets in only those who have one, MATSTREAM_RATE (as 600/minute)
    limits the requests of each key, MATSTREAM_CORS_ORIGINS names the sites whose pages may read streams.

    Parameters
    ----------
    host
        Address to listen on; 0.0.0.0 for every interface.
    port
        Port to listen on; 0 lets the system choose.
    workers
        Processes that serve; one that dies is replaced.
    embedded
        For a program that starts the service as its child: write the URL as the only line on standard
        output, and end when standard input closes.
    """
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # set for our own workers alone, and read at import
    from generator_service import server

    server.run(host, port, workers, embedded=embedded)


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
) -> None:
    """Print or keep sample problems, made here or by a running generator.

    Parameters
    ----------
    operation
        One operation, or several separated by commas.
    dim
        Rows of a matrix: 5, or 5-15 drawn per sample.
    cols
        Columns, the same way, drawn apart; without it matrices are square.
    coefficients
        uniform or gaussian.
    scale
        The s of the coefficients: a number, or 1-100 drawn per sample.
    spectrum
        Law of the eigenvalues of symmetric matrices; several separated by commas.
    structure
        A structured ensemble, such as toeplitz or condition-100.
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
        table for people, json (at most 100 samples), or arrow, an Arrow IPC file (with --out).
    encoding
        Also write each matrix in the words of this encoding, in json.
    out
        File to write instead of the terminal.
    generator
        URL of a running generator; without it the samples are made here.
    """
    from rich.console import Console

    from generator_service import sample as samples_for
    from generator_service.samples_json import MAX_JSON_SAMPLES

    given = {
        "operation": operation,
        "dim": dim,
        "cols": cols,
        "coefficients": coefficients,
        "scale": scale,
        "spectrum": spectrum,
        "structure": structure,
        "noise": noise,
        "max_abs": max_abs,
    }
    try:
        spec = StreamSpec.model_validate({name: value for name, value in given.items() if value is not None})
        samples = SampleRange.model_validate({"seed": seed, "split": split, "start": start, "count": count})
    except ValidationError as error:
        raise RefusedError(explain(error.errors(), StreamSpec)) from None
    if format != "arrow" and samples.count > MAX_JSON_SAMPLES:
        raise UserError(
            f"count={samples.count}: must be at most {MAX_JSON_SAMPLES} as {format}; use --format arrow"
        )
    if encoding is not None and (format != "json" or encoding not in ENCODINGS):
        raise UserError(f"encoding={encoding!r}: must be one of {', '.join(ENCODINGS)}, with --format json")
    if format == "arrow" and out is None:
        raise UserError("--format arrow needs --out FILE")
    made = samples_for.samples_of(spec, samples, generator)
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
        raise UserError(f"--out {out}: {error.strerror or error}") from None
