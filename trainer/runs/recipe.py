"""The recipe of a run, or of an exported model, in its folder; and the problem files it is about."""

import json
import re
import tomllib
from pathlib import Path

from matstream.shared.errors import RefusedError, UserError, first_line
from matstream.shared.files import written_aside
from matstream.shared.problems import files_of, read_problems
from matstream.trainer.recipes.reading import read_recipe
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checksums
from matstream.trainer.runs.folder import CONFIG, PROBLEMS, RECIPE, WEIGHTS


def recipe_of(folder: Path) -> Recipe:
    """The recipe of the run, or of the exported model, in a folder. Raises UserError if there is none."""
    path = folder / CONFIG
    exported = path.is_file() and not (folder / RECIPE).is_file()
    if not exported:
        path = folder / RECIPE
        if not folder.exists():
            raise UserError(f"there is no folder {folder}")
        if not path.is_file() and (folder / WEIGHTS).is_file():
            raise UserError(f"{folder} holds a model without its {CONFIG}: copy that from the run again")
        if not path.is_file():
            raise UserError(f"{folder} holds no run: it has no {RECIPE}")
    try:
        content = (checksums.read(path) if exported else path.read_bytes()).decode("utf-8-sig")
        document = json.loads(content)["recipe"] if exported else tomllib.loads(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from None
    if not isinstance(document, dict):
        raise UserError(f"{path} is no model's configuration: its recipe is not an object")
    read_problems(map(str, sorted((folder / PROBLEMS).glob("*.py"))))
    try:
        return read_recipe(document, {})
    except RefusedError as error:
        raise UserError(f"{path}: {error}") from None


def keep_problems(recipe: Recipe, folder: Path) -> None:
    """Write the files of one's own, that the stream's operations and structure are of, into the folder of a
    run or an exported model, where `recipe_of` reads them."""
    taken: set[str] = set()
    for file in files_of([*recipe.stream.operation, recipe.stream.structure]):
        (folder / PROBLEMS).mkdir(exist_ok=True)
        stem = re.sub(r"[^\w.-]", "_", file.path.stem)
        name = stem if stem not in taken else f"{stem}-{len(taken)}"
        taken.add(name)
        with written_aside(folder / PROBLEMS / f"{name}.py") as aside:
            aside.write_bytes(file.content)
