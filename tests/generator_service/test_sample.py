"""`matstream sample`, as a user runs it."""

import io
import json
import os
import re
import socket
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest
from rich.console import Console

from matstream.generator_service.sample import show
from matstream.generator_service.stream import batches, generate
from matstream.shared.spec import SampleRange, StreamSpec
from tests.commands import finish, forked


class Sampled(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def sample(folder: Path, *arguments: str) -> Sampled:
    return Sampled(*finish(forked(folder, "sample", *arguments)))


def test_a_table_shows_every_entry_of_input_and_target(tmp_path):
    done = sample(tmp_path, "eigenvalues", "--dim", "3", "-n", "2", "--start", "5")
    assert done.returncode == 0, done.stderr
    batch = generate(StreamSpec(operation="eigenvalues", dim=3), 0, "train", 5, 2)
    for column in ("input", "target"):
        for value in batch.column(column).storage.flatten().to_pylist():
            assert f"{value:.4g}" in done.stdout
    assert "sample 5" in done.stdout
    assert "sample 6" in done.stdout


@pytest.mark.parametrize(("structure", "marked"), [("orthogonal", 2), ("none", 0)])
def test_a_table_says_where_an_answer_is_not_the_only_one(structure, marked):
    console = Console(record=True, file=io.StringIO())
    spec = StreamSpec(operation="svd", dim=2, structure=structure)
    show(spec, batches(spec, SampleRange(count=2), 2), console)
    assert console.export_text().count("not the only answer") == marked


@pytest.mark.parametrize(
    ("operation", "dim"), [("add", 3), ("eigenvectors", 5), ("eigenvalues", 15), ("svd", 10)]
)
def test_no_digit_is_cut_where_a_table_is_too_wide(tmp_path, operation, dim):
    narrow = sample(tmp_path, operation, "--dim", str(dim), "--out", "narrow.txt")
    assert narrow.returncode == 0, narrow.stderr
    batch = generate(StreamSpec(operation=operation, dim=dim), 0, "train", 0, 1)
    entries = [f"{x:.4g}" for name in ("input", "target") for x in batch.column(name).to_numpy_ndarray().flat]
    printed = (tmp_path / "narrow.txt").read_text()
    numbers = re.findall(r"(?<=\s)-?[\d.]+(?:e[+-]\d+)?(?=\s)", printed)
    assert sorted(set(entries) - set(numbers)) == []
    assert "…" not in printed


@pytest.mark.parametrize("form", ["table", "json", "arrow"])
def test_a_file_is_left_as_it_was_if_the_samples_cannot_be_made(tmp_path, form):
    kept = tmp_path / "kept"
    arguments = ("add", "--dim", "3", "--format", form, "--out", "kept")
    assert sample(tmp_path, *arguments).returncode == 0
    before = kept.read_bytes()
    assert sample(tmp_path, *arguments).returncode == 0
    done = sample(tmp_path, *arguments, "--max-abs", "1e-9")
    assert done.returncode != 0
    assert kept.read_bytes() == before
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize("form", ["table", "json", "arrow"])
def test_a_file_that_holds_no_samples_is_not_replaced(tmp_path, form):
    (tmp_path / "novel").write_text("It was a dark and stormy night, sample 1")
    done = sample(tmp_path, "add", "--dim", "3", "--format", form, "--out", "novel")
    assert done.returncode == 1
    assert "--out novel: exists, and holds no samples that matstream wrote" in done.stderr
    assert (tmp_path / "novel").read_text() == "It was a dark and stormy night, sample 1"


def test_samples_may_be_written_to_a_pipe_and_through_a_link(tmp_path):
    arguments = ["svd", "--dim", "2", "--format", "json", "--out"]
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real").write_text("")
    assert sample(tmp_path, *arguments, "link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    reading = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    received: list[bytes] = []
    reading.start()
    assert sample(tmp_path, *arguments, "pipe").returncode == 0
    reading.join()
    assert received == [(tmp_path / "real").read_bytes()]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort", "broke off|cut"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", "damaged"),
        (b"nonsense\r\n\r\n", "not HTTP"),
    ],
)
def test_a_generator_that_breaks_is_one_sentence(tmp_path, answer, said):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(answer)

        threading.Thread(target=answer_once).start()
        done = sample(
            tmp_path, "add", "--dim", "3", "--generator", f"http://127.0.0.1:{listener.getsockname()[1]}"
        )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert re.search(said, done.stderr)


def test_a_file_that_sigterm_leaves_unfinished_is_not_left_beside_others(tmp_path):
    arguments = ("sample", "svd", "--dim", "50", "-n", "1000000", "--format", "arrow", "--out", "big.arrow")
    process = forked(tmp_path, *arguments)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".big.arrow.*/big.arrow")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    assert finish(process) == (143, "", "")
    assert list(tmp_path.iterdir()) == []


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
        (["add", "--dim", "3", "--generator", "http://127.0.0.1:abc"], "must be a URL"),
        (
            ["add", "--dim", "3", "--encoding", "B1", "--format", "json"],
            "encoding='B1': must be one of P10, P1000",
        ),
        (
            ["add", "--dim", "3", "--encoding", "P1000"],
            "encoding='P1000': must be one of P10, P1000, B1999, FP15, Z10, ",
        ),
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


@pytest.mark.parametrize("form", ["table", "json", "arrow"])
def test_a_folder_is_not_replaced_by_a_file(tmp_path, form):
    (tmp_path / "out/data").mkdir(parents=True)
    done = sample(tmp_path, "add", "--dim", "2", "--format", form, "--out", "out")
    assert (done.returncode, done.stderr) == (1, "matstream: --out out: is a folder; must be a file\n")
    assert (tmp_path / "out/data").is_dir()
