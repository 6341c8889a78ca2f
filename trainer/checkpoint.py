"""Checkpoints: folders written aside and renamed whole, so that one exists entirely or not at all."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from shared.errors import UserError, first_line
from shared.files import written_aside

KEPT = 2
_WEIGHTS, _STATE = "model.safetensors", "training.pt"


class CheckpointError(UserError):
    """A checkpoint that cannot be read."""


def save(folder: Path, samples: int, model: nn.Module, state: dict[str, Any]) -> Path:
    """Write checkpoint `folder`/<samples>, unless it is there: the weights, and `state` (tensors, numbers,
    strings, in dicts and lists). Then remove all but the newest KEPT, and what a killed process left."""
    target = folder / f"{samples:012d}"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    for remains in folder.glob(".*"):
        shutil.rmtree(remains)
    state_file = io.BytesIO()  # torch says of a full disk that it is an internal error
    torch.save(state, state_file)
    with written_aside(target) as aside:
        aside.mkdir()
        (aside / _WEIGHTS).write_bytes(safetensors.torch.save(model.state_dict()))
        (aside / _STATE).write_bytes(state_file.getbuffer())
        for path in (aside / _WEIGHTS, aside / _STATE, aside):
            _sync(path)
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
            f"{path} cannot be read ({first_line(error)}): remove the folder {checkpoint} to resume "
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
