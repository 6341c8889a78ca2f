"""`matstream serve`. Its libraries are imported when it runs, so that --help needs none of them."""

import os
from typing import Annotated

from cyclopts import Parameter, validators

from matstream.generator_service.service.heap import share_one_heap
from matstream.shared.interrupts import loading


def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 8000,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=256))] = 1,
    problems: list[str] | None = None,
    embedded: Annotated[int | None, Parameter(show=False)] = None,
    sources: Annotated[int | None, Parameter(show=False)] = None,
) -> None:
    """Serve streams over HTTP until interrupted.

    Variables of the environment set limits: MATSTREAM_MAX_DIM, MATSTREAM_MAX_COUNT, MATSTREAM_MAX_SECONDS,
    MATSTREAM_MAX_BATCH_BYTES, MATSTREAM_MAX_BODY_BYTES, MATSTREAM_MAX_JSON_NUMBERS, MATSTREAM_MAX_STREAMS (at
    a time, per worker).
    MATSTREAM_API_KEYS (keys, separated by commas or lines) lets in only clients that have one of them,
    MATSTREAM_RATE (such as 600/minute) limits the requests of each key, and MATSTREAM_CORS_ORIGINS names the
    sites whose pages may read streams.

    Parameters
    ----------
    host
        Address to listen on; 0.0.0.0 for every interface.
    port
        Port to listen on; 0 lets the system choose.
    workers
        Processes that serve; one that dies is replaced.
    problems
        A Python file or module with operations and structures of your own; may be given several times.
    embedded
        For a program that starts the service as its child: the file descriptor to which the service writes
        its URL, and which it then closes. The service ends when its standard input closes.
    sources
        For such a program too: the descriptor of a file of problem files, as write_sources writes it.
    """
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        os.environ.pop(name, None)  # only for our own workers; read when prometheus_client is imported
    share_one_heap()  # before Arrow is imported, whose threads would have heaps of their own
    with loading():
        from matstream.generator_service.service import server
        from matstream.shared.problems import known, learn_only, read_problems, read_sources

    if sources is not None:
        learn_only(read_sources(sources))
    read_problems(*problems or ())
    server.run(host, port, workers, embedded=embedded, sources=known().sources)
