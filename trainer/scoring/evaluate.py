"""`matstream evaluate`: trained models on other streams than their own, and where they fail."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from matstream.shared.errors import RefusedError, UserError, explain
from matstream.shared.fields import COEFFICIENTS, SPECTRA
from matstream.shared.files import turn, written_aside
from matstream.shared.problems import Definitions, Source, meaning
from matstream.shared.spec import StreamSpec
from matstream.shared.tasks import tasks_of
from matstream.trainer.client import Client
from matstream.trainer.client.embedded import generators
from matstream.trainer.display.progress import working
from matstream.trainer.display.tables import say, show_baselines, show_cross, show_scores, show_study
from matstream.trainer.recipes.recipe import StreamSection
from matstream.trainer.runs.folder import (
    ANSWERS,
    ARRAYS,
    CONFIG,
    RECIPE,
    SCORES,
    STUDY,
    check_no_links,
    possible,
)
from matstream.trainer.runs.pretrained import Pretrained, load
from matstream.trainer.runs.results import read_scores, read_studies
from matstream.trainer.runs.shipped import folder_of
from matstream.trainer.scoring.answers import Answers, answers, save, summaries
from matstream.trainer.scoring.baselines import baselines
from matstream.trainer.scoring.failures import analyse

_ALL = {"coefficients": COEFFICIENTS, "spectrum": SPECTRA}  # fields whose values can be listed


@dataclass(frozen=True)
class Choice:
    """Which samples to answer, and how."""

    samples: int | None  # None: as many as the run's recipe says
    split: str
    constrained: bool


@dataclass(frozen=True)
class Subject:
    """A model, the streams on which it will be scored, and the folder for its scores."""

    name: str
    own: Pretrained
    streams: list[StreamSection]
    place: Path


@dataclass(frozen=True)
class Plan:
    """Models, and the streams on which they will be scored."""

    field: str  # the field in which a model's streams differ, "" if it has one stream
    values: list[str]
    subjects: list[Subject]


def plan(folders: Sequence[Path], changed: Mapping[str, Any], across: str | None, out: Path | None) -> Plan:
    """Plan to score the best models of runs, each once, on its own stream with the fields in `changed`
    replaced; with `across`, on each of several values of one field, or where it only names the field, on each
    value that fits the streams of all runs. Scores go to `out`, for several runs to a
    folder for each in it, or if it is None to the run's own folder.

    Raises UserError for a folder without a model, for a model that was not made for such a stream, and for a
    folder in which scores cannot be kept.
    """
    field, values = ("", [""]) if across is None else _read_across(across)
    changed = {name.replace("-", "_"): value for name, value in changed.items()}
    if field in changed:
        raise UserError(f"--across {across} and --stream.{field}={changed[field]}: must be one of them")
    folders = list({folder.resolve(): folder for folder in map(folder_of, folders)}.values())
    owns = [load(folder) for folder in folders]
    if across == field:
        fits = partial(_fits, owns, folders, changed, field)
        values = list(filter(fits, values)) or values  # if none fits, what follows says why
    subjects = []
    for own, folder in zip(owns, folders, strict=True):
        name = folder.resolve().name
        streams = [_stream(own, folder, {**changed, **({field: value} if field else {})}) for value in values]
        subjects.append(Subject(name, own, streams, _place(folder, name, out, alone=len(folders) == 1)))
    places = [subject.place for subject in subjects]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise UserError(f"--out {out}: {twice.name} is the name of several runs: evaluate them one by one")
    for place in places:  # what could not be replaced is found before hours of work, not after
        if not possible(place):
            raise UserError(f"--out {out}: {'' if place == out else f'{place} '}must be a folder")
        check_no_links(place)
        read_scores(place)
        answers = place / ANSWERS
        if answers.exists() and not all((answers / name).is_dir() for name in ARRAYS):
            raise UserError(
                f"{answers} holds no answers of a model and would be replaced: choose another --out"
            )
    return Plan(field, values, subjects)


def examine(planned: Plan, urls: Sequence[str] | None, choice: Choice, *, study: bool, compare: bool) -> None:
    """Score models as planned and print how they do. Samples come from the generators at `urls`, or from one
    that is started for models whose problem files are the same.

    In the folder for each model's scores, it adds to evaluations.json, with `compare` also what numerical
    methods reach; it replaces evaluation.zarr if the model has one stream, and analysis.json with `study`.
    """
    if study:
        for subject in planned.subjects:
            read_studies(subject.place)
    table = []
    for sources, subjects in groupby(planned.subjects, key=_sources):
        with generators(urls, sources) as found, Client(found) as client:
            table += [
                _examined(subject, client, choice, kept=not planned.field, study=study, compare=compare)
                for subject in subjects
            ]
    if planned.field:
        names = [subject.name for subject in planned.subjects]
        show_cross(planned.field, names, planned.values, table)
    say("\n".join(str(subject.place / SCORES) for subject in planned.subjects))


def _sources(subject: Subject) -> list[Source]:
    """The problem files of the streams on which a model is scored."""
    definitions = Definitions()
    for stream in subject.streams:
        definitions |= stream.definitions
    return definitions.sources


def _examined(
    subject: Subject, client: Client, choice: Choice, *, kept: bool, study: bool, compare: bool
) -> list[float]:
    """A model's accuracy at 5% on each of its streams; if `kept`, its answers to the only one are saved."""
    subject.place.mkdir(parents=True, exist_ok=True)
    row, studies = [], []
    for stream in subject.streams:
        found = _answer(subject.own, client, subject.name, stream, choice)
        scores = summaries(found) | ({"baselines": baselines(found)} if compare else {})
        _keep(subject.place, stream, choice, scores)
        row.append(scores["accuracy"]["0.05"])
        if kept:
            save(found, subject.place / ANSWERS, stream.spec())
            _show(subject.name, stream, scores)
        if compare:
            show_baselines(scores["baselines"])
        if study:
            studies += _studied(stream, choice, found)
    if study:
        with written_aside(subject.place / STUDY) as aside:
            aside.write_text(json.dumps(studies, indent=2) + "\n", encoding="utf-8")
    return row


def _read_across(across: str) -> tuple[str, list[str]]:
    """The field and the values of FIELD=V1,V2,… or, if they can be listed, of FIELD."""
    field, given, listed = across.partition("=")
    parts = dict.fromkeys(listed.split(",")) if given else _ALL.get(field, ())
    values = [value for value in parts if value]
    weighted = next((value for value in values if re.search(r":[0-9]+$", value)), None)
    if weighted is not None:
        raise UserError(f"--across {across!r}: {weighted!r}: must be a single value, without a weight")
    if field not in StreamSpec.model_fields or not values:
        raise UserError(
            f"--across {across!r}: must be a field of the stream and its values, like dim=5,6,7, or "
            f"{' or '.join(sorted(_ALL))} alone for all of them"
        )
    return field, values


def _place(folder: Path, name: str, out: Path | None, *, alone: bool) -> Path:
    if out is not None:
        place = out if alone else out / name
        if ((place / RECIPE).exists() or (place / CONFIG).exists()) and place.resolve() != folder.resolve():
            raise UserError(
                f"--out {out}: {place} is the folder of another run or model; must be one for scores"
            )
        return place
    if not (folder / RECIPE).is_file():
        raise UserError(
            f"{folder} is an exported model, which stays as it is: say where its scores go, --out FOLDER"
        )
    return folder


def _stream(own: Pretrained, folder: Path, changed: dict[str, Any]) -> StreamSection:
    """A run's stream with some fields changed. Raises UserError if its model was not made for it."""
    trained = own.recipe.stream
    try:
        with meaning(trained.definitions):  # its problem files say what its names mean
            stream = StreamSection.model_validate(trained.model_dump() | changed)
    except ValidationError as error:
        problems = explain(error.errors(), StreamSection)
        raise RefusedError(
            [problem._replace(field=f"stream.{problem.field}") for problem in problems]
        ) from None
    missing = set(tasks_of(stream)) - set(own.solver.read.tasks)
    if missing:
        task, fields = min(missing), trained.fields()
        raise UserError(
            f"{folder} was trained on {fields['operation']} of dimension {fields['dim']}: it cannot be "
            f"evaluated on {task.operation} of {task.m}×{task.n} matrices"
        )
    return stream


def _fits(
    owns: Sequence[Pretrained], folders: Sequence[Path], changed: dict[str, Any], field: str, value: str
) -> bool:
    """Whether the streams of all runs may have this value of a field."""
    with suppress(RefusedError):
        for own, folder in zip(owns, folders, strict=True):
            _stream(own, folder, {**changed, field: value})
        return True
    return False


def _answer(
    own: Pretrained, client: Client, name: str, stream: StreamSection, choice: Choice
) -> list[Answers]:
    evaluation = own.recipe.evaluation
    count = evaluation.test_samples if choice.samples is None else choice.samples
    solver = replace(own.solver, constrained=choice.constrained or own.solver.constrained)
    with working(f"{name} on {_named(stream)}", count) as done:
        return answers(
            solver, client, stream.spec(), stream.seed, choice.split, count, evaluation.batch_size, done=done
        )


def _keep(place: Path, stream: StreamSection, choice: Choice, scores: Mapping[str, Any]) -> None:
    """Add scores to those in a folder; they replace scores on the same samples."""
    about = _about(stream, choice)
    with turn(place / SCORES):
        others = [
            record for record in read_scores(place) if any(record.get(key) != about[key] for key in about)
        ]
        with written_aside(place / SCORES) as aside:
            aside.write_text(json.dumps([*others, {**about, **scores}], indent=2) + "\n", encoding="utf-8")


def _show(name: str, stream: StreamSection, scores: Mapping[str, Any]) -> None:
    say(f" on {scores['test_samples']:,} samples of {_named(stream)}\n", bold=f"\n{name}")
    show_scores(scores)
    say(f"\n{scores['invalid']:,} outputs invalid")


def _studied(stream: StreamSection, choice: Choice, found: Sequence[Answers]) -> list[dict[str, Any]]:
    """The study of each task, printed as it is made."""
    studies = []
    for part in found:
        task = part.task
        findings = analyse(task.definition, part.inputs, part.targets, part.predictions, part.errors)
        about = {**_about(stream, choice), "operation": task.operation, "m": task.m, "n": task.n}
        studies.append(about | findings)
        say(f": {_named(stream)}", bold=f"\n{task.operation} of {task.m}×{task.n} matrices")
        show_study(findings)
    return studies


def _about(stream: StreamSection, choice: Choice) -> dict[str, Any]:
    """Which samples, and how they were answered."""
    fields = stream.spec().fields()
    about = {"spec": fields, "seed": stream.seed, "split": choice.split, "constrained": choice.constrained}
    own = stream.definitions.hash
    return about if own is None else {**about, "problems": own}


def _named(stream: StreamSection) -> str:
    """A stream in one line."""
    return ", ".join(f"{name} {value}" for name, value in stream.fields().items())
