"""Files and folders that exist whole or not at all, and locks on folders."""

import fcntl
import itertools
import os
import re
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EISDIR, ELOOP, ENOLCK, ENOSYS, EWOULDBLOCK
from pathlib import Path

# A room is the hidden folder beside NAME in which NAME is written, or by which it is locked; no other program
# uses such a name.
_ROOM = re.compile(r"\.(.+)\.matstream-(?:[0-9]+|lock)")
_REPLACED = ".replaced"  # in the room of a folder that replaces another: the folder that was replaced
_OWN = ".own"  # beside it: a regular expression of its files that are not to be kept
_HELD_SECONDS = 60  # how long to wait for a path that another process has locked


@contextmanager
def written_aside(path: Path, own: str = "") -> Iterator[Path]:
    """Yield a path at which to write a file or a folder; it takes the place of `path` once the body is done.

    If the body raises, what was at `path` stays as it was, and nothing is left beside it. A process that is
    killed leaves a folder `.NAME.matstream-PID`, which is removed when `path` is written again. A folder that
    replaces another one takes over its files, which other programs may have put there, except those whose
    path inside it matches the regular expression `own`. A file keeps the permissions of the file it replaces.
    A link is followed; a device or a pipe is written to directly.

    Raises IsADirectoryError if a file would replace a folder. An OSError names `path`.
    """
    with naming(path):
        path = _resolved(path)
        if _is_special(path):
            yield path
            return
        remove_remains(path.parent, path.name)
        with _room(path) as room:
            aside = room / path.name
            yield aside
            if aside.is_dir():
                (room / _OWN).write_text(own, encoding="utf-8")
                with turn(path):
                    if path.is_dir():
                        path.rename(room / _REPLACED)  # what is not our own in it is brought back at the end
                    aside.rename(path)
                return
            if path.is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            if path.is_file():
                shutil.copymode(path, aside)
            aside.replace(path)


def remove_remains(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left half written in a folder: everything, or only what belongs to `name`.

    What a living process writes is locked, and is left alone. (Its process id would not tell that it is
    alive, since several containers may write to one folder.)
    """
    for room in folder.glob(".*.matstream-*"):
        found = _ROOM.fullmatch(room.name)
        if found is None or name not in (None, found[1]) or not _is_folder(room):
            continue
        with suppress(BlockingIOError, PermissionError), locked(room):
            _clear(room, folder / found[1])


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, made if it is missing, until the body is done or the process ends in any way.

    Raises BlockingIOError if another process has locked it, FileNotFoundError if its parent is missing.
    """
    while True:
        with suppress(FileExistsError):
            folder.mkdir()
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if folder.is_symlink():  # a link that leads nowhere
                raise
            continue  # another process removed it just now
        try:
            _flock(descriptor, folder)
            if _is_at(folder, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Lock a path, to read what is there and write it anew; wait while another process has it locked.

    Raises BlockingIOError if another process does not release it within a minute.
    """
    lock = path.with_name(f".{path.name}.matstream-lock")
    given_up = time.monotonic() + _HELD_SECONDS
    with ExitStack() as held:
        while True:
            with suppress(BlockingIOError):
                held.enter_context(locked(lock))
                break
            if time.monotonic() > given_up:
                raise BlockingIOError(EWOULDBLOCK, "another process does not finish writing it", str(path))
            time.sleep(0.01)
        held.callback(_remove_if_empty, lock)
        yield


def remove(path: Path, names: Collection[str]) -> None:
    """Remove the files of these names from a folder, and then the folder if it is empty; if the folder is a
    link, remove only the link."""
    if path.is_symlink():
        path.unlink()
        return
    for name in names:
        (path / name).unlink(missing_ok=True)
    _remove_if_empty(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make an OSError name `path` if it names no file, or a file in the room where `path` is written."""
    try:
        yield
    except OSError as error:
        real = path
        with suppress(OSError):
            real = _resolved(path)
        if error.filename is None or os.fsdecode(error.filename).startswith(f"{real.parent}/.{real.name}."):
            error.strerror, error.filename = error.strerror or str(error), str(path)
        raise


@contextmanager
def _room(path: Path) -> Iterator[Path]:
    """Make and lock a folder beside `path` to write in; it is removed afterwards."""
    with ExitStack() as held:
        for number in itertools.count(os.getpid()):
            room = path.with_name(f".{path.name}.matstream-{number}")
            with suppress(BlockingIOError):  # a process of this id in another container has it
                held.enter_context(locked(room))
                if not any(room.iterdir()):  # else it holds files that could not be put back
                    break
                held.close()
        try:
            yield room
        finally:
            _clear(room, path)


def _clear(room: Path, path: Path) -> None:
    """Remove a room in which `path` was written, after putting the files of a replaced folder back at `path`,
    except those that were written anew. It may be interrupted and done again. The room stays if it still
    holds files that cannot be put back."""
    replaced = room / _REPLACED
    if replaced.is_dir():
        own = re.compile((room / _OWN).read_text(encoding="utf-8"))
        with turn(path):
            if not os.path.lexists(path):
                replaced.rename(path)
            elif not _bring_back(replaced, path, own):
                return
    shutil.rmtree(room)


def _bring_back(old: Path, new: Path, own: re.Pattern[str], place: str = "") -> bool:
    """Move the files of the folder `old` to the folder `new`, except those whose path inside it, `place`,
    matches `own`. Returns False if a file could not be moved, because its path in `new` is taken."""
    if _is_folder(old):
        entries = list(old.iterdir())
        if entries or os.path.lexists(new):
            inside = f"{place}/" if place else ""
            moved = [_bring_back(entry, new / entry.name, own, inside + entry.name) for entry in entries]
            return all(moved)
    elif own.fullmatch(place):
        return True
    if os.path.lexists(new):
        return False
    try:
        new.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return False
    old.rename(new)
    return True


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _flock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (ENOLCK, ENOSYS):
            reason = "the file system has no locks (mount it with flock, or choose another folder)"
            raise OSError(error.errno, reason, str(folder.parent)) from None
        raise


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except RuntimeError:  # how Python 3.11 reports a loop of links
        raise OSError(ELOOP, os.strerror(ELOOP), str(path)) from None


def _is_special(path: Path) -> bool:
    """Whether there is something that is neither a file nor a folder; one look, since it may be moved."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file or folder is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
