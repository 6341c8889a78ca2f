"""What is shown while a model trains: a progress bar on a terminal, JSON lines anywhere else."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from matstream.trainer.client import LoggedWaiting, Waiting


@contextmanager
def working(what: str, samples: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's standard error while samples are worked off, which the function given is told."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not _is_watched(console)) as bar:
        task = bar.add_task(what, total=samples)
        yield lambda count: bar.advance(task, count)


def _is_watched(console: Console) -> bool:
    """Whether people see what is written as it changes: on a terminal, in a notebook."""
    return console.is_terminal or console.is_jupyter


class TrainingProgress:
    """Reports on standard error, from a first number of samples to the last."""

    def __init__(self, name: str, done: int, samples: int) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not _is_watched(self._console),
        )
        self._task = self._bar.add_task(name, total=samples, completed=done, status="")
        self._last: dict[str, Any] = {}
        self._status = ""
        self._log = LoggedWaiting()

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def waiting(self, waiting: Waiting | None) -> None:
        """Show what the run waits for, and how long it still will; None: for nothing any more."""
        if not _is_watched(self._console):
            self._log(waiting)
        elif waiting is None:
            self._bar.update(self._task, status=self._status)
        else:
            left = timedelta(seconds=max(0, int(waiting.left)))
            self._bar.update(
                self._task, status=f"[yellow]{escape(waiting.reason)}; waits {left} more[/yellow]"
            )

    def report(self, record: dict[str, Any]) -> None:
        """Show a record of metrics.jsonl."""
        if not _is_watched(self._console):
            self._console.file.write(json.dumps(record) + "\n")
            self._console.file.flush()
            return
        self._last.update(record)
        self._status = (
            f"{self._last.get('samples_per_second', 0):,.0f}/s · loss {self._last.get('loss', 0):.3f}"
        )
        self._status += f" · waits {self._last.get('data_wait', 0):.0%}"
        if "accuracy" in self._last:
            self._status += f" · valid {self._last['accuracy']:.1%}"
        self._bar.update(self._task, completed=self._last["samples"], status=self._status)
