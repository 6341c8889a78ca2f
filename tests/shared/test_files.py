import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from matstream.shared import files
from matstream.shared.files import locked, remove_remains, turn, written_aside


def _killed_while_writing(path: Path, code: str) -> None:
    """Let another process write a folder at `path` and kill itself in `code`."""
    script = f"""
import os, signal, sys
from pathlib import Path
from matstream.shared import files
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
{code}
with files.written_aside(Path(sys.argv[1])) as aside:
    aside.mkdir()
    (aside / "new").write_text("new")
die()
"""
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == -9


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_left_goes_when_the_same_is_written_again(tmp_path):
    _killed_while_writing(tmp_path / "x", "Path.write_text = die")
    assert _names(tmp_path) != []
    with written_aside(tmp_path / "x") as aside:
        aside.mkdir()
    assert _names(tmp_path) == ["x"]


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    with written_aside(tmp_path / "x") as theirs:
        with written_aside(tmp_path / "x") as ours:  # as by a process of the same number in a container
            assert ours != theirs
            ours.write_text("ours")
        theirs.write_text("theirs")
        remove_remains(tmp_path)
    assert (tmp_path / "x").read_text() == "theirs"
    assert _names(tmp_path) == ["x"]


def test_what_only_looks_like_remains_is_left_alone(tmp_path):
    (tmp_path / ".x.2024").write_text("a copy of somebody's")
    (tmp_path / ".x.2025").mkdir()
    (tmp_path / ".x.2025/x").write_text("")
    with written_aside(tmp_path / "x") as aside:
        aside.write_text("")
    remove_remains(tmp_path)
    assert _names(tmp_path) == [".x.2024", ".x.2025", "x"]


def test_what_others_put_into_a_folder_outlives_its_replacement(tmp_path):
    for name in ("old", "both", "theirs"):
        (tmp_path / "x" / name).mkdir(parents=True)
        (tmp_path / "x" / name / name).write_text("old")
        (tmp_path / "x" / name / "same").write_text("old")
    with written_aside(tmp_path / "x", "both/same|old/both") as aside:
        (aside / "both").mkdir(parents=True)
        (aside / "both/new").write_text("new")
        (aside / "both/same").write_text("new")
    assert _names(tmp_path / "x") == ["both", "old", "theirs"]
    assert _names(tmp_path / "x/both") == ["both", "new", "same"]
    assert (tmp_path / "x/both/same").read_text() == "new"
    assert _names(tmp_path) == ["x"]


def test_what_was_written_before_does_not_come_back(tmp_path):
    for name in ("a", "b/c", "b/d", "theirs/e"):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_text("old")
    with written_aside(tmp_path / "x", "a|b/c|f") as aside:
        aside.mkdir()
        (aside / "f").write_text("new")
    assert sorted(str(path.relative_to(tmp_path / "x")) for path in (tmp_path / "x").rglob("*")) == [
        *("b", "b/d", "f", "theirs", "theirs/e")
    ]
    assert _names(tmp_path) == ["x"]


def test_what_cannot_be_put_back_is_kept_beside(tmp_path):
    (tmp_path / "x/a").mkdir(parents=True)
    (tmp_path / "x/a/theirs").write_text("theirs")
    for _ in range(2):
        with written_aside(tmp_path / "x", "a") as aside:
            aside.mkdir()
            (aside / "a").write_text("new")
    assert (tmp_path / "x/a").read_text() == "new"
    assert [path.read_text() for path in tmp_path.rglob("theirs")] == ["theirs"]


def test_processes_that_replace_one_folder_lose_nothing_of_others(tmp_path):
    (tmp_path / "x/inputs").mkdir(parents=True)
    for name in ("x/notes", "x/inputs/theirs"):
        (tmp_path / name).write_text("theirs")
    code = """
import sys
from pathlib import Path
from matstream.shared.files import written_aside
for number in range(150):
    with written_aside(Path(sys.argv[1]), "inputs/ours|ours") as aside:
        (aside / "inputs").mkdir(parents=True)
        (aside / "inputs/ours").write_text(str(number))
        if number % 3:
            (aside / "ours").write_text(str(number))
"""
    both = [subprocess.Popen([sys.executable, "-c", code, tmp_path / "x"]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    found = sorted(str(path.relative_to(tmp_path / "x")) for path in (tmp_path / "x").rglob("*"))
    assert [name for name in found if name != "ours"] == ["inputs", "inputs/ours", "inputs/theirs", "notes"]
    assert _names(tmp_path) == ["x"]


def test_a_file_keeps_its_permissions(tmp_path):
    (tmp_path / "x").touch()
    (tmp_path / "x").chmod(0o600)
    with written_aside(tmp_path / "x") as aside:
        aside.write_text("new")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600


def test_a_file_that_another_process_does_not_let_go_of_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_HELD_SECONDS", 0.1)
    with turn(tmp_path / "x"), pytest.raises(BlockingIOError, match="does not finish"), turn(tmp_path / "x"):
        pass


@pytest.mark.parametrize("after", [1, 2, 3])
def test_what_others_put_into_a_folder_outlives_a_kill_while_it_is_replaced(tmp_path, after):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/theirs").write_text("theirs")
    # killed once it has renamed so many times: the old folder away, the new one there, their file back
    code = f"""
rename = Path.rename
def count(self, target, done=[0]):
    done[0] += 1
    result = rename(self, target)
    return die() if done[0] == {after} else result
Path.rename = count
"""
    _killed_while_writing(tmp_path / "x", code)
    with written_aside(tmp_path / "x") as aside:
        aside.mkdir()
        (aside / "newer").write_text("newer")
    assert (tmp_path / "x/theirs").read_text() == "theirs"
    assert (tmp_path / "x/newer").exists()
    assert _names(tmp_path) == ["x"]


def test_a_folder_is_never_replaced_by_a_file(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/theirs").write_text("theirs")
    with pytest.raises(IsADirectoryError) as refused, written_aside(tmp_path / "x") as aside:
        aside.write_text("")
    assert refused.value.filename == str(tmp_path / "x")
    assert (tmp_path / "x/theirs").read_text() == "theirs"
    assert _names(tmp_path) == ["x"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("errno 27")])
def test_an_error_names_what_was_to_be_written(tmp_path, error):
    with pytest.raises(OSError, match=r"No space left|errno 27") as raised, written_aside(tmp_path / "x"):
        raise error
    assert raised.value.filename == str(tmp_path / "x")
    with pytest.raises(FileNotFoundError) as raised, written_aside(tmp_path / "x") as aside:
        (aside / "missing").read_text()
    assert raised.value.filename == str(tmp_path / "x")
    assert _names(tmp_path) == []


def test_no_folder_is_made_for_a_file_in_a_missing_one(tmp_path):
    with pytest.raises(FileNotFoundError) as missing, written_aside(tmp_path / "no/x") as aside:
        aside.write_text("")
    assert missing.value.filename == str(tmp_path / "no/x")
    assert _names(tmp_path) == []


def test_a_lock_is_on_the_folder_that_is_there(tmp_path, monkeypatch):
    folder, flock = tmp_path / "x", files.fcntl.flock

    def replaced_meanwhile(descriptor: int, how: int) -> None:
        monkeypatch.setattr(files.fcntl, "flock", flock)
        folder.rmdir()
        folder.mkdir()
        flock(descriptor, how)

    monkeypatch.setattr(files.fcntl, "flock", replaced_meanwhile)
    with locked(folder):
        with pytest.raises(BlockingIOError), locked(folder):
            pass
        descriptor = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            flock(descriptor, files.fcntl.LOCK_EX | files.fcntl.LOCK_NB)
        os.close(descriptor)
    with locked(folder):
        pass


def test_only_a_folder_is_locked(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name, error in {"file": NotADirectoryError, "link": FileNotFoundError}.items():
        with pytest.raises(error), locked(tmp_path / name):
            pass


def test_what_is_read_and_written_anew_by_many_loses_nothing(tmp_path):
    path = tmp_path / "x"
    path.write_text("")

    def add(letter: str) -> None:
        with turn(path):
            before = path.read_text()
            time.sleep(0.01)
            with written_aside(path) as aside:
                aside.write_text(before + letter)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, "abcdefghijklmnop"))
    assert sorted(path.read_text()) == list("abcdefghijklmnop")
    assert _names(tmp_path) == ["x"]
