"""What is shown while a model trains, and at the end."""

from functools import partial
from types import SimpleNamespace

import IPython.display
import pytest
from rich.console import Console

from matstream.trainer.client import Waiting
from matstream.trainer.display import progress
from matstream.trainer.display.tables import say, show_cross

NAME = "[bold]run[/bold] [x]"


def test_names_with_brackets_are_shown_as_they_are(capsys):
    say(" on 5 samples", bold=NAME)
    show_cross("dim", [NAME], ["[5]"], [[0.5]])
    out = capsys.readouterr().out
    assert out.startswith(f"{NAME} on 5 samples\n")
    assert "[5]" in out.splitlines()[1]
    assert NAME in out.splitlines()[2]


def test_bars_show_names_with_brackets_as_they_are(monkeypatch, capsys):
    monkeypatch.setattr(progress, "Console", partial(Console, force_terminal=True, width=100))
    with progress.TrainingProgress(NAME, 0, 10):
        pass
    with progress.working(NAME, 10) as done:
        done(5)
    assert capsys.readouterr().err.count(NAME) >= 2


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    """What a notebook shows, one text for each time that it is drawn."""
    drawn: list[str] = []
    output = SimpleNamespace(update=lambda html: drawn.append(html.data))
    monkeypatch.setattr(IPython.display, "display", lambda *_, **__: output)
    monkeypatch.setattr(progress, "Console", partial(Console, force_jupyter=True))
    monkeypatch.setattr(progress, "_as_html", lambda bar: bar.tasks[0].fields["status"])
    return drawn


def test_a_wait_that_is_over_is_no_longer_shown_in_a_notebook(shown):
    """Even if it was drawn a moment ago, since the next report may be minutes away."""
    waiting = Waiting("no generator answers", 1.0, 60.0)
    with progress.TrainingProgress("run", 0, 10) as bar:
        bar.waiting(waiting)
        bar.waiting(None)
        assert "no generator answers" in shown[-2]
        assert shown[-1] == ""
