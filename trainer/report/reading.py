"""What the folder of a run says about it: how it learned, how it scored, on what else, and its studies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matstream.shared.fields import IntRange
from matstream.shared.problems import meaning
from matstream.shared.scoring import TOLERANCES
from matstream.shared.spec import StreamSpec
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.report.published_results import Published, published
from matstream.trainer.runs.folder import METRICS, SCORES
from matstream.trainer.runs.kept_recipe import recipe_of
from matstream.trainer.runs.metrics import read_metrics
from matstream.trainer.runs.results import read_result, read_scores, read_spec, read_studies

Floats = NDArray[np.float64]

RIGHT = f"{TOLERANCES[0]:g}"  # the tolerance that separates right samples from wrong ones, as scores name it


@dataclass(frozen=True)
class Findings:
    """A run, finished or not."""

    name: str
    folder: Path
    recipe: Recipe
    records: list[dict[str, Any]]  # of metrics.jsonl
    result: Mapping[str, Any] | None  # None if the run is not finished
    elsewhere: list[tuple[StreamSpec, dict[str, Any]]]  # scores by `matstream evaluate`
    studies: list[dict[str, Any]]  # by scoring.failures

    @property
    def spec(self) -> StreamSpec:
        return self.recipe.stream.spec()

    @property
    def samples(self) -> int:
        """Samples seen in training."""
        return int(self.result["samples_seen"] if self.result else self._last("samples", 0))

    @property
    def seconds(self) -> float:
        """Seconds of training."""
        return float(self.result["train_seconds"] if self.result else self._last("seconds", 0.0))

    @property
    def data_wait(self) -> float | None:
        """The share of the seconds that was spent waiting for data."""
        if self.result:
            return float(self.result["data_wait"])
        lines = [record for record in self.records if "data_wait" in record]
        spans = np.diff([0.0, *(line["seconds"] for line in lines)])
        return float(spans @ [line["data_wait"] for line in lines] / spans.sum()) if spans.any() else None

    @property
    def scores(self) -> Mapping[str, Any]:
        """The scores of the result, or, if the run is unfinished, of its last validation."""
        if self.result:
            return self.result
        last = next((record for record in reversed(self.records) if "accuracy" in record), None)
        if last is None:
            return {}
        names = {f"{tau:g}": "accuracy" if f"{tau:g}" == RIGHT else f"accuracy_{tau:g}" for tau in TOLERANCES}
        return {
            "accuracy": {tau: last[name] for tau, name in names.items() if name in last},
            "accuracy_strict": {RIGHT: last["accuracy_strict"]} if "accuracy_strict" in last else {},
            "invalid": last.get("invalid"),
        }

    @property
    def accuracy(self) -> float | None:
        """The accuracy at 5% tolerance."""
        shares: dict[str, float] = self.scores.get("accuracy", {})
        return shares.get(RIGHT)

    @property
    def scored_on(self) -> str:
        """The samples on which the scores were measured."""
        if self.result:
            return f"{self.result['test_samples']:,} test samples"
        return f"{self.recipe.evaluation.validation_samples:,} validation samples" if self.scores else ""

    @property
    def published(self) -> Published | None:
        """Published numbers for the same problem."""
        return published(self.spec, self.recipe.tokens.input, self.recipe.tokens.output)

    def _last(self, key: str, default: float) -> float:
        return max((record[key] for record in self.records if key in record), default=default)


def read_findings(folders: Sequence[Path]) -> list[Findings]:
    """Read the folders of runs. Raises UserError for a folder without a run, or with a damaged file."""
    names = [folder.resolve().name for folder in folders]
    labels = [
        name if names.count(name) == 1 else str(folder) for name, folder in zip(names, folders, strict=True)
    ]
    return [_read(folder, label) for folder, label in zip(folders, labels, strict=True)]


def _read(folder: Path, name: str) -> Findings:
    recipe = recipe_of(folder)
    with meaning(recipe.definitions):
        elsewhere = [(read_spec(record["spec"], folder / SCORES), record) for record in read_scores(folder)]
    return Findings(
        name=name,
        folder=folder,
        recipe=recipe,
        records=read_metrics(folder) if (folder / METRICS).is_file() else [],
        result=read_result(folder),
        elsewhere=elsewhere,
        studies=read_studies(folder),
    )


@dataclass(frozen=True)
class Across:
    """Accuracies at 5% of runs (rows) on several values of one field of the stream (columns)."""

    field: str
    values: list[str]
    runs: list[str]
    own: list[int]  # for each run, the column it was trained on
    accuracy: Floats  # (runs, values), NaN where a run was not scored


def across(runs: Sequence[Findings]) -> list[Across]:
    """A map for each field such that a run was scored on streams that differ from its own in it alone."""
    found = {run.name: (run, _by_field(run)) for run in runs}
    fields = sorted({field for _, by_field in found.values() for field in by_field})
    return [_map(field, [(run, by[field]) for run, by in found.values() if field in by]) for field in fields]


def _by_field(run: Findings) -> dict[str, dict[Any, float]]:
    """Field -> its value -> accuracy at 5%. Scores on test samples are preferred, then scores of answers that
    were written, constrained or not, as the run's recipe says."""
    maps: dict[str, dict[Any, float]] = {}
    home = [run.accuracy] if run.result and run.accuracy is not None else []

    def preference(scored: tuple[StreamSpec, dict[str, Any]]) -> tuple[bool, bool]:
        _, record = scored
        return record["split"] == "test", record["constrained"] == run.recipe.evaluation.constrained

    for spec, record in sorted(run.elsewhere, key=preference):
        differing = _differing(spec, run.spec)
        share = record["accuracy"][RIGHT]
        if len(differing) == 1:
            maps.setdefault(differing[0], {})[getattr(spec, differing[0])] = share
        elif not differing and not run.result:
            home = [share]
    for field, row in maps.items():
        row.update({getattr(run.spec, field): share for share in home})
    return maps


def _map(field: str, rows: Sequence[tuple[Findings, Mapping[Any, float]]]) -> Across:
    own = [getattr(run.spec, field) for run, _ in rows]
    values = sorted({value for _, row in rows for value in row} | set(own), key=_in_order)
    cells = [[row.get(value, np.nan) for value in values] for _, row in rows]
    return Across(
        field,
        [_written(value) for value in values],
        [run.name for run, _ in rows],
        [values.index(value) for value in own],
        np.array(cells, dtype=np.float64),
    )


def other_than(own: StreamSpec, spec: StreamSpec) -> str:
    """The fields in which `spec` differs from `own`, in words."""
    return ", ".join(f"{name} {_written(getattr(spec, name))}" for name in _differing(spec, own))


def _differing(spec: StreamSpec, own: StreamSpec) -> list[str]:
    return [name for name in StreamSpec.model_fields if getattr(spec, name) != getattr(own, name)]


def _in_order(value: Any) -> tuple[int, float, float, str]:
    """Numbers by size; then names, mixtures of most names first."""
    if isinstance(value, IntRange):
        return 0, value.low, value.high, ""
    if isinstance(value, int | float):
        return 0, value, value, ""
    return 1, -len(value) if isinstance(value, tuple) else 0, 0, _written(value)


def _written(value: Any) -> str:
    if isinstance(value, IntRange):
        return str(value.low) if value.fixed else f"{value.low}-{value.high}"
    if isinstance(value, tuple):  # names, with their weights
        return str(value).replace(",", ", ")
    return f"{value:g}" if isinstance(value, float) else str(value).lower()
