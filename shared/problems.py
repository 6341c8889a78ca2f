"""Problems of your own: a Python file marks functions as operations or structures, and from then on their
names can be used wherever the name of a built-in one can.

    @matstream.operation(target=lambda m, n: (1, 1), square=True)
    def determinant(a):  # (B, n, n) float64 -> (B, 1, 1)
        \"\"\"det A\"\"\"
        return np.linalg.det(a)[:, None, None]

To read a file is to execute it. Files are named on the command line or in MATSTREAM_PROBLEMS, and are never
taken from a client or a stream. But loading the folder of a run or of an exported model executes the Python
files in its problems/ folder: load only folders that you trust. Every stream of such problems carries a hash
of the file, so that a generator and a trainer with different files refuse each other."""

import hashlib
import importlib.util
import inspect
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from matstream.shared.errors import UserError, first_line
from matstream.shared.operation import Answers, Floats, Operand, Operation, Part, cubic
from matstream.shared.operations import OPERATIONS
from matstream.shared.structures import STRUCTURES as BUILT_IN

Function = Callable[[Floats], Any]

VARIABLE = "MATSTREAM_PROBLEMS"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TRIED = 7  # samples with which a function is tried when its file is read


class File(NamedTuple):
    """A file of problems as it was when it was read."""

    path: Path
    content: bytes


@dataclass(frozen=True)
class Structure:
    """A structure of your own: how many uniforms a matrix takes, and how it is made of them."""

    words: Callable[[int, int], int]
    draw: Callable[[Floats, int, int], Floats]


STRUCTURES: dict[str, Structure] = {}  # those of files that were read
_HASHES: dict[str, str] = {}  # operation or structure -> hash of the file it came from, 16 hex digits
FILES: dict[str, File] = {}  # the files that were read, by their hashes
_reading: list[str] = []  # the hash of the file that is being read


def operation(
    *,
    target: Callable[[int, int], tuple[int, int]],
    square: bool = False,
    symmetric: bool = False,
    operands: Callable[[int, int], Iterable[tuple[int, int]]] | None = None,
    residual: Callable[[Floats, Floats], Floats] | None = None,
    residual_bound: float | None = None,
    name: str | None = None,
    **more: Any,
) -> Callable[[Function], Function]:
    """Mark a function of inputs (B, m, w) that returns targets (B, p, q) as an operation.

    `target` maps m and n, the rows and columns of the first matrix of an input, to p and q. An input is one
    matrix (m, n), or several side by side, whose shapes `operands` returns for m and n; they are square ones
    with `square`, symmetric ones with `symmetric`. The operation has the name of the function, or `name`; the
    first line of the function's docstring says what it computes.

    `residual` (inputs, targets) -> (B,) says how far each target is from the answer, and a sample is drawn
    again if that is over `residual_bound`. Without them the residual is NaN, and a sample is drawn again if
    its target is not finite. `more` are other fields of matstream.shared.operation.Operation, such as
    `deviation`, from which errors are computed; by default predictions are scored by their relative l1 error.

    Raises UserError for a name that is taken or not allowed, and if a first try of the function fails."""

    def mark(function: Function) -> Function:
        own = name or function.__name__
        _check_name("operation", own, OPERATIONS)
        shapes = operands or (lambda m, n: ((m, n),))
        needs = "symmetric" if symmetric else "square" if square else "general"

        def answers(inputs: Floats) -> Answers:
            targets = _called(f"operation {own}", function, inputs)
            if targets.ndim != 3 or len(targets) != len(inputs):
                raise UserError(
                    f"operation {own}: returned an array of shape {targets.shape} for inputs {inputs.shape}: "
                    f"must be (B, p, q) = ({len(inputs)}, p, q)"
                )
            found = np.full(len(inputs), np.nan) if residual is None else residual(inputs, targets)
            return Answers(targets, np.asarray(found, dtype=np.float64))

        about = (inspect.getdoc(function) or own).splitlines()[0]
        made: Operation = Operation(
            **{
                "input_form": {"general": "A (m×n)", "square": "A (n×n)"}.get(needs, "symmetric A (n×n)"),
                "target_form": about,
                "operands": lambda m, n: tuple(Operand(*shape) for shape in shapes(m, n)),
                "parts": lambda m, n: (Part(own, *target(m, n)),),
                "needs": needs,
                "target": answers,
                "residual_bound": residual_bound,
                "cost": cubic(0.0),
                "magnitudes": lambda usual, largest, m, n: _magnitudes(made, usual, largest, m, n),
                **more,
            }
        )
        _try(own, made)
        if "cost" not in more:
            made = _with_cost(made)
        _register(own, OPERATIONS, made)
        return function

    return mark


def structure(
    *, words: Callable[[int, int], int], name: str | None = None
) -> Callable[[Callable[..., Floats]], Callable[..., Floats]]:
    """Mark a function of uniforms (B, words) in (0, 1), m and n that returns matrices (B, m, n) as a
    structure.

    `words` maps m and n to the number of uniforms that one matrix takes. Raises UserError for a name that is
    taken or not allowed, and if a first try of the function fails.
    """

    def mark(function: Callable[..., Floats]) -> Callable[..., Floats]:
        own = name or function.__name__
        _check_name("structure", own, {*BUILT_IN, *STRUCTURES})

        def draw(uniforms: Floats, m: int, n: int) -> Floats:
            found = _called(f"structure {own}", function, uniforms, m, n)
            if found.shape != (len(uniforms), m, n):
                raise UserError(
                    f"structure {own}: returned an array of shape {found.shape} for m={m}, n={n}: must be "
                    f"{(len(uniforms), m, n)}"
                )
            return found

        made = Structure(words, draw)
        _try_structure(own, made)
        _register(own, STRUCTURES, made)
        return function

    return mark


def read_problems(places: Iterable[str] = ()) -> None:
    """Read the operations and structures of Python files, or of modules given by name, and of those that the
    environment variable MATSTREAM_PROBLEMS names, separated as in PATH. Each file is read once.

    Raises UserError, in one sentence, for a file that cannot be read, and for a function that raises, returns
    a wrong shape or no finite number, or gives the same sample another result in another batch."""
    named = filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))
    for place in (*named, *places):
        path = _file_of(place)
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:16]
        if digest not in FILES:
            _run(place, path, content, digest)
            FILES[digest] = File(path.resolve(), content)


def environment() -> dict[str, str]:
    """The environment variables with which a child process reads the same files."""
    return {VARIABLE: os.pathsep.join(str(file.path) for file in FILES.values())} if FILES else {}


def files_of(names: Iterable[str]) -> list[File]:
    """The files that operations and structures of these names came from."""
    return [FILES[digest] for digest in sorted({_HASHES[name] for name in names if name in _HASHES})]


def hash_of(names: Iterable[str]) -> str | None:
    """The hash of the file that these operations and structures came from (of several files: their hashes,
    separated by commas), or None if all are built in."""
    found = sorted({_HASHES[name] for name in names if name in _HASHES})
    return ",".join(found) or None


def _file_of(place: str) -> Path:
    if place.endswith(".py"):
        path = Path(place)
    else:
        try:
            found = importlib.util.find_spec(place)
        except (ImportError, ValueError):
            found = None
        if found is None or found.origin is None:
            raise UserError(
                f"--problems {place}: must be a Python file (.py), or a module that can be imported"
            )
        path = Path(found.origin)
    if not path.is_file():
        raise UserError(f"--problems {place}: there is no such file")
    return path


def _run(place: str, path: Path, content: bytes, digest: str) -> None:
    """Execute a file, which marks its operations and structures; if it fails, none of them is kept."""
    module = ModuleType(f"matstream_problems_{digest}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses in the file, for example, look it up
    before = {*OPERATIONS, *STRUCTURES}
    _reading.append(digest)
    try:
        with redirect_stdout(sys.stderr):  # what it prints must not stand among samples
            exec(compile(content, path, "exec"), vars(module))
        if {*OPERATIONS, *STRUCTURES} == before:
            raise UserError("it marks no operation and no structure")
    except Exception as error:
        for name in {*OPERATIONS, *STRUCTURES} - before:
            OPERATIONS.pop(name, None)
            STRUCTURES.pop(name, None)
            _HASHES.pop(name, None)
        said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"--problems {place}: {said}") from error
    finally:
        _reading.pop()


def _register(name: str, table: dict[str, Any], made: object) -> None:
    table[name] = made
    if _reading:
        _HASHES[name] = _reading[-1]


def _check_name(what: str, name: str, taken: Collection[str]) -> None:
    if not _NAME.fullmatch(name):
        raise UserError(f"{what} {name!r}: must be named by small letters, digits and _")
    if name in taken:
        file = FILES.get(_HASHES.get(name, ""))
        raise UserError(
            f"{what} {name}: exists already{f', from {file.path}' if file else ''}: choose another name"
        )


def _called(called: str, function: Callable[..., Any], *arguments: Any) -> Floats:
    """What a user's function returns, as an array. Raises UserError if the function raises."""
    try:
        return np.asarray(function(*arguments), dtype=np.float64, order="C")
    except Exception as error:
        raise UserError(f"{called}: raised {type(error).__name__}: {first_line(error)}") from error


def _drawn(made: Operation, scale: float, m: int, n: int, count: int) -> NDArray[np.float64]:
    """Uniform inputs (count, m, w), to try an operation with."""
    matrices = np.random.default_rng(0).uniform(-scale, scale, (count, *made.input_shape(m, n)))
    return (matrices + matrices.swapaxes(1, 2)) / 2 if made.symmetric else matrices


def _try(name: str, made: Operation) -> None:
    """Try an operation at small dimensions."""
    for m, n in ((2, 2), (3, 3)) if made.square else ((2, 2), (3, 2), (2, 3)):
        inputs = _drawn(made, 10.0, m, n, _TRIED)
        whole = made.target(inputs)
        shape = made.target_shape(m, n)
        if whole.targets.shape[1:] != shape:
            raise UserError(
                f"operation {name}: returned targets of shape {whole.targets.shape[1:]} for m={m}, n={n}: "
                f"must be {shape}, as its `target` says"
            )
        if not np.isfinite(whole.targets).any():
            raise UserError(f"operation {name}: returned no finite number for m={m}, n={n}")
        _check_alone(f"operation {name}", lambda part, m, n: made.target(part).targets, inputs, m, n)


def _try_structure(name: str, made: Structure) -> None:
    """Try a structure at small dimensions."""
    for n in (2, 3):
        uniforms = np.random.default_rng(0).uniform(size=(_TRIED, made.words(n, n)))
        whole = made.draw(uniforms, n, n)
        if not np.isfinite(whole).all():
            raise UserError(f"structure {name}: returned numbers that are not finite for m={n}, n={n}")
        _check_alone(f"structure {name}", made.draw, uniforms, n, n)


def _check_alone(
    called: str, function: Callable[[Floats, int, int], Floats], batch: Floats, m: int, n: int
) -> None:
    """Raise UserError if what a function of a batch returns for a sample depends on the other samples."""
    cut = _TRIED // 2
    halves = np.concatenate([function(part, m, n) for part in (batch[:cut], batch[cut:])])
    if not np.array_equal(halves, function(batch, m, n), equal_nan=True):
        raise UserError(
            f"{called}: returned another result for the same sample in another batch (m={m}, n={n}): must "
            "depend on that sample alone, to the last bit"
        )


def _with_cost(made: Operation) -> Operation:
    """The operation with its cost, measured on this machine."""
    inputs = _drawn(made, 10.0, 8, 8, 256)
    begun = time.perf_counter()
    made.target(inputs)
    return replace(made, cost=cubic(1e9 * (time.perf_counter() - begun) / len(inputs) / 64))


def _magnitudes(made: Operation, usual: float, largest: float, m: int, n: int) -> tuple[float, float]:
    """How large targets are, estimated from samples."""
    sizes = [np.abs(made.target(_drawn(made, scale, m, n, 256)).targets) for scale in (usual, largest)]
    finite = [size[np.isfinite(size) & (size > 0)] for size in sizes]
    if not all(map(len, finite)):
        return usual, largest
    return float(np.median(finite[0])), 10 * float(finite[1].max())
