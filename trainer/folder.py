"""The folder of a run: the names of all that is written there. Nothing else in it is ever removed."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from shared import files
from shared.spec import StreamSpec

RECIPE = "recipe.toml"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
CHECKPOINT = 12 * "[0-9]"  # names in there, as a pattern: samples seen
BEST = "best-"  # before the samples seen, the best weights
RESULT = "result.json"
SCORES = "evaluations.json"
STUDY = "analysis.json"
ANSWERS = "evaluation.zarr"
ARRAYS = (
    *("inputs", "targets", "predictions", "errors", "index", "operation"),
    *("rows", "columns", "target_rows", "target_columns"),
)  # in there
PICTURE = "report.png"
PAGE = "report.html"
MODEL = "model"
WEIGHTS = "model.safetensors"
STATE = "training.pt"
CONFIG = "config.json"
CARD = "README.md"
SUMS = "SHA256SUMS"
KEPT = (WEIGHTS, STATE, SUMS)  # in a checkpoint

FOLDERS = (TENSORBOARD, CHECKPOINTS, ANSWERS, MODEL)

_ARRAYS = "|".join(ARRAYS)
_PARTS = "|".join(("curves", "accuracy", "by-operation", "by-dimension", "cases"))
_WRITTEN = re.compile(
    "|".join(
        (
            *map(re.escape, (RECIPE, METRICS, RESULT, SCORES, STUDY, PICTURE, PAGE)),
            rf"report-({_PARTS}|across-({'|'.join(StreamSpec.model_fields)}))\.png",
            rf"{TENSORBOARD}/events\.out\.tfevents\.[0-9]+\..+\.[0-9]+\.[0-9]+",
            rf"{CHECKPOINTS}/({BEST})?{CHECKPOINT}/({'|'.join(KEPT)})",
            rf"{ANSWERS}/(({_ARRAYS})/)?zarr\.json",
            rf"{ANSWERS}/({_ARRAYS})/c(/[0-9]+)+",
            rf"{MODEL}/({'|'.join((WEIGHTS, CONFIG, CARD, SUMS))})",
        )
    )
)


def possible(folder: Path) -> bool:
    """Whether there is a folder at a path, or one can be made."""
    return next(path for path in (folder, *folder.parents) if path.exists()).is_dir()


def clear(folder: Path) -> None:
    """Remove the files that runs write, folders that are empty then, and what killed runs left."""
    remove_remains(folder)
    for path in [path for path in _files(folder) if _WRITTEN.fullmatch(path.relative_to(folder).as_posix())]:
        path.unlink()
        with suppress(OSError):  # others have something in it
            for parent in path.relative_to(folder).parents[:-1]:
                (folder / parent).rmdir()


def remove_remains(folder: Path) -> None:
    """Remove what runs left half written when they were killed."""
    files.remove_remains(folder)
    if not (folder / CHECKPOINTS).is_symlink():
        files.remove_remains(folder / CHECKPOINTS)


def _files(folder: Path) -> Iterator[Path]:
    """The files in a run's folder, and in those of its folders that runs write to. Follows no links."""
    for path in folder.iterdir():
        if path.name in FOLDERS and not path.is_symlink():
            for place, _, names in os.walk(path):
                yield from (Path(place, name) for name in names)
        elif not path.is_dir():
            yield path
