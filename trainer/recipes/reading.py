"""Recipes as TOML: found by name or file, read, compared, written."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from matstream.shared.errors import RefusedError, UserError, explain
from matstream.trainer.recipes.recipe import Recipe

RECIPES = Path(str(files("matstream.trainer") / "recipes"))
BASE = "base/"  # what recipes extend, but are not recipes themselves


def load_recipe(name: str, overrides: Mapping[str, Mapping[str, Any]]) -> tuple[str, Recipe]:
    """The default name of a recipe's runs, and the recipe, given its name or the path of its file.

    Raises what `load_document` and `read_recipe` raise.
    """
    run_name, document = load_document(name)
    return run_name, read_recipe(document, overrides)


def load_document(name: str) -> tuple[str, dict[str, Any]]:
    """The default name of a recipe's runs, and its content over that of the recipe it extends. `name` is that
    of a recipe that comes with matstream, or the path of a TOML file.

    Raises UserError if there is no such recipe, or it is not TOML; OSError for a file that cannot be read.
    """
    if name in recipe_names():
        return name.replace("/", "-"), _document(f"recipe {name!r}", RECIPES / f"{name}.toml", ())
    if name.lower().endswith(".toml"):
        return Path(name).stem, _document(f"recipe {name!r}", Path(name), ())
    raise UserError(f"recipe {name!r}: must be one of {', '.join(recipe_names())}, or a .toml file")


def _document(what: str, file: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """The content of a recipe's file over that of the recipe it extends, key by key. Errors call the file
    `what`; `extending` are the resolved paths of those that extend it."""
    content = file.read_bytes()
    try:
        document = tomllib.loads(content.decode("utf-8-sig"))
    except ValueError as error:  # not TOML, or not UTF-8
        raise UserError(f"{what} is not TOML: {error}") from None
    if "extends" not in document:
        return document
    name = document.pop("extends")
    what = f"{what}: extends={name!r}"
    known = _names()
    if name in known:
        base = RECIPES / f"{name}.toml"
    elif isinstance(name, str) and name.lower().endswith(".toml"):
        base = file.parent / name
        if not base.is_file():
            raise UserError(f"{what}: there is no file {base}")
    else:
        raise UserError(f"{what}: must be one of {', '.join(known)}, or a .toml file beside it")
    extending = (file.resolve(), *extending)
    if base.resolve() in extending:
        raise UserError(f"{what}: must not be a recipe that extends this one")
    return _over(_document(what, base, extending), document)


def _over(document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A document in which the values of another, by section and key, replace its own."""
    merged: dict[str, Any] = dict(document)
    for section, keys in values.items():
        below = merged.get(section, {})
        if not isinstance(keys, dict):  # a curriculum, which takes the place of another
            merged[section] = keys
        elif isinstance(below, dict):  # else the section itself is refused when the recipe is validated
            merged[section] = below | keys
    return merged


def read_recipe(document: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """Validate a recipe's document. `overrides` are values by section and key.

    Raises RefusedError naming the key that is wrong.
    """
    given = {
        section: {key.replace("-", "_"): value for key, value in keys.items()}
        for section, keys in overrides.items()
    }
    try:
        return Recipe.model_validate(_over(document, given))
    except ValidationError as error:
        raise RefusedError(explain(error.errors(), Recipe)) from None


def differences(recipe: Recipe, other: Recipe, *sections: str) -> Iterator[tuple[str, Any, Any]]:
    """The keys of these sections in which two recipes differ, as section.key, and both their values."""
    for section in sections:
        own, others = (getattr(each, section).model_dump() for each in (recipe, other))
        for key, value in own.items():
            if value != others[key]:
                yield f"{section}.{key}", value, others[key]


def recipe_names() -> list[str]:
    """The recipes that come with matstream, such as quickstart or small/add."""
    return [name for name in _names() if not name.startswith(BASE)]


def _names() -> list[str]:
    return sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.toml"))


def is_written(path: Path) -> bool:
    """Whether `write_recipe` wrote a file, with the fields of this version or of another."""
    try:
        text = path.read_text("utf-8")
        document = tomllib.loads(text)
    except ValueError:  # not TOML, or not UTF-8
        return False
    sections = document.keys() | {"curriculum"}  # which is written only if there is one
    return sections == Recipe.model_fields.keys() and tomli_w.dumps(document) == text


def write_recipe(recipe: Recipe) -> str:
    """A recipe as TOML, every value in it."""
    document = json.loads(recipe.model_dump_json(exclude_none=True))
    if not recipe.curriculum:
        del document["curriculum"]
    return tomli_w.dumps(document)
