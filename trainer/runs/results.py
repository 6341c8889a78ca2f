"""The JSON files that scoring leaves in a run's folder, and what they must hold to be read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from matstream.shared.errors import UserError, explain
from matstream.shared.spec import StreamSpec
from matstream.trainer.runs.folder import RESULT, SCORES, STUDY

_Shares = Annotated[dict[Literal["0.05", "0.02", "0.01", "0.005"], float], Field(min_length=4)]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True)


class _Baseline(_Record):
    operation: str
    method: str
    steps: int
    samples: int
    accuracy: _Shares
    accuracy_strict: _Shares
    median_error: float | None
    relative_rmse: float | None


class _Summary(_Record):
    accuracy: _Shares
    accuracy_strict: _Shares
    accuracy_unrounded: _Shares
    ceiling: _Shares
    invalid: int
    test_samples: int


class _Scores(_Summary):
    spec: dict[str, Any]
    seed: int
    by_operation: dict[str, _Summary] = {}
    by_dimension: dict[str, _Summary] = {}
    baselines: list[_Baseline] = []


class _Result(_Scores):
    run: str
    samples_seen: int
    train_seconds: float
    data_wait: float
    parameters: int


class _Evaluation(_Scores):
    split: str
    constrained: bool


class _Study(_Record):
    operation: str
    spec: dict[str, Any]
    seed: int
    split: str
    m: int
    n: int
    right: dict[str, float | None]


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result of a run, None if there is none yet. Raises UserError for a damaged file."""
    found: dict[str, Any] | None = _read(folder / RESULT, TypeAdapter(_Result), None)
    return found


def read_scores(folder: Path) -> list[dict[str, Any]]:
    """What a run was scored on by `matstream evaluate`, and how it did: records with `spec`, `seed`, `split`,
    `constrained` and the summary of scoring.answers. Raises UserError for a damaged file."""
    found: list[dict[str, Any]] = _read(folder / SCORES, TypeAdapter(list[_Evaluation]), [])
    return found


def read_studies(folder: Path) -> list[dict[str, Any]]:
    """The studies of a run (scoring.failures), each with the samples that were studied. Raises UserError for
    a damaged file."""
    found: list[dict[str, Any]] = _read(folder / STUDY, TypeAdapter(list[_Study]), [])
    return found


def read_spec(fields: Mapping[str, Any], path: Path) -> StreamSpec:
    """The stream that a file of a run says was scored. Raises UserError if it is none, or one of problems
    that are not known."""
    try:
        return StreamSpec.model_validate(fields)
    except ValidationError as error:
        [reason, *_] = explain(error.errors(), StreamSpec)
        raise UserError(
            f"{path}: {reason}: name its problem file in MATSTREAM_PROBLEMS, or remove {path.name} and score "
            "the run again"
        ) from None


def _read(path: Path, expected: TypeAdapter[Any], default: Any) -> Any:
    if not path.is_file():
        return default
    content = path.read_bytes()
    try:
        expected.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        reason = " ".join([".".join(map(str, first["loc"])), first["msg"]]).strip()
        raise UserError(f"{path} is damaged ({reason}): remove it, and score the run again") from None
    return json.loads(content)
