"""@matstream.operation and @matstream.structure, which make operations and structures of a user's functions.

    @matstream.operation(target=lambda m, n: (1, 1))
    def spectral_norm(a):  # (B, m, n) float64 -> (B, 1, 1)
        \"\"\"‖A‖₂\"\"\"
        return np.linalg.norm(a, 2, axis=(1, 2))[:, None, None]

A function is tried when it is marked, on a few samples of a few small sizes, and its results are checked
whenever it is called.
"""

import inspect
import math
import re
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from matstream.shared.arrays import real_numbers
from matstream.shared.errors import Problem, RefusedError, one_line, raised, shortened
from matstream.shared.operation import Answers, Floats, Operand, Operation, Part, cubic
from matstream.shared.operations import OPERATIONS
from matstream.shared.problems import Structure, is_free, marked_before, register
from matstream.shared.structures import STRUCTURES

Function = Callable[[Floats], Any]
Draw = Callable[[float, int, int, int], Floats]  # (scale, m, n, count) -> inputs (count, m, w)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TRIED = 7  # samples with which a function is tried
_TIMED = 256  # samples with which its cost is measured
_SLOW = 1e4  # nanoseconds over m·n from which fewer samples do
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

    An operand with one column, beside the first, is a vector, to which no structure applies. A symmetric
    operation has one operand.

    `residual` (inputs, targets) -> (B,) says how far each target is from the answer, and a sample is drawn
    again if that is over `residual_bound`. Without them the residual is NaN. A sample whose target is not
    finite is always drawn again. `more` are other fields of matstream.shared.operation.Operation, such as
    `deviation`, from which errors are computed; by default predictions are scored by their relative l1 error.

    The function is tried at sizes from 2×2 to 8×8, and with vectors, until it has taken three of them; it may
    raise an error for the others, or return nothing finite. It is tried on uniform entries in [−10, 10]; if
    it takes none of these, on matrices of the structures that its file has marked before it, on positive
    definite ones, and on whole numbers from 1 to 9. Its arrays must not be written to. Raises UserError for a
    name that is not allowed, and if the function takes nothing of this, or returns a wrong shape, no real
    numbers, or something else for the same sample in another batch."""

    def mark(function: Function) -> Function:
        own = name or function.__name__
        _check_name("operation", own, OPERATIONS)
        if residual_bound is not None and (residual is None or not 0 <= residual_bound < math.inf):
            raise _refused(
                "operation",
                own,
                f"residual_bound={residual_bound!r}: must be a number from 0 on, and needs `residual`",
            )
        needs = "symmetric" if symmetric else "square" if square else "general"
        sized = partial(_sized, "operation", own)

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
                "operands": partial(_operands, own, operands, symmetric),
                "parts": lambda m, n: (Part(own, *sized("target", target, 2, m, n)),),
                "needs": needs,
                "target": answers,
                "residual_bound": residual_bound,
                "cost": cubic(0.0),
                "magnitudes": lambda usual, largest, m, n: (usual, largest),  # until it is tried
                **more,
            }
        )
        draw, sizes = _tried(own, made)
        found: dict[str, Any] = {
            "cost": cubic(_nanoseconds(made, draw, *max(sizes, key=math.prod))),
            "magnitudes": partial(_magnitudes, made, draw),
        }
        made = replace(made, **(found | more))
        register(own, made)
        return function

    return mark


def structure(
    *, words: Callable[[int, int], int], name: str | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function of uniforms (B, words) in (0, 1), m and n that returns matrices (B, m, n) as a
    structure.

    `words` maps m and n to the number of uniforms that one matrix takes. The matrices A of symmetric
    operations are (A + Aᵀ)/2 of those that the function returns. It is tried at the sizes at which operations
    are. Raises UserError for a name that is not allowed, and if the function takes no size, or returns a
    wrong shape, numbers that are not real and finite, or something else for the same sample in another
    batch."""

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

        made = Structure(lambda m, n: _sized("structure", own, "words", words, 1, m, n)[0], draw)
        _try_structure(own, made)
        register(own, made)
        return function

    return mark


def _check_name(what: str, name: str, taken: Collection[str]) -> None:
    if not _NAME.fullmatch(name):
        raise _refused(what, name, "must be named by small letters, digits and _")
    if not is_free(name, taken):
        raise _refused(what, name, "exists already: choose another name")


def _refused(what: str, name: str, reason: str) -> RefusedError:
    return RefusedError([Problem(what, name, reason)])


def _run(what: str, name: str, called: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a user's function returns. Raises FailedError, which calls it `called`, if it raises."""
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        raise FailedError([Problem(what, name, f"{called}raised {raised(error)}")]) from error


def _called(what: str, name: str, result: str, function: Callable[..., Any], *arguments: Any) -> Floats:
    """What a user's function returns, as a new array of real numbers without −0; it cannot write to the
    arrays that it gets. Raises RefusedError if it returns something else, FailedError if it raises."""
    given = [_readonly(argument) if isinstance(argument, np.ndarray) else argument for argument in arguments]
    found = _run(what, name, "", function, *given)
    try:
        return np.add(real_numbers(found, result), 0.0, order="C")
    except ValueError as error:
        raise _refused(what, name, one_line(str(error))) from None


def _sized(
    what: str, name: str, part: str, function: Callable[..., Any], count: int, *dims: int
) -> tuple[int, ...]:
    """The whole numbers that a user's function returns for m and n, `count` of them. Raises FailedError if it
    raises, RefusedError if it returns something else."""
    found = _run(what, name, f"its `{part}` ", function, *dims)
    numbers = found if isinstance(found, tuple | list) else (found,)
    if len(numbers) != count or not all(isinstance(k, int | np.integer) and k >= 1 for k in numbers):
        said = f"its `{part}` returned {shortened(found)} for m={dims[0]}, n={dims[1]}"
        raise _refused(what, name, f"{said}: must be {count} whole numbers from 1 on")
    return tuple(map(int, numbers))


def _operands(
    name: str, shapes: Callable[[int, int], Iterable[Any]] | None, symmetric: bool, m: int, n: int
) -> tuple[Operand, ...]:
    """The operands of a user's operation, one matrix (m, n) if it says nothing of them."""
    if shapes is None:
        return (Operand(m, n),)
    given = _run("operation", name, "its `operands` ", lambda: list(shapes(m, n)))
    found = [_sized("operation", name, "operands", lambda *_, shape=shape: shape, 2, m, n) for shape in given]
    if len({rows for rows, _ in found}) != 1 or (symmetric and len(found) > 1):
        rule = "one of a symmetric operation" if symmetric else "of one number of rows, since side by side"
        raise _refused("operation", name, f"its `operands` returned {shortened(given)}: must be {rule}")
    return tuple(
        Operand(rows, cols, vector=cols == 1 and place > 0) for place, (rows, cols) in enumerate(found)
    )


def _readonly(array: Floats) -> Floats:
    view = array.view()
    view.flags.writeable = False
    return view


def _draws(made: Operation) -> list[Draw]:
    """The ways to draw inputs (count, m, w) of a scale with which an operation is tried."""
    rng = np.random.default_rng

    def uniform(scale: float, m: int, n: int, count: int) -> Floats:
        return rng(0).uniform(-scale, scale, (count, *made.input_shape(m, n)))

    def structured(own: Structure, scale: float, m: int, n: int, count: int) -> Floats:
        parts = [
            own.draw(rng(i).uniform(size=(count, own.words(operand.rows, operand.cols))), *operand[:2])
            for i, operand in enumerate(made.operands(m, n))
        ]
        return np.concatenate(parts, axis=2)

    def definite(scale: float, m: int, n: int, count: int) -> Floats:
        half = uniform(math.sqrt(scale), m, n, count)
        return half @ half.swapaxes(1, 2) if half.shape[1] == half.shape[2] else np.abs(half)

    def whole(scale: float, m: int, n: int, count: int) -> Floats:
        return rng(0).integers(1, 10, (count, *made.input_shape(m, n))).astype(np.float64)

    return [uniform, *(partial(structured, own) for own in marked_before()), definite, whole]


def _tried(name: str, made: Operation) -> tuple[Draw, list[tuple[int, int]]]:
    """Try an operation at small sizes; return the first way to draw inputs of which it takes any, and the
    sizes that it takes."""

    def one(draw: Draw, m: int, n: int) -> None:
        inputs = draw(10.0, m, n, _TRIED)
        before = inputs.copy()
        targets = made.target(inputs).targets
        if not np.array_equal(inputs, before):
            raise _refused("operation", name, "wrote to its inputs: must not")
        wrong = made.wrong_shape(targets, m, n)
        if wrong is not None:
            raise _refused("operation", name, wrong)
        if not np.isfinite(targets).any():
            said = f"returned no finite number for m={m}, n={n}"
            raise FailedError([Problem("operation", name, said)])
        _check_alone("operation", name, lambda part, m, n: made.target(part).targets, inputs, m, n)
        _check_deviation(name, made, inputs, targets)

    failed = None
    for draw in _draws(made):
        symmetric = partial(_symmetric, draw) if made.symmetric else draw
        try:
            return symmetric, _taken(partial(one, symmetric), square=made.square)
        except FailedError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _symmetric(draw: Draw, scale: float, m: int, n: int, count: int) -> Floats:
    matrices = draw(scale, m, n, count)
    return (matrices + matrices.swapaxes(1, 2)) / 2


def _check_deviation(name: str, made: Operation, inputs: Floats, targets: Floats) -> None:
    """Raise RefusedError if the `deviation` of the targets from themselves is not three batches."""
    try:
        parts = [real_numbers(part, "arrays") for part in made.deviation(inputs, targets, targets)]
        fits = len(parts) == 3 and all(len(part) == len(targets) for part in parts)
    except (Exception, SystemExit) as error:
        raise _refused("operation", name, f"its `deviation` raised {raised(error)}") from error
    if not fits:
        raise _refused("operation", name, "its `deviation` must return a Deviation of three arrays (B, …)")


def _try_structure(name: str, made: Structure) -> None:
    """Try a structure at small sizes."""

    def one(m: int, n: int) -> None:
        uniforms = np.random.default_rng(0).uniform(size=(_TRIED, made.words(m, n)))
        _check_alone("structure", name, made.draw, uniforms, m, n)

    _taken(one, square=False)


def _taken(try_one: Callable[[int, int], None], *, square: bool) -> list[tuple[int, int]]:
    """The first sizes at which a function raises no error. If there is none, raises its first error."""
    taken, failed = [], None
    for m, n in (size for size in _SIZES if size[0] == size[1] or not square):
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


def _check_alone(
    what: str, name: str, function: Callable[[Floats, int, int], Floats], batch: Floats, m: int, n: int
) -> None:
    """Raise UserError if what a function of a batch returns for a sample depends on the other samples."""
    whole, cut = function(batch, m, n), _TRIED // 2
    halves = np.concatenate([function(part, m, n) for part in (batch[:cut], batch[cut:])])
    if not np.array_equal(halves, whole, equal_nan=True):
        said = f"returned another result for the same sample in another batch (m={m}, n={n})"
        raise _refused(what, name, f"{said}: must depend on that sample alone, to the last bit")


def _nanoseconds(made: Operation, draw: Draw, m: int, n: int) -> float:
    """How long a target takes on this machine, over m·n."""
    for count in (_TRIED, _TIMED):
        inputs = draw(10.0, m, n, count)
        begun = time.perf_counter_ns()
        made.target(inputs)
        found = (time.perf_counter_ns() - begun) / (count * m * n)
        if found > _SLOW:  # a slow function is not called with many samples
            break
    return found


def _magnitudes(
    made: Operation, draw: Draw, usual: float, largest: float, m: int, n: int
) -> tuple[float, float]:
    """How large targets are, estimated from samples."""
    sizes = [np.abs(made.target(draw(scale, m, n, 256)).targets) for scale in (usual, largest)]
    finite = [size[np.isfinite(size) & (size > 0)] for size in sizes]
    if not all(map(len, finite)):
        return usual, largest
    return float(np.median(finite[0])), 10 * float(finite[1].max())
