"""`matstream sample`, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from generator_service.stream import generate
from shared.spec import StreamSpec


def sample(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "matstream", "sample", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_a_table_shows_every_entry_of_input_and_target(tmp_path):
    done = sample(tmp_path, "eigenvalues", "--dim", "3", "-n", "2", "--start", "5")
    assert done.returncode == 0, done.stderr
    batch = generate(StreamSpec(operation="eigenvalues", dim=3), 0, "train", 5, 2)
    for column in ("input", "target"):
        for value in batch.column(column).storage.flatten().to_pylist():
            assert f"{value:.4g}" in done.stdout
    assert "sample 5" in done.stdout
    assert "sample 6" in done.stdout


@pytest.mark.parametrize("remote", [False, True])
def test_json_is_the_same_here_and_from_a_server(tmp_path, server, remote):
    generator = ["--generator", server] if remote else []
    done = sample(tmp_path, "svd", "--dim", "2", "--cols", "3", "-n", "3", "--format", "json", *generator)
    assert done.returncode == 0, done.stderr
    batch = generate(StreamSpec(operation="svd", dim=2, cols=3), 0, "train", 0, 3)
    found = [entry["target"] for entry in json.loads(done.stdout)["samples"]]
    assert found == batch.column("target").to_numpy_ndarray().tolist()


@pytest.mark.parametrize("remote", [False, True])
def test_an_arrow_file_holds_all_samples(tmp_path, server, remote):
    generator = ["--generator", server] if remote else []
    arguments = ["add,inverse", "--dim", "2-4", "-n", "30000", "--format", "arrow", "--out", "made.arrow"]
    done = sample(tmp_path, *arguments, *generator)
    assert done.returncode == 0, done.stderr
    with pa.memory_map(str(tmp_path / "made.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
        assert table["index"].to_pylist() == list(range(30_000))
        expected = generate(StreamSpec(operation="add,inverse", dim="2-4"), 0, "train", 0, 500)
        assert table.slice(0, 500).to_pylist() == expected.to_pylist()
    assert [path.name for path in tmp_path.iterdir()] == ["made.arrow"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eigenvalues", "--dim", "0"], "dim='0': must be a whole number"),
        (["eigen", "--dim", "3"], "operation='eigen': must be one or several of add"),
        (["add", "--dim", "3", "-n", "101"], "count=101: must be at most 100"),
        (["add", "--dim", "3", "--format", "arrow"], "--format arrow needs --out"),
        (["add", "--dim", "3", "--out", "no/such/folder"], "--out no/such/folder"),
        (["add", "--dim", "3", "--max-abs", "1e-9"], "max_abs=1e-09: must be large enough"),
        (["add", "--dim", "3", "--generator", "localhost"], "must be a URL"),
        (["add", "--dim", "3", "--generator", "http://127.0.0.1:9"], "cannot be reached"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, arguments, said):
    done = sample(tmp_path, *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_of_the_server_is_said_in_its_words(tmp_path, server):
    done = sample(tmp_path, "add", "--dim", "200", "--generator", server)
    assert done.returncode != 0
    assert "answered 422: dim=200: must be at most 128" in done.stderr
