"""Runs of a user's own problems, whose file is edited meanwhile."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

import matstream
from matstream.shared import problems
from matstream.shared.errors import UserError
from matstream.trainer.recipes.reading import read_recipe, write_recipe
from matstream.trainer.runs import run as runs
from matstream.trainer.runs.folder import PROBLEMS
from matstream.trainer.runs.kept_recipe import keep_problems, recipe_of

FILE = """import matstream

@matstream.operation(target=lambda m, n: (m, n))
def times(a):
    return FACTOR * a
"""
ROWS = """import matstream

@matstream.structure(words=lambda m, n: m * n)
def small(u, m, n):
    return u.reshape(-1, m, n)
"""
TINY = {
    "stream__operation": "times",
    "stream__dim": 1,
    "model__width": 16,
    "model__heads": 2,
    "training__samples": 640,
    "evaluation__validation_samples": 20,
    "evaluation__test_samples": 20,
}


@pytest.fixture
def write(tmp_path, problems_forgotten) -> Callable[[int], Path]:
    """Write the problem's file with a factor."""

    def write(factor: int) -> Path:
        (tmp_path / "times.py").write_text(FILE.replace("FACTOR", str(factor)))
        return tmp_path / "times.py"

    return write


def prepared(folder: Path, *, name: str = "one", resume: bool = False, overwrite: bool = False) -> runs.Run:
    """The run of a tiny recipe, as far as it goes without a generator."""
    overrides: dict[str, dict[str, object]] = {}
    for key, value in TINY.items():
        section, _, field = key.partition("__")
        overrides.setdefault(section, {})[field] = value
    return runs.prepare(
        "quickstart", name=name, runs=folder, resume=resume, overwrite=overwrite, overrides=overrides
    )


def test_two_versions_are_trained_scored_and_reported_in_one_process(here, write, tmp_path):
    for run, factor in (("one", 1), ("two", 2)):
        status, _, err = here("train", "quickstart", "--run", run, "--problems", str(write(factor)), **TINY)
        assert status == 0, err
    status, _, err = here("evaluate", "runs/one", "runs/two")
    assert status == 0, err
    one, two = (
        zarr.open_group(tmp_path / f"runs/{run}/evaluation.zarr", mode="r")["targets"][:]
        for run in ("one", "two")
    )
    np.testing.assert_array_equal(2 * one, two)
    assert here("report", "runs/one", "runs/two")[0] == 0
    models = [matstream.load(tmp_path / "runs" / run) for run in ("one", "two")]
    np.testing.assert_array_equal(
        *(model.check(np.ones((1, 1))).exact / k for k, model in enumerate(models, 1))
    )

    status, _, err = here("train", "quickstart", "--run", "one", "--resume", **TINY)
    assert status == 1
    assert "operation times: " in err
    assert "differs from the file that the run to resume keeps in runs/one/problems: resume it without" in err
    status, _, err = here("train", "quickstart", "--run", "one", "--overwrite", **TINY)
    assert status == 0, err
    assert b"2 * a" in (tmp_path / "runs/one/problems/times.py").read_bytes()


def test_a_run_that_was_scored_on_a_structure_that_is_not_known_says_so(here, write, tmp_path, monkeypatch):
    assert here("train", "quickstart", "--run", "one", "--problems", str(write(1)), **TINY)[0] == 0
    (tmp_path / "small.py").write_text(ROWS)
    with monkeypatch.context() as patched:
        patched.setenv("MATSTREAM_PROBLEMS", str(tmp_path / "small.py"))
        status, _, err = here("evaluate", "runs/one", "--stream.structure", "small")
        assert status == 0, err
        assert here("report", "runs/one")[0] == 0
    monkeypatch.setattr(problems, "_known", problems.Definitions())
    status, _, err = here("report", "runs/one")
    assert status == 1
    assert "runs/one/evaluations.json: structure='small': must be one or several of" in err
    assert "name its problem file in MATSTREAM_PROBLEMS" in err


def test_a_start_that_was_killed_between_recipe_and_problems_is_begun_again(write, tmp_path):
    matstream.read_problems(write(1))
    for name, whole in (("one", False), ("two", True)):
        run = prepared(tmp_path, name=name)
        run.folder.mkdir()
        (run.folder / "recipe.toml").write_text(write_recipe(run.recipe))
        if whole:
            keep_problems(run.recipe, run.folder)
        for overwrite in (False, True):
            assert prepared(tmp_path, name=name, overwrite=overwrite).recipe == run.recipe
        with pytest.raises(UserError, match=r"there is no run in .* to resume; start it without --resume"):
            prepared(tmp_path, name=name, resume=True)


def test_what_is_marked_in_the_program_itself_is_not_trained(problems_forgotten, tmp_path):
    matstream.operation(target=lambda m, n: (m, n), name="times")(lambda a: a)
    with pytest.raises(UserError, match=r"^operation times: is marked in the program itself, of which a run"):
        prepared(tmp_path)


def test_files_of_any_names_are_kept_side_by_side(problems_forgotten, tmp_path):
    names = {"a/x.py": "first", "b/x.py": "second", "x-2.py": "third"}
    for path, name in names.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(FILE.replace("times", name).replace("FACTOR", str(len(name))))
    matstream.read_problems(*(tmp_path / path for path in names))
    recipe = read_recipe(
        {"stream": {"operation": list(names.values()), "dim": 2}, "training": {"samples": 64}}, {}
    )
    keep_problems(recipe, tmp_path)
    (tmp_path / "recipe.toml").write_text(write_recipe(recipe))
    assert len(list((tmp_path / PROBLEMS).glob("*.py"))) == 3
    assert recipe_of(tmp_path).stream.definitions.hash == recipe.stream.definitions.hash


def test_a_run_without_its_problem_files_does_not_take_others_for_them(write, tmp_path):
    matstream.read_problems(write(1))
    run = prepared(tmp_path)
    run.folder.mkdir()
    (run.folder / "recipe.toml").write_text(write_recipe(run.recipe))
    with pytest.raises(UserError, match=r"one/problems is not whole: the file of operation times is missing"):
        recipe_of(run.folder)


def test_a_problem_that_does_not_take_a_recipes_size_is_one_sentence(problems_forgotten, tmp_path):
    (tmp_path / "odd.py").write_text(
        "import matstream\n@matstream.operation(target=lambda m, n: (m, n))\n"
        "def times(a):\n    assert a.shape[1] > 1, 'not of one row'\n    return a\n"
    )
    matstream.read_problems(tmp_path / "odd.py")
    with pytest.raises(UserError, match=r"^operation='times': raised AssertionError: not of one row$"):
        prepared(tmp_path)


def test_a_file_that_is_not_listed_is_not_executed(write, tmp_path):
    matstream.read_problems(write(1))
    run = prepared(tmp_path)
    run.folder.mkdir()
    (run.folder / "recipe.toml").write_text(write_recipe(run.recipe))
    keep_problems(run.recipe, run.folder)
    (run.folder / PROBLEMS / "other.py").write_text("raise SystemExit('executed')")
    assert recipe_of(run.folder).stream.definitions.hash == run.recipe.stream.definitions.hash
