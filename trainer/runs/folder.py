"""The folder of a run: the names of all that is written there. Nothing else in it is ever removed."""

import importlib.resources
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from matstream.shared import files
from matstream.shared.errors import UserError
from matstream.shared.spec import StreamSpec

RECIPE = "recipe.toml"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
CHECKPOINT = 12 * "[0-9]"  # pattern of the names in it: the samples seen
BEST = "best-"  # before the samples seen in the name of a folder of best weights
RESULT = "result.json"
SCORES = "evaluations.json"
STUDY = "analysis.json"
PROBLEMS = "problems"  # the Python files of the user's own operations and structures
ANSWERS = "evaluation.zarr"
ARRAYS = (
    *("inputs", "targets", "predictions", "errors", "index", "operation"),
    *("rows", "columns", "target_rows", "target_columns"),
)  # in it
PICTURE = "report.png"
PAGE = "report.html"
MODEL = "model"
WEIGHTS = "model.safetensors"
STATE = "training.pt"
CONFIG = "config.json"
CARD = "README.md"
SUMS = "SHA256SUMS"
KEPT = (WEIGHTS, STATE, SUMS)  # in a checkpoint

MODELS = Path(str(importlib.resources.files("matstream"))) / "models"  # those that come with matstream

FOLDERS = (TENSORBOARD, CHECKPOINTS, ANSWERS, MODEL, PROBLEMS)

# regular expressions of the files that we write in folders that are replaced as a whole
_ARRAY = f"({'|'.join(ARRAYS)})"
OF_ANSWERS = rf"({_ARRAY}/)?zarr\.json|{_ARRAY}/c(/[0-9]+)+"
_OF_PROBLEMS = rf"{PROBLEMS}/([\w.-]+\.py|{SUMS})"
OF_MODEL = "|".join((*map(re.escape, (WEIGHTS, CONFIG, CARD, SUMS)), _OF_PROBLEMS))
OF_CHECKPOINT = "|".join(map(re.escape, KEPT))

_PARTS = "|".join(("curves", "accuracy", "by-operation", "by-dimension", "cases"))
_WRITTEN = re.compile(
    "|".join(
        (
            *map(re.escape, (RECIPE, METRICS, RESULT, SCORES, STUDY, PICTURE, PAGE)),
            rf"report-({_PARTS}|across-({'|'.join(StreamSpec.model_fields)})|cases-[0-9]+-[\w.-]+)\.png",
            rf"{TENSORBOARD}/events\.out\.tfevents\.[0-9]+\..+\.[0-9]+\.[0-9]+",
            rf"{CHECKPOINTS}/({BEST})?{CHECKPOINT}/({OF_CHECKPOINT})",
            rf"{ANSWERS}/({OF_ANSWERS})",
            _OF_PROBLEMS,
            rf"{MODEL}/({OF_MODEL})",
        )
    )
)


def possible(folder: Path) -> bool:
    """Whether there is a folder at a path, or one can be made."""
    return next(path for path in (folder, *folder.parents) if os.path.lexists(path)).is_dir()


def written(folder: Path) -> list[Path]:
    """The files of a run in its folder, which are removed when it is overwritten."""
    if not folder.is_dir():
        return []
    return [path for path in _files(folder) if _WRITTEN.fullmatch(path.relative_to(folder).as_posix())]


def check_no_links(folder: Path) -> None:
    """Raise UserError if a file of a run, or a folder that it writes to, is a link: what would be written or
    removed lies outside the run's folder. This folder itself may be a link."""
    places = [folder / name for name in FOLDERS] + written(folder)
    places += [path for part in (CHECKPOINTS, ANSWERS) for path in (folder / part).glob("*")]
    linked = next((path for path in places if path.is_symlink()), None)
    if linked is not None:
        raise UserError(
            f"{linked}: must not be a link: replace it by a copy of what it leads to, or remove it ({folder} "
            "itself may be a link)"
        )


def clear(folder: Path) -> None:
    """Remove the files that runs write, folders that are then empty, and what killed runs left. Only the
    recipe stays: it shows meanwhile that this is the folder of a run, and is later written anew."""
    remove_remains(folder)
    for path in written(folder):
        if path == folder / RECIPE:
            continue
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
