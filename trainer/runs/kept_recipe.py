"""The recipe of a run, or of an exported model, in its folder; and the problem files it is about."""

import itertools
import json
import re
import tomllib
from pathlib import Path

from matstream.shared.errors import RefusedError, UserError, first_line
from matstream.shared.files import written_aside
from matstream.shared.problems import Definitions, File, definitions_of, meaning
from matstream.trainer.recipes.reading import read_recipe
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checksums
from matstream.trainer.runs.folder import CONFIG, PROBLEMS, RECIPE, SUMS, WEIGHTS


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
        raise UserError(f"{path} is not the configuration of a model: its recipe is not an object")
    kept = _kept_problems(folder)
    try:
        with meaning(kept):
            recipe = read_recipe(document, {})
    except RefusedError as error:
        raise UserError(f"{path}: {error}") from None
    lost = recipe.definitions.by_name.keys() - kept.by_name.keys()
    if lost:  # a file of the same name, read otherwise, may be another one
        raise UserError(f"{folder / PROBLEMS} is not whole: the file of {min(lost)} is missing there")
    return recipe


def check_can_be_kept(recipe: Recipe) -> None:
    """Raise UserError if copies of its files would not say what the names of a recipe mean."""
    own = recipe.definitions
    for called, file in own.by_name.items():
        if file is None:
            raise UserError(
                f"{called}: is marked in the program itself, of which a run keeps no copy: put it into a "
                "file of its own, and read that by matstream.read_problems, MATSTREAM_PROBLEMS or --problems"
            )
        for source in own.sources:
            if source.file != file and called in definitions_of(source.file, "").by_name:
                raise UserError(
                    f"{called}: is defined by {file.path} and by {source.file.path}, and a run would keep "
                    "both: must be by one of them"
                )


def keep_problems(recipe: Recipe, folder: Path) -> None:
    """Write the user's files that define the operations and the structure of a recipe's stream, and their
    checksums, into the folder of a run or of an exported model, where `recipe_of` reads them."""
    files: dict[str, bytes] = {}
    for file, *_ in recipe.definitions.sources:
        stem = re.sub(r"[^\w.-]", "_", file.path.stem)
        others = (f"{stem}-{number}.py" for number in itertools.count(2))
        names = itertools.chain([f"{stem}.py"], others)
        files[next(name for name in names if name not in files)] = file.content
    if files:
        (folder / PROBLEMS).mkdir(exist_ok=True)
        files[SUMS] = checksums.sums(files)
    for name, content in files.items():
        with written_aside(folder / PROBLEMS / name) as aside:
            aside.write_bytes(content)


def _kept_problems(folder: Path) -> Definitions:
    """What the user's problem files define that the folder of a run or a model lists in its SHA256SUMS. They
    are Python, and are executed."""
    found = Definitions()
    for path in checksums.listed(folder / PROBLEMS):
        try:
            content = checksums.read(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {first_line(error)}") from None
        found |= definitions_of(File(path.resolve(), content), str(path), kept=True)
    return found
