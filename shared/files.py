"""Files and folders that exist whole or not at all, and locks on folders."""

import fcntl
import glob
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EISDIR
from pathlib import Path

_REPLACED = "replaced"  # in the room of a folder that takes another's place: that other one


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path for a file or a folder that takes the place of `path` once the body is done.

    If the body raises, what was at `path` is left as it was, and nothing beside it; a process that is killed
    leaves a folder `.NAME.PID`, removed when `path` is written again. What others put into a folder is in the
    one that takes its place too. A link is followed; a device or a pipe is written to directly.

    Raises IsADirectoryError for a file that would take a folder's place. An OSError names `path`.
    """
    with naming(path):
        path = path.resolve()
        if path.exists() and not path.is_file() and not path.is_dir():
            yield path
            return
        remove_remains(path.with_name(glob.escape(path.name)), sure=False)
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


def remove_remains(path: Path, *, sure: bool) -> None:
    """Remove what processes that were killed left of `path`, whose last part may be a pattern.

    Unless one is `sure` that nobody else uses such names, only what looks like it. What a living process
    writes is locked, and left alone; its number says little where several containers write to one folder.
    """
    for room in path.parent.glob(f".{path.name}.[0-9]*"):
        found = re.fullmatch(r"\.(.+)\.[0-9]+", room.name)
        if found is None:
            continue
        name = found[1]
        with suppress(BlockingIOError, PermissionError):
            if room.is_dir() and (sure or {entry.name for entry in room.iterdir()} <= {name, _REPLACED}):
                with locked(room):
                    _clear(room, room.with_name(name))
            elif sure and not room.is_dir():
                remove(room)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, made if only it is missing, until the body is done or the process ends, however it does.

    Raises BlockingIOError if another process holds it.
    """
    while True:
        folder.mkdir(exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # removed just now
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(folder, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
            room = path.with_name(f".{path.name}.{number}")
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
    replaced = room / _REPLACED
    if replaced.is_dir():
        if not path.exists():
            replaced.rename(path)
        else:
            for entry in replaced.iterdir():
                if not os.path.lexists(path / entry.name):
                    entry.rename(path / entry.name)
    shutil.rmtree(room)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file or folder is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
