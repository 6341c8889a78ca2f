"""Writes docs/operations.md: every operation and structure, from what the program itself says of them.

`.venv/bin/python bench/operations.py`
"""

import inspect
from pathlib import Path
from typing import get_args

from matstream.generator_service.ensembles.structures import described
from matstream.shared.fields import POSITIVE_SPECTRA
from matstream.shared.operation import Group, Operation, difference, exact
from matstream.shared.operations import OPERATIONS
from matstream.shared.structures import COMPOSED, MAX_DEPTH, rules

PAGE = Path("docs/operations.md")
HEAD = """\
# Operations and structures

<!-- written by bench/operations.py -->

All that comes with matstream. m and n are the rows and columns of a matrix (`dim` and `cols`), ‖A‖_F is the
root of the sum of its squared entries. *Residual* says how far a target is from the answer; a sample whose
residual is over the bound is drawn again. *Error* is what accuracies are computed from; where nothing is
said, it is the relative l1 error, Σ|P−T| / Σ|T| of a prediction P and the target T. `/v1/catalog` has the
same as JSON.
"""
STRUCTURES = """\
## Structures

A structure replaces free entries. Of several, with weights or without (`none:3,toeplitz`), one is drawn for
each sample. Each matrix of a sample has it; vectors have none. Where an operation needs symmetric matrices,
they are symmetric. s is the `scale`.

The structures {composed} are made of others, their base, which may be named after a colon:
`block_diagonal:toeplitz`, `low_rank:kronecker:banded`; up to {depth} in all.
"""


def section(name: str, operation: Operation) -> str:
    """What is said of an operation."""
    lines = [
        f"### `{name}`",
        "",
        f"{operation.input_form} → {operation.target_form}",
        "",
        operation.about,
        "",
    ]
    residual = _residual(operation)
    facts = [f"- {residual} Bound: {operation.residual_bound:g}."]
    if operation.deviation is exact:
        facts.append("- Error: 0 where every entry is met, infinite otherwise.")
    elif operation.deviation is not difference:
        facts.append(f"- Error: {_first(operation.deviation)}")
    if operation.beyond is not None:
        facts.append(f"- Strictly, this must be within the tolerance too: {_first(operation.beyond)}")
    if operation.positive:
        facts.append(f"- Spectra: {', '.join(POSITIVE_SPECTRA)}.")
    if operation.structures:
        facts.append(f"- Structure: {' or '.join(operation.structures)}.")
    if operation.methods:
        names = dict.fromkeys(method.name for method in operation.methods)
        facts.append(f"- Compared with: {', '.join(names)}.")
    return "\n".join([*lines, *facts, ""])


def _residual(operation: Operation) -> str:
    """The sentence of a target's docstring that says what its residual is."""
    doc = " ".join((inspect.getdoc(operation.target) or "").split())
    found = doc.partition("Residual")[2]
    return f"Residual{found}" if found else "Residual: 0, since nothing is rounded."


def _first(function: object) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for group in get_args(Group):
        of_group = {name: operation for name, operation in OPERATIONS.items() if operation.group == group}
        if of_group:
            parts += [f"## {group.capitalize()}\n", *(section(*one) for one in of_group.items())]
    composed = ", ".join(f"`{name}`" for name in COMPOSED[:-1]) + f" and `{COMPOSED[-1]}`"
    parts.append(STRUCTURES.format(composed=composed, depth=MAX_DEPTH))
    for name, text in described().items():
        has = rules(name.replace("κ", "1"))
        notes = ["square matrices only"] * has.square + ["never symmetric"] * (not has.symmetric)
        notes += ["positive semidefinite"] * has.positive + ["without inverse"] * has.singular
        notes += ["dimensions must have divisors"] * has.divided
        parts.append(f"- `{name}`{' (' + '; '.join(notes) + ')' if notes else ''}: {text}")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
