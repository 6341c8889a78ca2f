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

_ROOM = re.compile(r"\.(.+)\.matstream-(?:[0-9]+|lock)")  # where NAME is written, or held; nobody else's name
_REPLACED = ".replaced"  # in the room of a folder that takes another's place: that other one
_OWN = ".own"  # beside it: which of its files are not to be kept
_HELD_SECONDS = 60  # after which a file that another process holds is given up


@contextmanager
def written_aside(path: Path, own: str = "") -> Iterator[Path]:
    """A path for a file or a folder that takes the place of `path` once the body is done.

    If the body raises, what was at `path` is left as it was, and nothing beside it; a process that is killed
    leaves a folder `.NAME.matstream-PID`, removed when `path` is written again. A folder that takes another's
    place is given that one's files, which others may have put there, but for those whose path in it matches
    the regular expression `own`. A file keeps the permissions of the one it replaces. A link is followed; a
    device or a pipe is written to directly.

    Raises IsADirectoryError for a file that would take a folder's place. An OSError names `path`.
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
                        path.rename(room / _REPLACED)  # of it, what is not our own is brought back at the end
                    aside.rename(path)
                return
            if path.is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            if path.is_file():
                shutil.copymode(path, aside)
            aside.replace(path)


def remove_remains(folder: Path, name: str | None = None) -> None:
    """Remove what processes that were killed left half written in a folder; of a `name`, if that is given.

    What a living process writes is locked, and left alone; its number says little where several containers
    write to one folder.
    """
    for room in folder.glob(".*.matstream-*"):
        found = _ROOM.fullmatch(room.name)
        if found is None or name not in (None, found[1]) or not _is_folder(room):
            continue
        with suppress(BlockingIOError, PermissionError), locked(room):
            _clear(room, folder / found[1])


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, made if only it is missing, until the body is done or the process ends, however it does.

    Raises BlockingIOError if another process holds it.
    """
    while True:
        with suppress(FileExistsError):
            folder.mkdir()
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if folder.is_symlink():  # that leads nowhere
                raise
            continue  # removed just now
        try:
            _flock(descriptor, folder)
            if _is_at(folder, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Hold what is at a path, to read it and write it anew, once no other process holds it so.

    Raises BlockingIOError if another process does not let go of it within a minute.
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
    """Remove a folder's files of these names, and the folder unless others have something in it; of a link to
    one, the link."""
    if path.is_symlink():
        path.unlink()
        return
    for name in names:
        (path / name).unlink(missing_ok=True)
    _remove_if_empty(path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError that names no file, or one written aside, name `path`."""
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
    """A folder beside `path` that this process holds, to write in; removed afterwards."""
    with ExitStack() as held:
        for number in itertools.count(os.getpid()):
            room = path.with_name(f".{path.name}.matstream-{number}")
            with suppress(BlockingIOError):  # of a process of this number in another container
                held.enter_context(locked(room))
                if not any(room.iterdir()):  # it holds nothing that could not be put back
                    break
                held.close()
        try:
            yield room
        finally:
            _clear(room, path)


def _clear(room: Path, path: Path) -> None:
    """Remove a room in which `path` was written, once what stood at `path` is back there, but for what was
    written anew. May be interrupted, and done again. What cannot be put back stays in the room."""
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
    """Move the files in a folder, but those whose `place` in it is an own one, to a new folder that has none
    of that place. Returns whether all found theirs."""
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
    except RuntimeError:  # as Python 3.11 says it
        raise OSError(ELOOP, os.strerror(ELOOP), str(path)) from None


def _is_special(path: Path) -> bool:
    """Whether there is something that is neither a file nor a folder; looked at once, as it may be moved."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file or folder is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
