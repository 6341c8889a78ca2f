"""A run's folder: a run begins with a complete recipe, resumes only with the same, and ends with a result."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from matstream.shared.errors import UserError
from matstream.shared.files import locked, written_aside
from matstream.shared.problems import known, meaning
from matstream.trainer.client import Client
from matstream.trainer.model.transformer import build, device, parameters
from matstream.trainer.recipes.reading import is_written, load_document, read_recipe, write_recipe
from matstream.trainer.recipes.recipe import Recipe
from matstream.trainer.runs import checkpoints
from matstream.trainer.runs import folder as folders
from matstream.trainer.runs.folder import CHECKPOINTS, METRICS, PROBLEMS, RECIPE, RESULT
from matstream.trainer.runs.initial_weights import start_from
from matstream.trainer.runs.kept_recipe import check_can_be_kept, keep_problems, recipe_of

MAX_NAME = 200  # bytes of a run's name, which is part of the names of files
BF16_WIDTH = 256  # from this width on, or with relations, bf16 is faster where there is any (docs/LOG.md)


@dataclass(frozen=True)
class Run:
    """A run that may begin: its recipe is valid, and nothing of another run would be lost."""

    name: str
    folder: Path
    recipe: Recipe
    found: tuple[object, ...] = (False, None)  # what its folder held, as _contents says it


def prepare(
    recipe: str,
    *,
    name: str | None,
    runs: Path,
    resume: bool,
    overwrite: bool,
    overrides: Mapping[str, Mapping[str, Any]],
) -> Run:
    """Decide what will be run, before anything starts. Writes nothing.

    Raises UserError for a recipe that is wrong, a run that exists and is neither to be resumed nor
    overwritten, or one that is to be resumed under another recipe.
    """
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other")
    recipe_name, document = load_document(recipe)
    if name is None and not _is_plain(recipe_name):
        raise UserError(f"recipe {recipe!r}: its file's name cannot be a run's: choose one with --run NAME")
    if name is not None and not _is_plain(name):
        raise UserError(f"--run {name!r}: must be a plain name, not a path, of at most {MAX_NAME} bytes")
    folder = runs / (recipe_name if name is None else name)
    if not folders.possible(folder):
        raise UserError(f"{folder} must be a folder, or nothing yet, to hold the run")
    folders.check_no_links(folder)
    found = _contents(folder)
    begun = has_begun(folder)
    if resume:
        if not begun:
            raise UserError(f"there is no run in {folder} to resume; start it without --resume")
        written = recipe_of(folder)
        _check_same_problems(folder, written)
        with meaning(written.definitions):  # it goes on with the problem files that it keeps
            wanted = read_recipe(document, overrides)
        return Run(folder.name, folder, _same_recipe(written, wanted), found)
    wanted = read_recipe(document, overrides)
    check_can_be_kept(wanted)
    if begun and not overwrite:
        raise UserError(f"the run {folder} exists: go on with it by --resume, or replace it by --overwrite")
    first = {folder / RECIPE, *(folder / PROBLEMS).glob("*")}  # what a run that was killed at once has left
    kept = [path for path in folders.written(folder) if path not in first]
    if kept and not overwrite:
        raise UserError(
            f"{folder} holds what is left of a run, such as {min(kept).relative_to(folder)}: choose another "
            "name with --run, or replace it by --overwrite"
        )
    files = {path.name for path in folder.glob("*") if not path.name.startswith(".")}
    if files and RECIPE not in files:
        raise UserError(f"{folder} is not empty and holds no run: choose another name with --run")
    if files and not begun and not is_written(folder / RECIPE):
        raise UserError(
            f"{folder / RECIPE} was not written by a run, and would be replaced: move it elsewhere, or "
            "choose another name with --run"
        )
    if wanted.training.compile and shutil.which("g++") is None and shutil.which("clang++") is None:
        raise UserError("training.compile=True: needs a C++ compiler, g++ or clang++, on this machine")
    _check_memory(wanted)
    if wanted.training.start_from is not None:
        if Path(wanted.training.start_from).resolve().is_relative_to(folder.resolve()):
            raise UserError(f"--from {wanted.training.start_from}: must be another run than {folder}")
        start_from(wanted.training.start_from, wanted, build(wanted))
    return Run(folder.name, folder, _settle_precision(wanted), found)


@contextmanager
def begun(run: Run, client: Client, *, resume: bool) -> Iterator[None]:
    """Lock the run's folder, so that no other process trains in it meanwhile. Unless the run is resumed, what
    an earlier run wrote there is removed first.

    Raises StreamError if the generators do not serve the stream, UserError if another process has locked the
    folder, or has changed the run since it was prepared; then the folder is left as it was.
    """
    recipe = run.recipe
    if not resume:  # a resumed run removes nothing, and its checkpoint says which numerics it needs
        for stream in recipe.streams:
            with closing(client.stream(stream.spec(), stream.seed, "train", 0, 1)) as samples:
                next(samples)
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(run.folder))
        except BlockingIOError:
            raise UserError(f"another process is training in {run.folder}") from None
        if _contents(run.folder) != run.found:
            raise UserError(
                f"another process has begun or gone on with the run {run.folder} meanwhile: look at it, then "
                "start again"
            )
        folders.remove_remains(run.folder) if resume else folders.clear(run.folder)
        with written_aside(run.folder / RECIPE) as aside:
            aside.write_text(write_recipe(recipe), encoding="utf-8")
        if not resume:  # else they are there, and the recipe was read with them
            keep_problems(recipe, run.folder)
        yield


def has_begun(folder: Path) -> bool:
    """Whether a folder holds a run that has written metrics or a checkpoint."""
    return (folder / METRICS).exists() or checkpoints.latest(folder / CHECKPOINTS) is not None


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write result.json."""
    with written_aside(folder / RESULT) as aside:
        aside.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _contents(folder: Path) -> tuple[object, ...]:
    """What changes if a process begins or resumes the run, since both write its recipe anew."""
    recipe = folder / RECIPE
    written = recipe.stat() if recipe.exists() else None
    return has_begun(folder), (written.st_ino, written.st_mtime_ns) if written else None


def _check_same_problems(folder: Path, written: Recipe) -> None:
    """Raise UserError if a name of a run's recipe has come to mean something else than in that run."""
    now = known().by_name
    for called, file in written.definitions.by_name.items():
        given = now.get(called)
        if called in now and (given is None or file is None or given.digest != file.digest):
            where = "this program" if given is None else given.path
            raise UserError(
                f"{called}: {where} differs from the file that the run to resume keeps in "
                f"{folder / PROBLEMS}: resume it without naming another, or after reading that one, or begin "
                "another run with --run NAME"
            )


def _is_plain(name: str) -> bool:
    """Whether a run may have this name: one part of a path, shown by `ls`, and printable."""
    return (
        name.isprintable()
        and not name.startswith(".")
        and not set(name) & set("/\\")
        and 0 < len(os.fsencode(name)) <= MAX_NAME
    )


def _same_recipe(written: Recipe, wanted: Recipe) -> Recipe:
    """The written recipe with the wanted [fetch], time limit and number of checkpoints.

    Raises UserError if they differ in what is trained.
    """
    before, now = written.model_dump(), wanted.model_dump()
    for section in before.keys() - {"fetch"}:
        if section == "curriculum":
            if before[section] != now[section]:
                raise UserError(
                    f"curriculum: the run to resume was begun with another, which is in its {RECIPE}; keep "
                    "that, or begin another run with --run NAME"
                )
            continue
        for key, value in before[section].items():
            asked = now[section][key]
            free = key in ("time_limit", "checkpoints") or (key, asked) == ("precision", "auto")
            if asked != value and not free:
                raise UserError(
                    f"{section}.{key}={asked!r}: the run to resume was begun with {value!r}; "
                    "keep that, or begin another run with --run NAME"
                )
    kept = {"time_limit": wanted.training.time_limit, "checkpoints": wanted.training.checkpoints}
    return written.model_copy(
        update={"fetch": wanted.fetch, "training": written.training.model_copy(update=kept)}
    )


def _check_memory(recipe: Recipe) -> None:
    """Raise UserError if the model can certainly not be trained here."""
    count = parameters(recipe)
    # float32: weights, gradients, the optimiser's moments, the average
    moments = 2 if recipe.training.optimizer == "adamw" else 1
    needed = 4 * (2 + moments + (recipe.training.average > 0)) * count
    if device().type == "cuda":
        there = torch.cuda.get_device_properties(0).total_memory
    else:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise UserError(
            f"model.width={recipe.model.width}: training its {count:,} weights takes {needed / 2**30:,.0f} "
            f"GiB of memory: must be at most the {there / 2**30:,.1f} GiB that are here"
        )


def _settle_precision(recipe: Recipe) -> Recipe:
    """Replace precision `auto` by what is faster on this machine."""
    training = recipe.training
    if training.precision != "auto":
        return recipe
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    fast_bf16 = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    large = recipe.model.width >= BF16_WIDTH or recipe.model.relations
    bf16 = torch.cuda.is_available() or (fast_bf16 and large)
    settled = training.model_copy(update={"precision": "bf16" if bf16 else "fp32"})
    return recipe.model_copy(update={"training": settled})
