"""Single answers of a trained model: right ones, nearly right ones, the worst."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from matstream.shared.errors import UserError, first_line
from matstream.shared.scoring import TOLERANCES
from matstream.shared.spec import StreamSpec
from matstream.trainer.runs.folder import ANSWERS
from matstream.trainer.runs.results import read_spec

Floats = NDArray[np.float64]

RIGHT = TOLERANCES[0]  # the tolerance that separates right samples from wrong ones
NEARLY = 4 * RIGHT


@dataclass(frozen=True)
class Case:
    """One sample and the model's answer to it."""

    kind: str  # right, nearly right, worst or invalid
    operation: str
    index: int  # in its stream
    error: float  # as scoring.answers keeps it
    input: Floats  # (rows, columns)
    target: Floats
    prediction: Floats


def cases(folder: Path, each: int = 2) -> tuple[StreamSpec, list[Case]] | None:
    """The stream that a run was last scored on, and some of its answers: the first that are right, the wrong
    ones nearest to right, the worst, the first invalid one. None if no answers were kept."""
    path = folder / ANSWERS
    if not path.is_dir():
        return None
    with _read(path) as (spec, group):
        errors = np.asarray(group["errors"][:])
        return spec, [_case(group, kind, place) for kind, place in _chosen(errors, each)]


def first_case(folder: Path) -> tuple[StreamSpec, Case]:
    """The stream that a run was last scored on, and its answer to the first sample."""
    with _read(folder / ANSWERS) as (spec, group):
        return spec, _case(group, "first", 0)


@contextmanager
def _read(path: Path) -> Iterator[tuple[StreamSpec, Any]]:
    try:
        with zarr.config.set(zarr.config.defaults[0]):  # whatever zarr's own settings say
            group = zarr.open_group(path, mode="r")
            yield read_spec(json.loads(str(group.attrs["spec"])), path), group
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{path} cannot be read ({reason}): score the run again") from None


def _chosen(errors: Floats, each: int) -> list[tuple[str, int]]:
    invalid = np.flatnonzero(np.isnan(errors))
    wrongness = np.where(errors < 0, np.inf, errors)  # NaN compares as neither right nor wrong
    order = np.argsort(wrongness, kind="stable")[: len(errors) - len(invalid)]
    right = np.flatnonzero(wrongness < RIGHT)[:each]
    wrong = order[wrongness[order] >= RIGHT]
    nearly = wrong[wrongness[wrong] < NEARLY][:each]
    worst = wrong[len(nearly) :][::-1][:each]
    kinds = {"right": right, "nearly right": nearly, "worst": worst, "invalid": invalid[:1]}
    return [(kind, int(place)) for kind, places in kinds.items() for place in places]


def _case(group: Any, kind: str, place: int) -> Case:
    names = ("rows", "columns", "target_rows", "target_columns", "operation", "errors", "index")
    own: dict[str, Any] = {name: np.asarray(group[name][place]).item() for name in names}
    target = slice(own["target_rows"]), slice(own["target_columns"])
    prediction = np.asarray(group["predictions"][place])[target]
    if kind == "invalid" and not np.isnan(prediction).any():
        kind = "worst"  # numbers so large that their error is NaN
    return Case(
        kind,
        str(group.attrs["operations"]).split(",")[own["operation"]],
        own["index"],
        own["errors"],
        np.asarray(group["inputs"][place])[: own["rows"], : own["columns"]],
        np.asarray(group["targets"][place])[target],
        prediction,
    )
