"""Checkpoints: folders written aside and renamed whole, so that one exists entirely or not at all. Each file
is checked before it is used."""

import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from matstream.shared.errors import UserError, first_line
from matstream.shared.files import remove, remove_remains, written_aside
from matstream.trainer.model.transformer import Transformer
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checksums, weights
from matstream.trainer.runs.folder import (
    BEST,
    CHECKPOINT,
    CHECKPOINTS,
    KEPT,
    MODELS,
    OF_CHECKPOINT,
    STATE,
    SUMS,
    WEIGHTS,
)
from matstream.trainer.runs.weights import CheckpointError

_VERSION = 4  # of the state; a checkpoint of another version is refused


def save(folder: Path, samples: int, model: Transformer, state: dict[str, Any], keep: int) -> Path:
    """Write checkpoint `folder`/<samples>, unless it exists: the weights, and `state` (tensors, numbers,
    strings, in dicts and lists). Then remove all but the newest `keep`, and what a killed process left."""
    state_file = io.BytesIO()  # not a file: torch reports a full disk as an internal error
    torch.save({"version": _VERSION, **state}, state_file)
    files: dict[str, bytes | memoryview] = {WEIGHTS: weights.as_file(model), STATE: state_file.getbuffer()}
    return _write(folder, f"{samples:012d}", files, CHECKPOINT, keep)


def save_best(folder: Path, samples: int, model: Transformer) -> Path:
    """Write `folder`/best-<samples>, which holds only the weights, and remove the one before."""
    return _write(folder, f"{BEST}{samples:012d}", {WEIGHTS: weights.as_file(model)}, BEST + CHECKPOINT, 1)


def forget_after(folder: Path, samples: int) -> bool:
    """Remove best weights that were saved after more than `samples` samples, which a run that went back to an
    older checkpoint has yet to see, and all but the newest of the others. Returns whether any are left.
    Raises CheckpointError, naming the file, if these are damaged."""
    found = _folders(folder, BEST + CHECKPOINT)
    kept = [best for best in found if int(best.name.removeprefix(BEST)) <= samples][-1:]
    for best in found:
        if best not in kept:
            remove(best, KEPT)
    for best in kept:
        weights.read(best / WEIGHTS, remedy(best))
    return bool(kept)


def latest(folder: Path) -> Path | None:
    """The newest checkpoint in `folder`, None if there is none."""
    return max(_folders(folder, CHECKPOINT), default=None)


def best_weights(folder: Path) -> Path:
    """The file of the best weights of the run in a folder, or of the weights of an exported model.

    Raises UserError if there are none, CheckpointError if their file is missing.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    best = max(_folders(folder / CHECKPOINTS, BEST + CHECKPOINT), default=None)
    path = (folder if best is None else best) / WEIGHTS
    if best is not None and not path.is_file():
        raise CheckpointError(f"{path} is missing: {remedy(best)}")
    if not path.is_file():
        raise UserError(f"{folder} holds no trained model yet: one is kept at a run's first validation")
    return path


def load_best(folder: Path, recipe: Recipe, model: Transformer) -> None:
    """Load the best weights of a run, or the weights of an exported model, into the model of its recipe.

    Raises UserError if there are none, or if they are damaged or belong to another model.
    """
    path = best_weights(folder)
    weights.load(path, model, remedy(path.parent), recipe)


def load(checkpoint: Path, model: Transformer) -> dict[str, Any]:
    """Load the weights into `model` and return the state. Runs no code that a file might hold.

    Raises CheckpointError, naming the file, for one that is damaged, of another model or of another version.
    """
    if not (checkpoint / SUMS).is_file():
        raise CheckpointError(f"{checkpoint / SUMS} is missing: {remedy(checkpoint)}")
    weights.load(checkpoint / WEIGHTS, model, remedy(checkpoint))
    path = checkpoint / STATE
    try:
        content = io.BytesIO(checksums.read(path))
        state: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read ({first_line(error)}): {remedy(checkpoint)}") from error
    with fitting(checkpoint):
        if state["version"] != _VERSION:
            raise ValueError(state["version"])
    return state


def remedy(folder: Path) -> str:
    """What to do about a checkpoint, best weights or an exported model that cannot be used, in words."""
    if folder.name.startswith(BEST):
        goes_on = "keeps the best weights of what it validates from then on"
    elif folder.is_relative_to(MODELS):
        return "install matstream again"
    elif not fnmatch(folder.name, CHECKPOINT):
        return "copy the model from its run again, where train --resume exports it anew"
    else:
        before = [other for other in _folders(folder.parent, CHECKPOINT) if other < folder]
        where = f"checkpoint before it, at {int(before[-1].name):,} samples" if before else "first sample"
        goes_on = f"goes on from the {where}"
    return f"remove the folder {folder}, and train --resume {goes_on}"


@contextmanager
def fitting(checkpoint: Path) -> Iterator[None]:
    """For a body that takes in a checkpoint's state: raise CheckpointError if the state does not fit."""
    try:
        yield
    except Exception as error:
        path = checkpoint / STATE
        raise CheckpointError(
            f"{path} holds the state of another training or version: {remedy(checkpoint)}"
        ) from error


def _write(folder: Path, name: str, files: dict[str, bytes | memoryview], alike: str, keep: int) -> Path:
    """Write a folder of files, unless it exists; then remove all but the newest `keep` of the folders whose
    names match `alike`."""
    target = folder / name
    if target not in _folders(folder, name):
        folder.mkdir(parents=True, exist_ok=True)
        remove_remains(folder)
        with written_aside(target, OF_CHECKPOINT) as aside, ThreadPoolExecutor(1) as meanwhile:
            aside.mkdir()
            sums = meanwhile.submit(checksums.sums, files)
            for file, content in files.items():
                _write_file(aside / file, content)
            _write_file(aside / SUMS, sums.result())
            _sync(aside)
        _sync(folder)
    for old in _folders(folder, alike)[:-keep]:
        remove(old, KEPT)
    return target


def _write_file(path: Path, content: bytes | memoryview) -> None:
    path.write_bytes(content)
    _sync(path)


def _folders(folder: Path, alike: str) -> list[Path]:
    """The checkpoints, or best weights, in a folder whose names match `alike`, the oldest first: damaged ones
    too, but no folder that holds only files of other programs."""
    return sorted(path for path in folder.glob(alike) if path.is_dir() and not _is_of_others(path))


def _is_of_others(path: Path) -> bool:
    try:
        names = {entry.name for entry in path.iterdir()}
    except FileNotFoundError:  # a trainer has removed it meanwhile
        return True
    return bool(names) and names.isdisjoint(KEPT)


def _sync(path: Path) -> None:
    """Make a file's or a folder's content survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
