"""The frozen test sets, and docs/benchmark.md."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import matstream
from matstream.generator_service.stream import batches, default_batch_rows
from matstream.shared.benchmark import RANGE, benchmark_sets, hash_of_inputs
from matstream.shared.operations import OPERATIONS
from tests.commands import finish, forked

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/benchmark.md").read_text(encoding="utf-8")
KEPT = json.loads((ROOT / "docs/benchmark.json").read_text(encoding="utf-8"))["sets"]
SETS = {one.name: one for one in benchmark_sets()}
SMALLEST = [next(name for name, one in SETS.items() if one.spec.operation == (of,)) for of in OPERATIONS]


def block(language: str, containing: str) -> str:
    """A block of code of the page."""
    [found] = [
        code for code in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if containing in code
    ]
    return found


def predictions(folder: Path) -> np.ndarray:
    """Predictions in predictions.csv, of which nine tenths are right within 5%."""
    targets = matstream.sample("eigenvalues", dim=5, count=200, split="test").targets[:, :, 0]
    wrong = np.where(np.arange(200) % 10 == 0, 1.2, 1.0)
    np.savetxt(folder / "predictions.csv", targets * wrong[:, None], delimiter=",")
    return targets


def test_each_operation_has_three_sets_and_all_are_on_the_page():
    assert len(SETS) == 3 * len(OPERATIONS)
    assert list(KEPT) == list(SETS)
    for name, one in SETS.items():
        assert KEPT[name]["query"] == one.query
        assert f"| {name} | `{one.query}` | `{KEPT[name]['hash']}` |" in PAGE


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SMALLEST else pytest.mark.long) for name in SETS]
)
def test_a_set_has_the_inputs_that_it_had(name):
    spec = SETS[name].spec
    assert hash_of_inputs(batches(spec, RANGE, default_batch_rows(spec))) == KEPT[name]["hash"]


def test_a_hash_tells_other_inputs_but_not_how_they_came_in_batches():
    spec = SETS["add-2"].spec
    few = RANGE.model_copy(update={"count": 500})
    whole = hash_of_inputs(batches(spec, few, 500))
    assert hash_of_inputs(batches(spec, few, 33)) == whole
    assert hash_of_inputs(batches(spec, few.model_copy(update={"seed": 1}), 500)) != whole


def test_a_csv_is_scored_by_curl_as_the_page_shows(server, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    predictions(tmp_path)
    command = block("sh", "--data-binary").split("serve &\n")[1].replace("http://127.0.0.1:8000", server)
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["accuracy"]["0.05"] == 0.9


def test_a_csv_is_scored_in_python_as_the_page_shows(server, tmp_path, monkeypatch, capsys):
    predictions(tmp_path)
    monkeypatch.chdir(tmp_path)
    code = block("python", "httpx.post").replace("http://127.0.0.1:8000", server)
    assert len(code.strip().splitlines()) <= 6
    exec(compile(code, "page", "exec"), {})
    assert "'0.05': 0.9" in capsys.readouterr().out


def test_the_library_scores_as_the_page_shows(capsys):
    exec(compile(block("python", "matstream.score").replace("10_000", "300"), "page", "exec"), {})
    assert "'0.05': 1.0" in capsys.readouterr().out


def test_a_model_gets_a_row_for_each_set_that_it_can_answer(mixed_run, server):
    status, out, err = finish(forked(mixed_run.parent, "benchmark", "mixed", "--generator", server))
    assert status == 0, err
    rows = [line for line in out.splitlines() if line.startswith("| eigen") or line.startswith("| trans")]
    assert [row.split(" | ")[0] for row in rows] == ["| eigenvalues-2", "| transpose-2"]
    assert all(
        f"`{KEPT[name]['hash']}`" in row
        for name, row in zip(["eigenvalues-2", "transpose-2"], rows, strict=True)
    )
    assert all("| 1,280 |" in row for row in rows)


def test_a_model_for_which_there_is_no_set_is_told_so(tmp_path, server):
    tiny = {"stream__operation": "trace", "stream__dim": 4, "training__samples": 64, "model__width": 16}
    tiny |= {"model__heads": 2, "evaluation__test_samples": 10, "evaluation__validation_samples": 10}
    assert finish(forked(tmp_path, "train", "quickstart", "--generator", server, **tiny))[0] == 0
    status, _, err = finish(forked(tmp_path, "benchmark", "runs/quickstart", "--generator", server))
    assert status == 1
    assert "was trained on trace of dimension 4: no test set of docs/benchmark.md has such problems" in err
