"""What a command prints at its end: scores of one run or of several, findings."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from matstream.trainer.display.formatting import baseline_tables, study_tables

_console = Console(highlight=False, markup=False)  # names of runs and files may hold [brackets]
_console.soft_wrap = not _console.is_jupyter  # a notebook has no window width at which to fold lines
if not _console.is_terminal:
    _console.width = 200  # a table in a file or a pipe is not squeezed


def say(text: str, *, bold: str = "") -> None:
    """Print a line or several, after some bold words."""
    _console.print(Text.assemble((bold, "bold"), text))


def show_scores(scores: Mapping[str, Any]) -> None:
    """Print a summary (scoring.answers): accuracies by tolerance beside the encoding's ceiling, and those of
    each operation and dimension in a mixture."""
    table = _table("tolerance", "accuracy", "strict", "ceiling")
    for tolerance, accuracy in scores["accuracy"].items():
        shares = (accuracy, scores["accuracy_strict"][tolerance], scores["ceiling"][tolerance])
        table.add_row(f"{float(tolerance):.1%}", *(f"{share:.4f}" for share in shares))
    _console.print(table)
    for name in ("by_operation", "by_dimension"):
        if name in scores:
            parts = _table(
                name.removeprefix("by_"), "samples", "within 5%", "1%", "strict", "ceiling", "invalid"
            )
            for part, own in scores[name].items():
                right, strict = own["accuracy"], own["accuracy_strict"]
                of_part = (right["0.05"], right["0.01"], strict["0.05"], own["ceiling"]["0.05"])
                numbers = [f"{share:.4f}" for share in of_part]
                parts.add_row(part, f"{own['test_samples']:,}", *numbers, f"{own['invalid']:,}")
            _console.print()
            _console.print(parts)


def show_cross(
    field: str, runs: Sequence[str], values: Sequence[str], accuracy: Sequence[Sequence[float]]
) -> None:
    """Print the accuracy at 5% of each run (a row) on each value of a field of the stream (a column)."""
    table = _table(f"trained \\ {field}", *values)
    for run, row in zip(runs, accuracy, strict=True):
        table.add_row(run, *(f"{share:.1%}" for share in row))
    _console.print(table)


def show_baselines(records: Sequence[Mapping[str, Any]]) -> None:
    """Print what numerical methods and constant answers reach beside a model (scoring.baselines)."""
    for title, head, rows in baseline_tables(records):
        table = _table(*head)
        for row in rows:
            table.add_row(*row)
        say("", bold=f"\n{title}")
        _console.print(table)


def show_study(study: Mapping[str, Any]) -> None:
    """Print the findings of scoring.failures as tables."""
    for _, head, rows in study_tables(study, {}):
        table = _table(*head)
        for row in rows:
            table.add_row(*row)
        _console.print()
        _console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2), pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table
