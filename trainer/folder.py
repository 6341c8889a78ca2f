"""The folder of a run: the names of all that is written there. Nothing else in it is ever removed."""

from contextlib import suppress
from pathlib import Path

from shared import files

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
CONFIG = "config.json"
CARD = "README.md"
SUMS = "SHA256SUMS"

_WRITTEN = (
    *(RECIPE, METRICS, RESULT, SCORES, STUDY, PICTURE, PAGE),
    *(f"report-{name}.png" for name in ("curves", "accuracy", "by-operation", "by-dimension", "cases")),
    "report-across-*.png",
    f"{TENSORBOARD}/events.out.tfevents.*",
    *(f"{CHECKPOINTS}/{name}" for name in (CHECKPOINT, BEST + CHECKPOINT)),
    *(f"{ANSWERS}/{name}" for name in ("zarr.json", *ARRAYS)),
    *(f"{MODEL}/{name}" for name in (WEIGHTS, CONFIG, CARD, SUMS)),
)
_FOLDERS = (TENSORBOARD, CHECKPOINTS, ANSWERS, MODEL)


def possible(folder: Path) -> bool:
    """Whether there is a folder at a path, or one can be made."""
    return next(path for path in (folder, *folder.parents) if path.exists()).is_dir()


def clear(folder: Path) -> None:
    """Remove what runs write, and what they left when they were killed."""
    remove_remains(folder)
    for pattern in _WRITTEN:
        for path in folder.glob(pattern):
            files.remove(path)
    for name in _FOLDERS:
        with suppress(OSError):  # there is none, or others have something in it
            (folder / name).rmdir()


def remove_remains(folder: Path) -> None:
    """Remove what runs left half written when they were killed."""
    for pattern in (*_WRITTEN, *_FOLDERS):
        files.remove_remains(folder / pattern, sure=True)
