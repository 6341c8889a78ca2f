"""`matstream serve`. Loads the service only when it is to run, so that help needs none of it."""

from typing import Annotated

from cyclopts import Parameter, validators


def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 8000,
    embedded: Annotated[bool, Parameter(show=False)] = False,
) -> None:
    """Serve streams over HTTP until interrupted.

    Limits are set by the environment: MATSTREAM_MAX_DIM, MATSTREAM_MAX_COUNT, MATSTREAM_MAX_WORK,
    MATSTREAM_MAX_BATCH_BYTES.

    Parameters
    ----------
    host
        Address to listen on; 0.0.0.0 for every interface.
    port
        Port to listen on; 0 lets the system choose.
    embedded
        For a program that starts the service as its child: write the URL as the only line on standard
        output, and end when standard input closes.
    """
    from generator_service import server

    server.run(host, port, embedded=embedded)
