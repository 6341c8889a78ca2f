"""Files and folders that exist whole or not at all, and locks on folders."""

import fcntl
import itertools
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EISDIR
from pathlib import Path

_ROOM = re.compile(r"\.(.+)\.matstream-(?:[0-9]+|lock)")  # where NAME is written, or held; nobody else's name
_REPLACED = "replaced"  # in the room of a folder that takes another's place: that other one


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path for a file or a folder that takes the place of `path` once the body is done.

    If the body raises, what was at `path` is left as it was, and nothing beside it; a process that is killed
    leaves a folder `.NAME.matstream-PID`, removed when `path` is written again. A folder that takes another's
    place is given that one's files, if it has no such: others may have put them there. A link is followed; a
    device or a pipe is written to directly.

    Raises IsADirectoryError for a file that would take a folder's place. An OSError names `path`.
    """
    with naming(path):
        path = path.resolve()
        if path.exists() and not path.is_file() and not path.is_dir():
            yield path
            return
        remove_remains(path.parent, path.name)
        with _room(path) as room:
            aside = room / path.name
            yield aside
            if not path.is_dir():
                aside.replace(path)
                return
            if not aside.is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            path.rename(room / _REPLACED)
            aside.rename(path)


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
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(folder, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Hold a file that is read and written anew, once no other process holds it so."""
    lock = path.with_name(f".{path.name}.matstream-lock")
    with ExitStack() as held:
        while True:
            with suppress(BlockingIOError):
                held.enter_context(locked(lock))
                break
            time.sleep(0.01)
        held.callback(lock.rmdir)
        yield


def remove(path: Path, names: Collection[str]) -> None:
    """Remove a folder's files of these names, and the folder unless others have something in it; of a link to
    one, the link."""
    if path.is_symlink():
        path.unlink()
        return
    for name in names:
        (path / name).unlink(missing_ok=True)
    with suppress(OSError):
        path.rmdir()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError that names no file, or one written aside, name `path`."""
    try:
        yield
    except OSError as error:
        beside = str(path.resolve().with_name(f".{path.resolve().name}."))
        if error.filename is None or os.fsdecode(error.filename).startswith(beside):
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
                break
        try:
            yield room
        finally:
            _clear(room, path)


def _clear(room: Path, path: Path) -> None:
    """Remove a room in which `path` was written, once what stood at `path` is back there, but for what was
    written anew. May be interrupted, and done again."""
    if (room / _REPLACED).is_dir():
        _bring_back(room / _REPLACED, path)
    shutil.rmtree(room)


def _bring_back(old: Path, new: Path) -> None:
    """Move what is at `old`, and not at `new`, there."""
    if not os.path.lexists(new):
        old.rename(new)
    elif _is_folder(old) and _is_folder(new):
        for entry in old.iterdir():
            _bring_back(entry, new / entry.name)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file or folder is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
