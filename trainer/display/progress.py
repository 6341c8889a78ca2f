"""What is shown while a model trains or answers: a bar on a terminal and in a notebook, else JSON lines."""

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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

REDRAWN = 0.2  # seconds between two drawings in a notebook


@contextmanager
def working(what: str, samples: int) -> Iterator[Callable[[int], None]]:
    """Show a bar while samples are worked off. The body calls the yielded function with the number of samples
    that it has done; the bar is gone at the end."""
    columns = (
        TextColumn("{task.description}", markup=False),  # the names of runs may hold [brackets]
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not _is_watched(console))
    task = bar.add_task(what, total=samples)
    with _shown(bar) as redraw:

        def advance(count: int) -> None:
            bar.advance(task, count)
            redraw()

        yield advance


def _is_watched(console: Console) -> bool:
    """Whether people see what is written as it changes: on a terminal, in a notebook."""
    return console.is_terminal or console.is_jupyter


@contextmanager
def _shown(bar: Progress) -> Iterator[Callable[..., None]]:
    """Show a bar. The body calls the yielded function when the bar has changed, with at_once=True for a
    change after which there may be no other for long.

    On a terminal rich redraws the bar. In a notebook it is an output that is replaced each time: rich would
    need widgets, which many notebooks lack.
    """
    if not bar.console.is_jupyter:
        with bar:
            yield lambda **_: None
        return
    from IPython.display import HTML, display

    output = display(HTML(""), display_id=True)
    drawn = 0.0

    def draw(*, at_once: bool = False) -> None:
        nonlocal drawn
        if at_once or time.monotonic() - drawn >= REDRAWN:
            output.update(HTML(_as_html(bar)))
            drawn = time.monotonic()

    try:
        yield draw
    finally:
        if bar.live.transient:
            output.update(HTML(""))
        else:
            draw(at_once=True)


def _as_html(bar: Progress) -> str:
    console = Console(file=io.StringIO(), record=True, width=120, force_jupyter=False, force_terminal=True)
    console.print(bar.get_renderable())
    return console.export_html(inline_styles=True, code_format='<pre style="line-height: 1.2">{code}</pre>')


class TrainingProgress:
    """Reports the progress of training on standard error, from `done` samples to `samples`."""

    def __init__(self, name: str, done: int, samples: int) -> None:
        self._console = Console(stderr=True)
        self._watched = _is_watched(self._console)
        self._bar = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._watched,
        )
        self._task = self._bar.add_task(name, total=samples, completed=done, status="")
        self._last: dict[str, Any] = {}
        self._status = ""
        self._log = LoggedWaiting()
        self._until_the_end = ExitStack()

    def __enter__(self) -> "TrainingProgress":
        self._redraw = self._until_the_end.enter_context(_shown(self._bar))
        return self

    def __exit__(self, *error: object) -> None:
        self._until_the_end.close()

    def waiting(self, waiting: Waiting | None) -> None:
        """Show what the run waits for, and how much longer it will; None if it waits for nothing."""
        if not self._watched:
            self._log(waiting)
            return
        status = self._status
        if waiting is not None:
            left = timedelta(seconds=max(0, int(waiting.left)))
            status = f"[yellow]{escape(waiting.reason)}; waits {left} more[/yellow]"
        self._bar.update(self._task, status=status)
        self._redraw(at_once=waiting is None)

    def report(self, record: dict[str, Any]) -> None:
        """Show a record of metrics.jsonl."""
        if not self._watched:
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
        self._redraw()
