"""@matstream.operation and @matstream.structure, which make operations and structures of a user's functions.

    @matstream.operation(target=lambda m, n: (1, 1), square=True)
    def determinant(a):  # (B, n, n) float64 -> (B, 1, 1)
        \"\"\"det A\"\"\"
        return np.linalg.det(a)[:, None, None]

A function is tried when it is marked, on a few samples of a few small sizes, and its results are checked
whenever it is called.
"""

import inspect
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from matstream.shared.arrays import real_numbers
from matstream.shared.errors import Problem, RefusedError, first_line
from matstream.shared.operation import Answers, Floats, Operand, Operation, Part, cubic
from matstream.shared.operations import OPERATIONS
from matstream.shared.problems import Structure, register
from matstream.shared.structures import STRUCTURES

Function = Callable[[Floats], Any]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TRIED = 7  # samples with which a function is tried
_TIMED = 256  # samples with which its cost is measured
_SLOW = 1e6  # nanoseconds a sample from which fewer do
_SIZES = ((2, 2), (3, 2), (2, 3), (4, 4), (5, 5), (8, 8), (1, 2), (1, 4), (4, 1))  # m and n that are tried
_ENOUGH = 3  # sizes that a function takes, until which others are tried


class FailedError(RefusedError):
    """A user's function that raised an error."""


def operation(
    *,
    target: Callable[[int, int], tuple[int, int]],
    square: bool = False,
    symmetric: bool = False,
    operands: Callable[[int, int], Iterable[tuple[int, int]]] | None = None,
    residual: Callable[[Floats, Floats], Any] | None = None,
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
    again if that is over `residual_bound`. Without them the residual is NaN. A sample whose target is not
    finite is always drawn again. `more` are other fields of matstream.shared.operation.Operation, such as
    `deviation`, from which errors are computed; by default predictions are scored by their relative l1 error.

    The function is tried at sizes from 2×2 to 8×8, and with vectors, until it has taken three of them; it may
    raise an error for the others. Its arrays must not be written to. Raises UserError for a name that is not
    allowed, and if the function takes no size, or returns a wrong shape, no real numbers, or something else
    for the same sample in another batch."""

    def mark(function: Function) -> Function:
        own = name or function.__name__
        _check_name("operation", own, OPERATIONS)
        if residual_bound is not None and (residual is None or not 0 <= residual_bound < math.inf):
            raise _refused(
                "operation",
                own,
                f"residual_bound={residual_bound!r}: must be a number from 0 on, and needs `residual`",
            )
        shapes = operands or (lambda m, n: ((m, n),))
        needs = "symmetric" if symmetric else "square" if square else "general"

        def answers(inputs: Floats) -> Answers:
            targets = _called("operation", own, "answers", function, inputs)
            if targets.ndim != 3 or len(targets) != len(inputs):
                said = f"returned an array of shape {targets.shape} for inputs {inputs.shape}"
                raise _refused("operation", own, f"{said}: must be (B, p, q) = ({len(inputs)}, p, q)")
            if residual is None:
                return Answers(targets, np.full(len(inputs), np.nan))
            found = _called("operation", own, "residuals", residual, inputs, targets)
            if found.shape != (len(inputs),):
                said = f"its `residual` returned an array of shape {found.shape} for inputs {inputs.shape}"
                raise _refused("operation", own, f"{said}: must be ({len(inputs)},)")
            return Answers(targets, np.where(np.isfinite(targets).all(axis=(1, 2)), found, np.nan))

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
        sizes = _try(own, made)
        if "cost" not in more:
            made = _with_cost(made, *max(sizes, key=math.prod))
        register({own: made}, {})
        return function

    return mark


def structure(
    *, words: Callable[[int, int], int], name: str | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function of uniforms (B, words) in (0, 1), m and n that returns matrices (B, m, n) as a
    structure.

    `words` maps m and n to the number of uniforms that one matrix takes. The function is tried as those of
    operations are. Raises UserError for a name that is not allowed, and if the function takes no size, or
    returns a wrong shape, numbers that are not real and finite, or something else for the same sample in
    another batch."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        own = name or function.__name__
        _check_name("structure", own, STRUCTURES)

        def draw(uniforms: Floats, m: int, n: int) -> Floats:
            found = _called("structure", own, "matrices", function, uniforms, m, n)
            if found.shape != (len(uniforms), m, n):
                said = f"returned an array of shape {found.shape} for m={m}, n={n}"
                raise _refused("structure", own, f"{said}: must be {(len(uniforms), m, n)}")
            if not np.isfinite(found).all():
                raise _refused("structure", own, f"returned numbers that are not finite for m={m}, n={n}")
            return found

        made = Structure(words, draw)
        _try_structure(own, made)
        register({}, {own: made})
        return function

    return mark


def _check_name(what: str, name: str, taken: Collection[str]) -> None:
    if not _NAME.fullmatch(name):
        raise _refused(what, name, "must be named by small letters, digits and _")
    if name in taken:
        raise _refused(what, name, "exists already: choose another name")


def _refused(what: str, name: str, reason: str) -> RefusedError:
    return RefusedError([Problem(what, name, reason)])


def _called(what: str, name: str, result: str, function: Callable[..., Any], *arguments: Any) -> Floats:
    """What a user's function returns, as a new array of real numbers without −0; it cannot write to the
    arrays that it gets. Raises RefusedError if it returns something else, FailedError if it raises."""
    given = [_readonly(argument) if isinstance(argument, np.ndarray) else argument for argument in arguments]
    try:
        found = function(*given)
    except Exception as error:
        said = f"raised {type(error).__name__}: {first_line(error)}"
        raise FailedError([Problem(what, name, said)]) from error
    try:
        return np.add(real_numbers(found, result), 0.0, order="C")
    except ValueError as error:
        raise _refused(what, name, str(error)) from None


def _readonly(array: Floats) -> Floats:
    view = array.view()
    view.flags.writeable = False
    return view


def _drawn(made: Operation, scale: float, m: int, n: int, count: int) -> Floats:
    """Uniform inputs (count, m, w), to try an operation with."""
    matrices = np.random.default_rng(0).uniform(-scale, scale, (count, *made.input_shape(m, n)))
    return (matrices + matrices.swapaxes(1, 2)) / 2 if made.symmetric else matrices


def _try(name: str, made: Operation) -> list[tuple[int, int]]:
    """Try an operation at small sizes; return those that it takes."""

    def one(m: int, n: int) -> None:
        inputs = _drawn(made, 10.0, m, n, _TRIED)
        targets = made.target(inputs).targets
        wrong = made.wrong_shape(targets, m, n)
        if wrong is not None:
            raise _refused("operation", name, wrong)
        if not np.isfinite(targets).any():
            raise _refused("operation", name, f"returned no finite number for m={m}, n={n}")
        _check_alone("operation", name, lambda part, m, n: made.target(part).targets, inputs, m, n)

    return _taken(one, square=made.square)


def _try_structure(name: str, made: Structure) -> None:
    """Try a structure at small sizes."""

    def one(m: int, n: int) -> None:
        uniforms = np.random.default_rng(0).uniform(size=(_TRIED, made.words(m, n)))
        _check_alone("structure", name, made.draw, uniforms, m, n)

    _taken(one, square=False)


def _taken(try_one: Callable[[int, int], None], *, square: bool) -> list[tuple[int, int]]:
    """The first sizes at which a function raises no error. If there is none, raises its first error."""
    taken, failed = [], None
    for m, n in _sizes(square=square):
        try:
            try_one(m, n)
            taken.append((m, n))
        except FailedError as error:
            failed = failed or error
        if len(taken) == _ENOUGH:
            break
    if failed is not None and not taken:
        raise failed
    return taken


def _sizes(*, square: bool) -> Iterator[tuple[int, int]]:
    return ((m, n) for m, n in _SIZES if m == n or not square)


def _check_alone(
    what: str, name: str, function: Callable[[Floats, int, int], Floats], batch: Floats, m: int, n: int
) -> None:
    """Raise UserError if what a function of a batch returns for a sample depends on the other samples."""
    whole, cut = function(batch, m, n), _TRIED // 2
    halves = np.concatenate([function(part, m, n) for part in (batch[:cut], batch[cut:])])
    if not np.array_equal(halves, whole, equal_nan=True):
        said = f"returned another result for the same sample in another batch (m={m}, n={n})"
        raise _refused(what, name, f"{said}: must depend on that sample alone, to the last bit")


def _with_cost(made: Operation, m: int, n: int) -> Operation:
    """The operation with its cost, measured on this machine at one size."""
    inputs = _drawn(made, 10.0, m, n, _TIMED)
    nanoseconds = _nanoseconds(made, inputs[:_TRIED])
    if nanoseconds < _SLOW:
        nanoseconds = _nanoseconds(made, inputs)
    return replace(made, cost=cubic(nanoseconds / (m * n)))


def _nanoseconds(made: Operation, inputs: Floats) -> float:
    """How long the target of a sample takes."""
    begun = time.perf_counter_ns()
    made.target(inputs)
    return (time.perf_counter_ns() - begun) / len(inputs)


def _magnitudes(made: Operation, usual: float, largest: float, m: int, n: int) -> tuple[float, float]:
    """How large targets are, estimated from samples."""
    sizes = [np.abs(made.target(_drawn(made, scale, m, n, 256)).targets) for scale in (usual, largest)]
    finite = [size[np.isfinite(size) & (size > 0)] for size in sizes]
    if not all(map(len, finite)):
        return usual, largest
    return float(np.median(finite[0])), 10 * float(finite[1].max())
