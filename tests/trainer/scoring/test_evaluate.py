import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from matstream.shared.fields import COEFFICIENTS, SPECTRA


@pytest.fixture
def folder(mixed_run, tmp_path) -> Path:
    """A folder with copies of a run under two names."""
    for name in ("one", "two"):
        shutil.copytree(mixed_run, tmp_path / "runs" / name)
    return tmp_path


@pytest.fixture
def evaluate(here, server) -> Callable[..., tuple[int, str, str]]:
    return lambda *arguments: here("evaluate", *arguments, "--generator", server)


KEPT = {"evaluations.json", "evaluation.zarr", "analysis.json"}


def records(folder: Path, run: str = "one") -> list[dict]:
    return json.loads((folder / "runs" / run / "evaluations.json").read_text())


def test_a_run_is_scored_on_its_own_stream_as_after_training(folder, evaluate):
    status, out, err = evaluate("runs/one")
    assert status == 0, err
    (record,) = records(folder)
    result = json.loads((folder / "runs/one/result.json").read_text())
    for key in ("accuracy", "accuracy_strict", "ceiling", "invalid", "by_operation", "by_dimension"):
        assert record[key] == result[key]
    assert "ceiling" in out
    assert "eigenvalues" in out


def test_another_stream_is_scored_and_kept_beside(folder, evaluate):
    for scale in ("5", "7", "5"):
        status, _, err = evaluate("runs/one", "--stream.scale", scale, "--samples", "30")
        assert status == 0, err
    assert [record["spec"]["scale"] for record in records(folder)] == [7, 5]
    kept = zarr.open_group(folder / "runs/one/evaluation.zarr", mode="r")
    assert json.loads(kept.attrs["spec"])["scale"] == 5
    assert kept["inputs"].shape == (30, 3, 3)
    assert abs(kept["inputs"][:][:, :2, :2]).max() <= 5


def test_several_runs_are_compared_across_all_spectra_or_the_values_given(folder, evaluate):
    only = ("--stream.operation", "eigenvalues", "--samples", "20")
    status, out, err = evaluate("runs/one", "runs/two", "--across", "spectrum", *only)
    assert status == 0, err
    for run in ("one", "two"):
        assert {record["spec"].get("spectrum", "semicircle") for record in records(folder, run)} == set(
            SPECTRA
        )
    header, *rows = [line.split() for line in out.splitlines()[:3]]
    assert header[-7:] == list(SPECTRA)
    assert [row[0] for row in rows] == ["one", "two"]
    assert all(len(row) == 8 for row in rows)
    status, out, err = evaluate("runs/one", "--across", "dim=2,3", "--samples", "20")
    assert status == 0, err
    assert {record["spec"]["dim"] for record in records(folder)} == {"2-3", 2, 3}


def test_all_laws_of_coefficients_are_listed_that_fit_the_stream(folder, evaluate):
    for scale, laws in ((5, COEFFICIENTS), (0.5, [law for law in COEFFICIENTS if law != "integers"])):
        changed = ("--stream.scale", str(scale), "--samples", "20")
        status, out, err = evaluate("runs/one", "--across", "coefficients", *changed)
        assert status == 0, err
        assert out.splitlines()[0].split()[-len(laws) - 1 :][1:] == list(laws)
    status, _, err = evaluate("runs/one", "--across", "coefficients=integers", "--stream.scale", "0.5")
    assert status == 1
    assert "stream.coefficients='integers': cannot have scale=0.5" in err


def test_what_is_named_twice_is_scored_once(folder, evaluate):
    status, out, err = evaluate("runs/one", "./runs/one/", "--across", "scale=1,1", "--samples", "20")
    assert status == 0, err
    assert out.splitlines()[0].split()[-1:] == ["1"]
    assert out.count("evaluations.json") == 1


def test_scores_go_where_they_are_wanted(folder, evaluate):
    before = set(folder.rglob("*"))
    status, _, err = evaluate("runs/one/model", "--out", "alone", "--samples", "20", "--analyse")
    assert status == 0, err
    assert {path.name for path in (folder / "alone").iterdir()} == KEPT
    status, _, err = evaluate("runs/one", "runs/two", "--out", "both", "--samples", "20")
    assert status == 0, err
    assert {path.name for path in (folder / "both").iterdir()} == {"one", "two"}
    assert {path for path in set(folder.rglob("*")) - before if path.is_relative_to(folder / "runs")} == set()


def test_failures_are_studied_for_each_kind_of_problem(folder, evaluate):
    status, out, err = evaluate("runs/one", "--analyse")
    assert status == 0, err
    studies = json.loads((folder / "runs/one/analysis.json").read_text())
    assert {(s["operation"], s["n"]) for s in studies} == {
        (operation, n) for operation in ("eigenvalues", "transpose") for n in (2, 3)
    }
    assert sum(study["samples"] for study in studies) == 120
    assert "median relative error" in out
    assert "right within 0.5%" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--stream.dim", "4"],
            "eigenvalues,transpose of dimension 2-3: it cannot be evaluated on eigenvalues of 4×4",
        ),
        (["--stream.operation", "svd"], "cannot be evaluated on svd"),
        (["--stream.spectrum", "cauchy"], "stream.spectrum='cauchy': must be one or several of"),
        (["--stream.size", "4"], "stream.size='4': is not a known name"),
        (["--across", "spectra"], "--across 'spectra': must be a field of the stream and its values"),
        (["--across", "dim"], "--across 'dim': must be"),
        (
            ["--across", "scale=1,2", "--stream.scale", "5"],
            "--across scale=1,2 and --stream.scale=5: must be",
        ),
        (["runs/one/model"], "runs/one/model is an exported model, which stays as it is"),
        (["runs/two/model", "runs/one/model", "--out", "x"], "--out x: model is the name of several runs"),
        (["--out", "/dev/full"], "--out /dev/full: must be a folder"),
        (["runs/two", "--out", "runs/one/recipe.toml"], "recipe.toml/one must be a folder"),
        (["--samples", "0"], '"0" for --samples. Must be >= 1'),
        (["--samples", "1000001"], "Must be <= 1000000"),
        (["--split", "dev"], "--split"),
    ],
)
def test_a_mistake_is_one_sentence_and_changes_nothing(folder, here, arguments, said):
    before = sorted(path.name for path in (folder / "runs/one").iterdir())
    status, _, err = here("evaluate", "runs/one", *arguments)
    assert status != 0
    assert said in err
    assert len(err.splitlines()) == 1
    assert sorted(path.name for path in (folder / "runs/one").iterdir()) == before


@pytest.mark.parametrize("content", ["[{}]", "{}", "[[]]", "{"])
def test_damaged_scores_are_found_before_the_work(folder, here, content):
    (folder / "runs/one/evaluations.json").write_text(content)
    status, _, err = here("evaluate", "runs/one", "--generator", "http://127.0.0.1:1")
    assert status != 0
    assert "runs/one/evaluations.json is damaged" in err
    assert len(err.splitlines()) == 1


def test_answers_of_others_are_not_replaced(folder, evaluate):
    group = zarr.open_group(folder / "out/evaluation.zarr", mode="w", attributes={"mine": 1})
    group.create_array("inputs", data=np.ones(3))
    status, _, err = evaluate("runs/one", "--out", "out")
    assert status == 1
    assert "out/evaluation.zarr holds no answers of a model" in err
    assert zarr.open_group(folder / "out/evaluation.zarr", mode="r").attrs["mine"] == 1


@pytest.mark.parametrize("other", ["runs/two", "runs/two/model"])
def test_scores_are_not_put_into_the_folder_of_another_run_or_model(folder, evaluate, other):
    (folder / other).mkdir(parents=True, exist_ok=True)
    (folder / other / ("config.json" if "model" in other else "recipe.toml")).touch()
    before = sorted((folder / other).iterdir())
    status, _, err = evaluate("runs/one", "--out", other)
    assert status == 1
    assert f"--out {other}: {other} is the folder of another run or model" in err
    assert sorted((folder / other).iterdir()) == before


def test_a_study_of_others_is_not_replaced(folder, evaluate):
    (folder / "out").mkdir()
    (folder / "out/analysis.json").write_text('{"mine": 1}')
    status, _, err = evaluate("runs/one", "--out", "out", "--analyse")
    assert status == 1
    assert "out/analysis.json is damaged" in err
    assert (folder / "out/analysis.json").read_text() == '{"mine": 1}'
