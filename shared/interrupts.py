"""What Ctrl-C does while libraries are imported."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def loading() -> Iterator[None]:
    """For a body of imports: Ctrl-C ends the process at once, since libraries may lose the exception.

    If Ctrl-C is ignored, as in a background job of a script, or has another handler, that is left unchanged.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*_: object) -> None:
    with suppress(OSError):  # nobody can be told
        os.write(2, b"matstream: interrupted\n")
    os._exit(130)
