"""Checkpoints: folders written aside and renamed whole, so that one exists entirely or not at all."""

import os
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from shared.errors import UserError

KEPT = 2
_WEIGHTS, _STATE = "model.safetensors", "training.pt"


class CheckpointError(UserError):
    """A checkpoint that cannot be read."""


def save(folder: Path, samples: int, model: nn.Module, state: dict[str, Any]) -> Path:
    """Write checkpoint `folder`/<samples>: the weights, and `state` (tensors, numbers, strings, in dicts
    and lists). Then remove all but the newest KEPT."""
    target = folder / f"{samples:012d}"
    aside = folder / f".{target.name}.{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    safetensors.torch.save_file(model.state_dict(), aside / _WEIGHTS)
    torch.save(state, aside / _STATE)
    for path in (aside / _WEIGHTS, aside / _STATE, aside):
        _sync(path)
    if target.exists():  # the same step again, after a resume at it
        shutil.rmtree(target)
    aside.rename(target)
    _sync(folder)
    for old in _all(folder)[:-KEPT]:
        shutil.rmtree(old)
    return target


def latest(folder: Path) -> Path | None:
    """The newest checkpoint in `folder`."""
    found = _all(folder)
    return found[-1] if found else None


def load(checkpoint: Path, model: nn.Module) -> dict[str, Any]:
    """Load the weights into `model` and return the state. Runs no code a file might hold.

    Raises CheckpointError, naming the file, for one that is damaged or of another model.
    """
    path = checkpoint / _WEIGHTS
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
        path = checkpoint / _STATE
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read ({str(error).splitlines()[0]}): remove the folder {checkpoint} to resume "
            "from the checkpoint before it, or start again with --overwrite"
        ) from error
    return state


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir())


def _sync(path: Path) -> None:
    """Make a file's or a folder's content survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
