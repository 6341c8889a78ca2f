"""Problems of your own: the operations and structures of Python files, which have names as the built-in ones
do. shared/decorators.py makes them of functions.

To read a file is to execute it. Files are named on the command line, in MATSTREAM_PROBLEMS or in a program,
and are never taken from a client or a stream. But loading the folder of a run or of an exported model
executes the Python files in its problems/ folder: load only folders that you trust. Every stream of such
problems carries a hash of the file, so that a generator and a trainer with different files refuse each other.

A name means what the file that was read last says. A StreamSpec keeps what its names meant when it was made,
so that several versions of a file can be at work in one process.
"""

import ast
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from threading import RLock
from traceback import extract_tb
from types import ModuleType
from typing import IO, Generic, NamedTuple, TypeVar

from matstream.shared.errors import UserError, raised
from matstream.shared.operation import Floats, Operation
from matstream.shared.operations import OPERATIONS
from matstream.shared.structures import STRUCTURES, parts

VARIABLE = "MATSTREAM_PROBLEMS"

Made = TypeVar("Made")


class File(NamedTuple):
    """A file of problems as it was when it was read."""

    path: Path
    content: bytes

    @property
    def digest(self) -> str:
        """A hash of its content, 16 hex digits."""
        return hashlib.sha256(self.content).hexdigest()[:16]


class Source(NamedTuple):
    """A file, and the names that mean what it says; other names in it may mean something else."""

    file: File
    operations: list[str]
    structures: list[str]


@dataclass(frozen=True)
class Structure:
    """A structure of your own: m and n -> how many uniforms a matrix takes; uniforms (B, words) in (0, 1), m
    and n -> matrices (B, m, n)."""

    words: Callable[[int, int], int]
    draw: Callable[[Floats, int, int], Floats]


@dataclass(frozen=True)
class Definition(Generic[Made]):
    """An operation or a structure, and the file it came from; None if it was marked in the program itself."""

    made: Made
    file: File | None


@dataclass(frozen=True)
class Definitions:
    """Operations and structures of your own, by name."""

    operations: dict[str, Definition[Operation]] = field(default_factory=dict)
    structures: dict[str, Definition[Structure]] = field(default_factory=dict)

    def __or__(self, later: "Definitions") -> "Definitions":
        """These and the later ones, which win where both define a name."""
        return Definitions(self.operations | later.operations, self.structures | later.structures)

    def only(self, operations: Iterable[str], structures: Iterable[str]) -> "Definitions":
        """Those of these operations, and of what these structures are made of."""
        made_of = [part for name in structures for part in parts(name)]
        return Definitions(
            {name: self.operations[name] for name in operations if name in self.operations},
            {name: self.structures[name] for name in made_of if name in self.structures},
        )

    @property
    def by_name(self) -> dict[str, File | None]:
        """The file of each, by what it is and its name, like "operation gcd"."""
        return {f"operation {name}": found.file for name, found in self.operations.items()} | {
            f"structure {name}": found.file for name, found in self.structures.items()
        }

    @property
    def sources(self) -> list[Source]:
        """The files that they came from, by their hashes, each with its names. What is marked in a program
        has none."""
        files = {file.digest: file for file in self.by_name.values() if file is not None}
        return [
            Source(
                file,
                [name for name, found in self.operations.items() if found.file == file],
                [name for name, found in self.structures.items() if found.file == file],
            )
            for _, file in sorted(files.items())
        ]

    @property
    def hash(self) -> str | None:
        """The hash of the file that they came from; of several files, what came from which."""
        files = {called: file.digest for called, file in sorted(self.by_name.items()) if file is not None}
        if len(set(files.values())) < 2:
            return next(iter(files.values()), None)
        return ",".join(f"{called} {digest}" for called, digest in files.items())


@dataclass
class _Reading:
    """A file that is being executed, and what it has defined so far."""

    file: File
    found: Definitions
    kept: bool  # whether it was read before, and its names were allowed then


_NONE = Definitions()
_known = _NONE  # what names mean, unless a file that is being read or `meaning` says otherwise
_by_digest: dict[str, Definitions] = {}  # of each file that was read, since a file is executed once
_environment = ""  # the value of MATSTREAM_PROBLEMS whose files were read
_lock = RLock()  # of all of these
_reading: ContextVar[tuple[_Reading, ...]] = ContextVar("_reading", default=())
_meaning: ContextVar[Definitions] = ContextVar("_meaning", default=_NONE)


def known() -> Definitions:
    """All operations and structures of your own that names may mean now. Raises as `read_problems` does, for
    the files of the environment."""
    _read_environment()
    found = _known
    for reading in _reading.get():
        found |= reading.found
    return found | _meaning.get()


def operations() -> dict[str, Operation]:
    """All operations by name, built-in ones among them."""
    return OPERATIONS | {name: found.made for name, found in known().operations.items()}


def operation_named(name: str) -> Operation:
    """An operation. Raises ValueError if none has this name."""
    found = operations()
    if name not in found:
        raise ValueError(f"operation={name!r}: must be one of {', '.join(found)}")
    return found[name]


def structures() -> list[str]:
    """The names of all structures, sorted; beside them there is condition-κ."""
    return sorted({*STRUCTURES, *known().structures})


@contextmanager
def meaning(definitions: Definitions) -> Iterator[None]:
    """Let the names of these definitions mean them until the body is done, whatever was read."""
    token = _meaning.set(_meaning.get() | definitions)
    try:
        yield
    finally:
        _meaning.reset(token)


def read_problems(*places: str | os.PathLike[str]) -> None:
    """Read the operations and structures of Python files, or of modules given by name. Their names then mean
    what these files say, also if an earlier version of a file, or another file, has defined them.

    >>> matstream.read_problems("spectral_norm.py")
    >>> matstream.sample("spectral_norm", dim=3)

    The files that the environment variable MATSTREAM_PROBLEMS names, separated as in PATH, are read when a
    name is first looked up.

    Raises UserError, in one sentence, for a file that cannot be read, for a name that two of them define, and
    for a function that raises, returns a wrong shape or no finite number, or gives the same sample another
    result in another batch."""
    with _lock:
        _read_environment()
        _learn([_read(os.fspath(place)) for place in places])


def _learn(found: Iterable[tuple[str, Definitions]]) -> None:
    """Let names mean these definitions from now on; each is said where it was found. Raises UserError if two
    of them are of one name."""
    global _known
    learned: dict[str, tuple[str, File | None]] = {}
    together = _NONE
    for place, definitions in found:
        for called, file in definitions.by_name.items():
            before, other = learned.setdefault(called, (place, file))
            if other != file:
                raise UserError(f"{called}: is defined by {before} and by {place}: must be by one of them")
        together |= definitions
    _known |= together


def register(name: str, made: Operation | Structure) -> None:
    """Define an operation or a structure in the file that is being read, or if there is none in the program
    itself, where what is marked again replaces what was there. Raises UserError if the file has defined it
    already."""
    global _known
    reading = next(reversed(_reading.get()), None)
    file = None if reading is None else reading.file
    if isinstance(made, Operation):
        defined = Definitions(operations={name: Definition(made, file)})
    else:
        defined = Definitions(structures={name: Definition(made, file)})
    if reading is None:
        with _lock:
            _known |= defined
        return
    twice = defined.by_name.keys() & reading.found.by_name.keys()
    if twice:
        raise UserError(f"{twice.pop()}: exists already, in the same file: choose another name")
    reading.found |= defined


def marked_before() -> list[Structure]:
    """The structures that the file which is being read has defined so far."""
    return [found.made for reading in _reading.get()[-1:] for found in reading.found.structures.values()]


def is_free(name: str, taken: Collection[str]) -> bool:
    """Whether the file that is being read may define a name, which must not be among those that are built in;
    a file that was kept may, since a later version of matstream may have taken its names."""
    return name not in taken or any(reading.kept for reading in _reading.get()[-1:])


def definitions_of(file: File, place: str, kept: bool = False) -> Definitions:
    """What a file defines. It is executed, unless one of the same content was; names go on meaning what they
    meant. With `kept`, it is a copy that a run kept. Raises UserError, in which the file is called
    `place`."""
    with _lock:
        found = _by_digest.get(file.digest)
        if found is None:
            found = next((each.found for each in _reading.get() if each.file.digest == file.digest), None)
        if found is None:
            found = _by_digest[file.digest] = _executed(file, place, kept)
        return found


def definitions_from(sources: Iterable[Source]) -> Definitions:
    """What the names of these sources mean. Raises UserError as `definitions_of` does."""
    found = _NONE
    for file, operations, structures in sources:
        defined = definitions_of(file, str(file.path), kept=True)
        found |= Definitions(
            {name: defined.operations[name] for name in operations},
            {name: defined.structures[name] for name in structures},
        )
    return found


def learn_only(sources: Iterable[Source]) -> None:
    """Let names mean what these sources say, and not what the environment says. Raises UserError as
    `definitions_of` does."""
    global _known, _environment
    with _lock:
        _environment = os.environ.get(VARIABLE, "")
        _known = definitions_from(sources)


def write_sources(sources: Iterable[Source]) -> IO[bytes]:
    """The sources in a temporary file, which has no name, for a child process to read."""
    temporary = TemporaryFile()  # noqa: SIM115
    written = [(str(path), content.decode("latin-1"), *names) for (path, content), *names in sources]
    temporary.write(json.dumps(written).encode())
    temporary.seek(0)
    return temporary


def read_sources(descriptor: int) -> list[Source]:
    """The sources that `write_sources` wrote, from the descriptor of its file, which is closed."""
    with open(descriptor, "rb") as temporary:
        return [
            Source(File(Path(path), content.encode("latin-1")), *names)
            for path, content, *names in json.load(temporary)
        ]


def _read_environment() -> None:
    """Read the files that the environment names, if it has named others or none before. A file that is being
    read knows only what it has defined itself, and what was known before."""
    global _environment
    named = os.environ.get(VARIABLE, "")
    if named == _environment or _reading.get():
        return
    with _lock:
        _learn([_read(place) for place in named.split(os.pathsep) if place])
        _environment = named


def _read(place: str) -> tuple[str, Definitions]:
    path = _file_of(place)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"problem file {place}: cannot be read: {error.strerror or error}") from None
    return place, definitions_of(File(path.resolve(), content), place)


def _file_of(place: str) -> Path:
    """The file at a path, or of a module."""
    if place.endswith(".py"):
        path = Path(place)
    else:
        try:
            found = None if place == "__main__" else importlib.util.find_spec(place)
        except (Exception, SystemExit):  # a package is executed to find a module in it
            found = None
        if found is None or found.origin is None or not found.origin.endswith(".py"):
            raise UserError(
                f"problem file {place}: must be a Python file (.py), or a module that can be imported"
            )
        path = Path(found.origin)
    if not path.is_file():
        raise UserError(f"problem file {place}: there is no such file")
    return path


def _executed(file: File, place: str, kept: bool) -> Definitions:
    """What a file defines when it is executed."""
    module = ModuleType(f"matstream_problems_{file.digest}")
    module.__file__ = str(file.path)
    sys.modules[module.__name__] = module  # dataclasses in the file, for example, look it up
    reading = _Reading(file, _NONE, kept)
    token = _reading.set((*_reading.get(), reading))
    try:
        code = compile(file.content, file.path, "exec")
        _check_imports(file)
        with redirect_stdout(sys.stderr):  # what it prints must not stand among samples
            exec(code, vars(module))
        if reading.found == _NONE:
            raise UserError("it marks no operation and no structure")
    except BaseException as error:
        del sys.modules[module.__name__]
        if isinstance(error, Exception | SystemExit):
            raise UserError(f"problem file {place}: {_said(error, file)}") from error
        raise
    finally:
        _reading.reset(token)
    return reading.found


def _said(error: BaseException, file: File) -> str:
    """What went wrong in a file, and in which line of it."""
    if isinstance(error, UserError):
        return str(error)
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(file.path)]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{raised(error)}{where}"


def _check_imports(file: File) -> None:
    """Raise UserError if a file imports another one beside it: a run keeps only this one, and its generator
    reads only this one."""
    if file.path.parent.name in ("site-packages", "dist-packages"):
        return  # what is beside it is installed
    for node in ast.walk(ast.parse(file.content)):
        if isinstance(node, ast.ImportFrom) and node.level:
            raise UserError("it imports from its own package: must be one file, which works alone")
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if _is_beside(name, file.path):
                raise UserError(f"it imports {name}, a file beside it: must be one file, which works alone")


def _is_beside(name: str, path: Path) -> bool:
    """Whether a module would be imported from a file's own folder."""
    try:
        found = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        return False
    return found is not None and found.origin is not None and Path(found.origin).parent == path.parent
