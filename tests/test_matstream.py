"""What the command line writes to, wherever that leads."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from matstream.commands import main


@pytest.fixture
def printed(monkeypatch, tmp_path) -> Callable[..., str]:
    """What a command prints where standard output and error have an encoding, run in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(encoding: str, *arguments: str) -> str:
        written = io.BytesIO()
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding, write_through=True))
        main(arguments)
        return written.getvalue().decode(encoding)

    return run


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])  # without and with a sign of multiplication
def test_what_an_encoding_has_not_becomes_a_question_mark(printed, server, encoding):
    few = [word for split in ("test", "validation") for word in (f"--evaluation.{split}_samples", "9")]
    short = ("--training.samples", "64", *few)
    printed(encoding, "train", "small/eigenvalues", "--generator", server, *short)
    assert "P10 ? P1000" in printed(encoding, "recipes")
    how = ("--samples", "20", "--analyse", "--generator", server)
    found = printed(encoding, "evaluate", "runs/small-eigenvalues", *how)
    times = "×".encode(encoding, "replace").decode(encoding)
    assert f"eigenvalues of 2{times}2 matrices" in found
    assert "residual" in printed(encoding, "sample", "svd", "--dim", "12", "-n", "2")


def _in_a_shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell, in which $MATSTREAM is the program."""
    shell = ["sh", "-c", f'MATSTREAM="{sys.executable} -m matstream"; {line}']
    return subprocess.run(shell, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_leads_nowhere(tmp_path, closed):
    assert _in_a_shell(tmp_path, f"$MATSTREAM trian {closed}").returncode == 2
    assert _in_a_shell(tmp_path, f"$MATSTREAM sample add --dim 2 {closed}").returncode == 0
    code = "from matstream.commands import main; main(['--version']); assert open('file', 'w').fileno() > 2"
    assert _in_a_shell(tmp_path, f'{sys.executable} -c "{code}" {closed}').returncode == 0


@pytest.mark.parametrize(
    ("before", "arguments", "said"),
    [
        ("", "--format json >/dev/full", "input or output: No space left on device"),
        ("", ">/dev/full", "input or output: No space left on device"),
        ("ulimit -f 1; ", "--format json --out x", "--out x: File too large"),
        ("ulimit -f 1; ", "--format arrow --out x", "--out x: .*File too large"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(tmp_path, before, arguments, said):
    done = _in_a_shell(tmp_path, f"{before}$MATSTREAM sample add --dim 20 {arguments}")
    assert done.returncode == 1
    assert re.fullmatch(rf"matstream: {said}\n", done.stderr), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("library", "arguments"), [("cyclopts", "recipes"), ("scipy", "sample add --dim 2")])
def test_ctrl_c_while_libraries_load_is_one_line(tmp_path, library, arguments):
    interrupted = "try:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    pass\n"
    (tmp_path / f"{library}.py").write_text(f"import os, signal\n{interrupted}raise SystemExit(7)")
    done = _in_a_shell(tmp_path, f"$MATSTREAM {arguments}")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "matstream: interrupted\n")
    assert _in_a_shell(tmp_path, f"trap '' INT; $MATSTREAM {arguments}").returncode == 7
