"""`matstream evaluate`: trained models on other streams than their own, and where they fail."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.errors import RefusedError, UserError, explain
from shared.files import written_aside
from shared.spec import COEFFICIENTS, SPECTRA, StreamSpec
from trainer.analysis import analyse
from trainer.evaluate import Answers, answers, save, summaries
from trainer.kinds import kinds_of
from trainer.pretrained import Pretrained, load
from trainer.progress import working
from trainer.recipe import StreamSection
from trainer.tables import say, show_cross, show_scores, show_study

SCORES = "evaluations.json"
STUDY = "analysis.json"
_ALL = {"coefficients": COEFFICIENTS, "spectrum": SPECTRA}  # fields whose values can be counted


@dataclass(frozen=True)
class Choice:
    """Which samples to answer, and how."""

    samples: int | None  # as many as the run's recipe says where it is None
    split: str
    constrained: bool


@dataclass(frozen=True)
class Plan:
    """Models and the streams that each is to be scored on."""

    runs: list[tuple[Path, Pretrained]]
    field: str  # whose values the streams differ in, "" where there is one stream
    values: list[str]
    streams: list[list[StreamSection]]  # for each run, for each value


def plan(folders: Sequence[Path], changed: Mapping[str, Any], across: str | None) -> Plan:
    """The best models of runs, each on its own stream but for the fields `changed`; with `across`, on each of
    several values of one field.

    Raises UserError for a folder without a model, or one that was not made for such a stream.
    """
    field, values = ("", [""]) if across is None else _read_across(across)
    runs = [(folder, load(folder)) for folder in folders]
    streams = [
        [_stream(own, folder, {**changed, **({field: value} if field else {})}) for value in values]
        for folder, own in runs
    ]
    return Plan(runs, field, values, streams)


def examine(planned: Plan, urls: Sequence[str], choice: Choice, *, study: bool) -> None:
    """Score models as planned and print how they do.

    Adds to evaluations.json in each run's folder; writes evaluation.zarr where there is one stream, and
    analysis.json with `study`.
    """
    table = []
    for (folder, own), streams in zip(planned.runs, planned.streams, strict=True):
        row, studies = [], []
        for stream in streams:
            found = _answer(own, urls, folder.name, stream, choice)
            scores = summaries(found)
            _keep(folder / SCORES, stream, choice, scores)
            row.append(scores["accuracy"]["0.05"])
            if not planned.field:
                save(found, folder / "evaluation.zarr", {"spec": stream.spec().fields()})
                _show(folder.name, stream, scores)
            if study:
                studies += _studied(stream, choice, found)
        if study:
            with written_aside(folder / STUDY) as aside:
                aside.write_text(json.dumps(studies, indent=2) + "\n", encoding="utf-8")
        table.append(row)
    folders = [folder for folder, _ in planned.runs]
    if planned.field:
        show_cross(planned.field, [folder.name for folder in folders], planned.values, table)
    say("\n".join(str(folder / SCORES) for folder in folders))


def read_scores(folder: Path) -> list[dict[str, Any]]:
    """What a run was scored on by `matstream evaluate`, and how it did: records with `spec`, `seed`, `split`,
    `constrained` and the summary of trainer.evaluate."""
    path = folder / SCORES
    try:
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): remove it") from None
    return found


def _read_across(across: str) -> tuple[str, list[str]]:
    """The field and the values of FIELD=V1,V2,… or, where they can be counted, of FIELD."""
    field, given, listed = across.partition("=")
    values = [value for value in listed.split(",") if value] if given else list(_ALL.get(field, ()))
    if field not in StreamSpec.model_fields or not values:
        raise UserError(
            f"--across {across!r}: must be a field of the stream and its values, like dim=5,6,7, or "
            f"{' or '.join(sorted(_ALL))} alone for all of them"
        )
    return field, values


def _stream(own: Pretrained, folder: Path, changed: Mapping[str, Any]) -> StreamSection:
    """A run's stream with some fields changed. Raises UserError if its model was not made for it."""
    fields = own.recipe.stream.model_dump() | {
        name.replace("-", "_"): value for name, value in changed.items()
    }
    try:
        stream = StreamSection.model_validate(fields)
    except ValidationError as error:
        problems = explain(error.errors(), StreamSection)
        raise RefusedError(
            [problem._replace(field=f"stream.{problem.field}") for problem in problems]
        ) from None
    missing = set(kinds_of(stream)) - set(own.solver.read.kinds)
    if missing:
        kind, trained = min(missing), own.recipe.stream.fields()
        raise UserError(
            f"{folder} was trained on {trained['operation']} of dimension {trained['dim']}: it cannot be "
            f"evaluated on {kind.operation} of {kind.m}×{kind.n} matrices"
        )
    return stream


def _answer(
    own: Pretrained, urls: Sequence[str], name: str, stream: StreamSection, choice: Choice
) -> list[Answers]:
    evaluation = own.recipe.evaluation
    count = evaluation.test_samples if choice.samples is None else choice.samples
    solver = replace(own.solver, constrained=choice.constrained or own.solver.constrained)
    with working(f"{name} on {_named(stream)}", count) as done:
        return answers(
            solver, urls, stream.spec(), stream.seed, choice.split, count, evaluation.batch_size, done=done
        )


def _keep(path: Path, stream: StreamSection, choice: Choice, scores: Mapping[str, Any]) -> None:
    """Add scores to a file, in the place of those on the same samples."""
    about = _about(stream, choice)
    others = [
        record for record in read_scores(path.parent) if any(record[key] != about[key] for key in about)
    ]
    with written_aside(path) as aside:
        aside.write_text(json.dumps([*others, {**about, **scores}], indent=2) + "\n", encoding="utf-8")


def _show(name: str, stream: StreamSection, scores: Mapping[str, Any]) -> None:
    say(f"\n[bold]{name}[/bold] on {scores['test_samples']:,} samples of {_named(stream)}\n")
    show_scores(scores)
    say(f"\n{scores['invalid']:,} outputs invalid")


def _studied(stream: StreamSection, choice: Choice, found: Sequence[Answers]) -> list[dict[str, Any]]:
    """The study of each kind of problem, printed as it is made."""
    studies = []
    for part in found:
        kind = part.kind
        findings = analyse(kind.operation, part.inputs, part.targets, part.predictions, part.errors)
        studies.append({**_about(stream, choice), "m": kind.m, "n": kind.n, **findings})
        say(f"\n[bold]{kind.operation} of {kind.m}×{kind.n} matrices[/bold]: {_named(stream)}")
        show_study(findings)
    return studies


def _about(stream: StreamSection, choice: Choice) -> dict[str, Any]:
    """Which samples, and how they were answered."""
    fields = stream.spec().fields()
    return {"spec": fields, "seed": stream.seed, "split": choice.split, "constrained": choice.constrained}


def _named(stream: StreamSection) -> str:
    """A stream in one line."""
    return ", ".join(f"{name} {value}" for name, value in stream.fields().items())
