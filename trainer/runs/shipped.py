"""The trained models that come with matstream, each a folder, as `export` writes one."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from matstream.shared.errors import UserError
from matstream.trainer.runs.folder import CONFIG, MODELS
from matstream.trainer.runs.kept_recipe import recipe_of


def model_names() -> list[str]:
    """The names of the models that come with matstream."""
    return sorted(path.parent.name for path in MODELS.glob(f"*/{CONFIG}"))


def folder_of(model: str | Path) -> Path:
    """The folder of a run or of an exported model; or, where there is no such folder, of the model of this
    name that comes with matstream. Raises UserError if there is neither."""
    folder = Path(model)
    if folder.is_dir():
        return folder
    names = model_names()
    if str(model) in names:
        return MODELS / str(model)
    known = (
        f"; the models that come with matstream are {', '.join(names)}"
        if names
        else ", and no models come with this version"
    )
    raise UserError(f"there is no folder {folder}{known}")


def models() -> None:
    """List the models that come with matstream."""
    if not model_names():
        Console().print("no models come with this version")
        return
    table = Table(
        Column("model", no_wrap=True),
        *("operation", "dim", "entries", "right at 5%", "samples seen"),
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for name in model_names():
        stream = recipe_of(MODELS / name).stream
        fields = stream.fields()
        result = json.loads((MODELS / name / CONFIG).read_bytes())["result"]
        table.add_row(
            name,
            fields["operation"],
            str(fields["dim"]),
            "several laws" if len(stream.coefficients) > 1 else stream.coefficients[0],
            f"{result['accuracy']['0.05']:.1%}",
            f"{result['samples_seen']:,}",
        )
    Console().print(table)
