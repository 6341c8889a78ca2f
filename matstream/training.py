"""Training from a program, as `matstream train` does it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matstream.shared.errors import UserError

if TYPE_CHECKING:
    from matstream.trainer.runs.pretrained import Pretrained


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: `folder` holds all of it, `result` is its result.json, `model` its best model."""

    folder: Path
    result: Mapping[str, Any]

    @cached_property
    def model(self) -> "Pretrained":
        from matstream.trainer.runs.pretrained import load

        return load(self.folder)

    def _repr_html_(self) -> str:
        """The run's picture, for a notebook."""
        from base64 import b64encode

        from matstream.trainer.runs.folder import PICTURE

        picture = b64encode((self.folder / PICTURE).read_bytes()).decode()
        share = f"{self.result['accuracy']['0.05']:.1%}"
        about = f"{escape(self.result['run'])}: {share} right within 5%"
        return (
            f'<p>{about}</p><img alt="{about}" style="max-width: 100%" src="data:image/png;base64,{picture}">'
        )


def train(
    recipe: str,
    *,
    run: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    generator: str | Sequence[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    runs: str | Path = "runs",
) -> TrainedRun:
    """Train a recipe on a live stream, and score the model on held-out samples.

    >>> run = matstream.train("small/eigenvalues", run="x", overrides={"training.samples": 10_000})
    >>> run.result["accuracy"]["0.05"], run.model.predict(matrices)

    `recipe` is the name of a recipe that comes with matstream (`matstream recipes` lists them) or the path of
    a .toml file; `overrides` are values by section.key. The run is kept in the folder `runs`/`run`; a run
    that exists is refused, unless `resume` goes on with it or `overwrite` replaces it. Samples come from the
    running generators at the URLs `generator`, or from one that is started for the run. Ctrl-C stops training
    with a checkpoint.

    Raises UserError, in one sentence, for a recipe that is wrong, a run that exists, generators that do not
    answer, and for training that was stopped or has diverged.
    """
    from matstream.trainer.cli import train_run
    from matstream.trainer.client.embedded import generators
    from matstream.trainer.runs import run as prepared_runs
    from matstream.trainer.runs.results import read_result

    prepared = prepared_runs.prepare(
        recipe,
        name=run,
        runs=Path(runs),
        resume=resume,
        overwrite=overwrite,
        overrides=_by_section(overrides or {}),
    )
    urls = [generator] if isinstance(generator, str) else generator
    with generators(urls, prepared.recipe.definitions.sources) as urls:
        train_run(prepared, urls, resume=resume)
    result = read_result(prepared.folder)
    assert result is not None
    return TrainedRun(prepared.folder, result)


def _by_section(overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    for name, value in overrides.items():
        section, dot, key = name.partition(".")
        if not dot:
            raise UserError(f"overrides[{name!r}]: must be named section.key, like training.samples")
        sections.setdefault(section, {})[key] = value
    return sections
