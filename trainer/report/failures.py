"""The findings of scoring.failures as tables of a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from matstream.trainer.display.formatting import study_tables
from matstream.trainer.report.markup import Markup, element, joined, table, wrapped
from matstream.trainer.report.published_results import NOTEBOOK, published_study

FEW = 3  # up to so many studies are shown unfolded


def studies(run: str, found: Sequence[Mapping[str, Any]]) -> Markup:
    """The studies of a run, folded where there are many."""
    unfolded = {"open": ""} if len(found) <= FEW else {}
    return joined(
        wrapped("details", joined([element("summary", f"{run}: {_about(one)}"), _study(one)]), **unfolded)
        for one in found
    )


def _about(found: Mapping[str, Any]) -> str:
    chosen = {**found["spec"], "seed": found["seed"], "split": found["split"]}
    about = ", ".join(f"{name} {value}" for name, value in chosen.items() if name not in ("operation", "dim"))
    return f"{found['operation']} {found['m']}×{found['n']}, {about}"


def _study(found: Mapping[str, Any]) -> Markup:
    known = published_study(found)
    first, *others = study_tables(found, known)
    caption = f"{first.title}; published: {NOTEBOOK}" if known else first.title
    return joined([table(caption, first.head, first.rows), *(table(*other) for other in others)])
