"""The heap of the service. This imports no other module, so that it can run before any starts a thread."""

import ctypes
import os

_M_ARENA_MAX = -8  # of glibc's malloc.h


def share_one_heap() -> None:
    """Let all threads of this process and of its workers, which are still to start, allocate from one heap.

    By default glibc's malloc gives each thread its own, and malloc_trim leaves at the end of every heap but
    the first up to twice the size of the largest array.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
    os.environ["MALLOC_ARENA_MAX"] = "1"
