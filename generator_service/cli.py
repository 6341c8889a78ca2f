"""`matstream serve`. What it needs is loaded when it runs, so that help needs none of it."""

import os
from typing import Annotated

from cyclopts import Parameter, validators

from matstream.shared.interrupts import loading


def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 8000,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=256))] = 1,
    problems: list[str] | None = None,
    embedded: Annotated[int | None, Parameter(show=False)] = None,
) -> None:
    """Serve streams over HTTP until interrupted.

    Limits are set by the environment: MATSTREAM_MAX_DIM, MATSTREAM_MAX_COUNT, MATSTREAM_MAX_SECONDS,
    MATSTREAM_MAX_BATCH_BYTES, MATSTREAM_MAX_JSON_NUMBERS, MATSTREAM_MAX_STREAMS (at a time, of each worker).
    MATSTREAM_API_KEYS (separated by commas or lines) lets in only those who have one, MATSTREAM_RATE (as
    600/minute) limits the requests of each key, MATSTREAM_CORS_ORIGINS names the sites whose pages may read
    streams.

    Parameters
    ----------
    host
        Address to listen on; 0.0.0.0 for every interface.
    port
        Port to listen on; 0 lets the system choose.
    workers
        Processes that serve; one that dies is replaced.
    problems
        A Python file, or a module, with operations and structures of your own; several times for several.
    embedded
        For a program that starts the service as its child: the file descriptor to write the URL to and to
        close; it ends when standard input closes.
    """
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        os.environ.pop(name, None)  # set for our own workers alone, and read at import
    with loading():
        from matstream.generator_service.service import server
        from matstream.shared.problems import read_problems

    read_problems(problems or ())
    server.run(host, port, workers, embedded=embedded)
