"""The folder of a run: who may begin there, and what of it is ever removed."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from matstream.shared.errors import UserError
from matstream.trainer.recipes.reading import write_recipe
from matstream.trainer.runs import folder as folders
from matstream.trainer.runs.run import Run, begun, prepare

THEIRS = (
    *("notes.txt", "data/matrices", "report-mine.png", "report-across-mine.png"),
    *("checkpoints/best-of-all/model", "checkpoints/000000000064.bak", "checkpoints/000000000064/notes"),
    *("tensorboard/notes", "tensorboard/events.out.tfevents.mine", "model/.git/config"),
    *("evaluation.zarr/mine/zarr.json", "evaluation.zarr/inputs/notes", "result.json.bak"),
    *(".recipe.toml.1", ".result.json.2024", ".model.2024/model/config.json", "analysis.json/mine"),
)
OURS = (
    *("metrics.jsonl", "result.json", "evaluations.json", "report.png", "report.html"),
    *("report-curves.png", "report-across-dim.png", "checkpoints/000000000064/training.pt"),
    *("checkpoints/best-000000000064/model.safetensors", "tensorboard/events.out.tfevents.1.host.2.0"),
    *("evaluation.zarr/zarr.json", "evaluation.zarr/inputs/c/0", "model/config.json", "model/SHA256SUMS"),
    *(".report.png.matstream-4711/report.png", ".model.matstream-4711/model/config.json"),
    "checkpoints/.000000000128.matstream-4711/000000000128/training.pt",
)

ANSWERING = SimpleNamespace(stream=lambda *_: (sample for sample in [None]))  # a client, at once


@pytest.fixture
def ready(tmp_path, monkeypatch) -> Callable[..., Run]:
    """Prepare the quickstart in a folder of its own, before anything waits for a generator."""
    monkeypatch.chdir(tmp_path)

    def make(recipe: str = "quickstart", *, name: str | None = None, **how: bool) -> Run:
        how = {"resume": False, "overwrite": False} | how
        return prepare(recipe, name=name, runs=Path("runs"), overrides={}, **how)

    return make


def _write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _train(run: Run, *, resume: bool = False) -> None:
    with begun(run, ANSWERING, resume=resume):
        _write(run.folder, *OURS)


def test_what_others_put_into_a_run_outlives_its_overwriting(ready):
    _train(ready())
    _write(Path("runs/quickstart"), *THEIRS)
    with begun(ready(overwrite=True), ANSWERING, resume=False):
        assert _files(Path("runs/quickstart")) == {"recipe.toml", *THEIRS}


def test_what_a_killed_run_left_half_written_goes_when_it_is_resumed(ready):
    _train(ready())
    _write(Path("runs/quickstart"), *THEIRS)
    with begun(ready(resume=True), ANSWERING, resume=True):
        whole = {name for name in OURS if "4711" not in name}
        assert _files(Path("runs/quickstart")) == {"recipe.toml", *THEIRS, *whole}


def test_all_that_training_scoring_and_reporting_write_is_removed(here, mixed_run, server):
    assert here("evaluate", str(mixed_run), "--analyse", "--generator", server, "--out", "scored")[0] == 0
    assert here("report", str(mixed_run), "--out", "report")[0] == 0
    for folder in map(Path, ("scored", "report")):
        assert _files(folder)
        folders.clear(folder)
        assert _files(folder) == set()
    shutil.copytree(mixed_run, "mixed")
    folders.clear(Path("mixed"))
    assert [path.name for path in Path("mixed").iterdir()] == ["recipe.toml"]


def test_a_kill_while_a_run_is_removed_leaves_one_that_can_be_replaced(ready, monkeypatch):
    _train(ready())
    total, unlink = len(_files(Path("runs/quickstart"))), Path.unlink
    for number in range(1, total + 1):
        shutil.copytree("runs/quickstart", f"runs/killed-{number}")
        left = number

        def killed(path: Path, **how: bool) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            unlink(path, **how)

        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            patched.setattr(Path, "unlink", killed)
            folders.clear(Path(f"runs/killed-{number}"))
        _train(ready(name=f"killed-{number}", overwrite=True))


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_a_run_is_not_touched_on_the_word_of_an_earlier_look(ready, how):
    if how:
        _train(ready())
    waiting = ready(**how)  # for its generator, while another begins and ends
    _train(ready(overwrite=True))
    before = _files(Path("runs/quickstart"))
    with (
        pytest.raises(UserError, match="another process has begun or gone on with the run runs/quickstart"),
        begun(waiting, ANSWERING, resume="resume" in how),
    ):
        pass
    assert _files(Path("runs/quickstart")) == before
    with begun(ready(resume=True), ANSWERING, resume=True):
        pass


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "model", "evaluation.zarr"])
def test_what_lies_behind_a_link_is_not_touched(ready, name):
    _train(ready())
    Path("runs/other").mkdir()
    Path("runs/other", name).symlink_to(Path("runs/quickstart", name).resolve())
    before = _files(Path("runs/quickstart"))
    with pytest.raises(UserError, match=f"runs/other/{name}: must not be a link"):
        ready(name="other")
    folders.clear(Path("runs/other"))
    assert _files(Path("runs/quickstart")) == before


@pytest.mark.parametrize(
    "name",
    [
        *("metrics.jsonl", "result.json", "recipe.toml", "report-curves.png"),
        *("checkpoints/000000000064", "checkpoints/000000000064/training.pt", "evaluation.zarr/inputs/c/0"),
    ],
)
@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}])
def test_a_run_of_links_is_neither_gone_on_with_nor_replaced(ready, name, how):
    _train(ready())
    shutil.copytree("runs/quickstart", "runs/other")
    link = Path("runs/other", name)
    shutil.rmtree(link) if link.is_dir() else link.unlink()
    link.symlink_to(Path("runs/quickstart", name).resolve())
    with pytest.raises(UserError, match=f"{link}: must not be a link"):
        ready(name="other", **how)


@pytest.mark.parametrize(
    "kept", ["model/model.safetensors", "checkpoints/best-000000000064/model.safetensors"]
)
def test_what_is_left_of_a_run_is_replaced_only_where_that_is_asked_for(ready, kept):
    _train(ready())
    run = Path("runs/quickstart")
    shutil.rmtree(run)
    _write(run, kept)
    (run / "recipe.toml").write_text(write_recipe(ready(name="other").recipe))
    with pytest.raises(UserError, match=f"holds what is left of a run, such as {kept}: choose another name"):
        ready()
    _train(ready(overwrite=True))


def test_a_run_is_not_begun_where_another_process_trains(ready):
    late = ready()
    with (
        begun(ready(), ANSWERING, resume=False),
        pytest.raises(UserError, match="another process is training"),
        begun(late, ANSWERING, resume=False),
    ):
        pass


@pytest.mark.parametrize(
    "name", ["..", ".", "", ".hidden", "a/b", "a\\b", "a\nb", "a\x1bb", "\udcff", 201 * "x"]
)
def test_a_run_is_given_a_plain_name_by_its_flag_as_by_its_recipes_file(ready, name):
    with pytest.raises(UserError, match=r"--run .* must be a plain name"):
        ready(name=name)
    if "/" in name:
        return
    recipe = write_recipe(ready().recipe)
    path = Path(f"{name}.toml")
    path.write_text(recipe)
    with pytest.raises(UserError, match="its file's name cannot be a run's: choose one with --run NAME"):
        ready(str(path))
    assert ready(str(path), name="plain").folder == Path("runs/plain")


def test_a_run_is_not_begun_in_the_place_of_a_file(ready):
    _write(Path("runs"), "mine")
    with pytest.raises(UserError, match="runs/mine must be a folder, or nothing yet"):
        ready(name="mine")


def test_a_recipe_that_no_run_wrote_is_not_replaced(ready):
    _write(Path("runs/mine"), "notes.txt")
    recipe = Path("runs/mine/recipe.toml")
    recipe.write_text(f"# how I came to this\n{write_recipe(ready().recipe)}")
    for how in ({}, {"overwrite": True}):
        with pytest.raises(UserError, match=r"runs/mine/recipe\.toml was not written by a run, and would be"):
            ready(str(recipe), name="mine", **how)
    assert _files(Path("runs/mine")) == {"notes.txt", "recipe.toml"}


def test_a_run_may_begin_from_the_recipe_in_its_own_folder(ready):
    _write(Path("runs/mine"), "notes.txt", "data/matrices")
    Path("runs/mine/recipe.toml").write_text(write_recipe(ready().recipe))
    with begun(ready("runs/mine/recipe.toml", name="mine"), ANSWERING, resume=False):
        assert _files(Path("runs/mine")) == {"notes.txt", "data/matrices", "recipe.toml"}
