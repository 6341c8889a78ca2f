"""The trained models that come with matstream, each a folder, as `export` writes one."""

from pathlib import Path

import matstream
from matstream.shared.errors import UserError
from matstream.trainer.runs.folder import CONFIG

MODELS = Path(matstream.__file__).parent / "models"


def model_names() -> list[str]:
    """The names of the models that come with matstream."""
    return sorted(path.parent.name for path in MODELS.glob(f"*/{CONFIG}"))


def folder_of(model: str | Path) -> Path:
    """The folder of a run or of an exported model; or, where there is no such folder, of the model of this
    name that comes with matstream. Raises UserError if there is neither."""
    folder = Path(model)
    if folder.exists():
        return folder
    names = model_names()
    if str(model) in names:
        return MODELS / str(model)
    known = f"; the models that come with matstream are {', '.join(names)}" if names else ""
    raise UserError(f"there is no folder {folder}{known}")
