"""Files of events for TensorBoard, written at once.

TensorBoard's own writer has a thread for it, which on a full disk prints a traceback.
"""

import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import scalar

_numbers = itertools.count()  # of the files that this process has begun


class Events:
    """A new file of events in `folder`; of the older files' events, those from step `purged` on are void."""

    def __init__(self, folder: Path, purged: int) -> None:
        folder.mkdir(exist_ok=True)
        name = (
            f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        )
        self._records = RecordWriter((folder / name).open("wb"))
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=purged, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add values by name. Raises OSError where there is no room."""
        for name, value in values.items():
            self._write(Event(step=step, summary=scalar(name, value)))  # type: ignore[no-untyped-call]
        self._records.flush()

    def close(self) -> None:
        self._records.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
