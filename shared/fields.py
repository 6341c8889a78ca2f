"""The fields of a stream spec: how each is read from a URL, TOML or Python, and what values it may have."""

import math
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from matstream.shared.problems import operations, structures
from matstream.shared.structures import BASES, COMPOSED, CONDITION, MAX_DEPTH, STRUCTURES, parts

COEFFICIENTS = ("uniform", "gaussian", "integers", "sparse", "log_uniform")
WITH_ZEROS = ("integers", "sparse")  # coefficients that are exactly 0 with a probability above 0
SPREAD = 1000  # the largest magnitude of log_uniform coefficients divided by the smallest
SPECTRA = ("abs_laplace", "gaussian", "laplace", "marchenko_pastur", "positive", "semicircle", "uniform")
POSITIVE_SPECTRA = ("positive", "abs_laplace", "marchenko_pastur")  # without eigenvalues below 0
MAX_CONDITION = 1e12
MAX_DIM = 4096
MAX_INTEGER = 2**52  # of integers coefficients, so that all of them, and a sum of two, are exact
MAX_WEIGHT = 10**6
MAX_INDEX = 2**63 - 1
MAX_STRUCTURES = 16  # in a mixture
MAX_MAGNITUDE = 1e100  # squares of entries stay finite, and every encoding can write them


class IntRange(NamedTuple):
    """An inclusive range of whole numbers, `low` = `high` when fixed."""

    low: int
    high: int

    @property
    def fixed(self) -> bool:
        return self.low == self.high


class Mixture(tuple[str, ...]):
    """Names, sorted, one of which is drawn for each sample. `weights` say how often each is: whole numbers in
    lowest terms, all 1 where each is as likely."""

    weights: tuple[int, ...]

    def __new__(cls, names: Iterable[str], weights: Iterable[int] | None = None) -> Self:
        given = list(names)
        by_name = dict(zip(given, weights or [1] * len(given), strict=True))
        common = math.gcd(*by_name.values())
        made = super().__new__(cls, sorted(by_name))
        made.weights = tuple(by_name[name] // common for name in made)
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, tuple):
            return NotImplemented
        return tuple(self) == tuple(other) and self.weights == getattr(other, "weights", self._alike)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __getnewargs__(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        return tuple(self), self.weights

    def __str__(self) -> str:
        """As it is written in a URL."""
        if self.weights == self._alike:
            return ",".join(self)
        return ",".join(f"{name}:{weight}" for name, weight in zip(self, self.weights, strict=True))

    @property
    def _alike(self) -> tuple[int, ...]:
        return (1,) * len(self)


def _whole(value: Any, allowed: str) -> int:
    """Read a whole number in its plain form: no sign, exponent, underscore, fraction or bool."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,40}", value):
        return int(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(f"must be {allowed}")
    return int(value.__index__())


def whole(low: int, high: int) -> tuple[PlainValidator, WithJsonSchema]:
    """Annotations for a field that is a whole number from `low` to `high`."""
    allowed = f"a whole number from {low} to {high}"

    def read(value: Any) -> int:
        number = _whole(value, allowed)
        if not low <= number <= high:
            raise ValueError(f"must be {allowed}")
        return number

    return PlainValidator(read), WithJsonSchema({"type": "integer", "minimum": low, "maximum": high})


def _read_range(value: Any, high: int, allowed: str) -> IntRange:
    if isinstance(value, IntRange):
        ends = [value.low, value.high]
    else:
        ends = [_whole(end, allowed) for end in (value.split("-") if isinstance(value, str) else [value])]
    if len(ends) > 2 or not 1 <= ends[0] <= ends[-1] <= high:
        raise ValueError(f"must be {allowed}")
    return IntRange(ends[0], ends[-1])


def _read_dim(value: Any) -> IntRange:
    return _read_range(
        value, MAX_DIM, f'a whole number from 1 to {MAX_DIM} or an increasing range of them like "5-15"'
    )


def _read_number(value: Any, allowed: str, low: float, high: float) -> float:
    """Read a finite number in [low, high]; a whole one as int, so that 10.0 is written 10."""
    try:
        if isinstance(value, bool | bytes | bytearray):
            raise TypeError
        if isinstance(value, str) and not re.fullmatch(r"[0-9.eE+-]+", value):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"must be {allowed}") from None
    if not (math.isfinite(number) and low <= number <= high):
        raise ValueError(f"must be {allowed}")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def number(low: float, high: float) -> tuple[PlainValidator, WithJsonSchema]:
    """Annotations for a field that is a number from `low` to `high`."""
    read = partial(_read_number, allowed=f"a number from {low:g} to {high:g}", low=low, high=high)
    return PlainValidator(read), WithJsonSchema({"type": "number", "minimum": low, "maximum": high})


def _read_scale(value: Any) -> float | IntRange:
    allowed = f'a number from {1 / MAX_MAGNITUDE:g} to {MAX_MAGNITUDE:g} or an increasing range like "1-100"'
    if isinstance(value, IntRange) or (isinstance(value, str) and re.fullmatch(r"[0-9]+-[0-9]+", value)):
        scale = _read_range(value, 10**6, "increasing and from 1 to 1000000 if it is a range")
        return scale.low if scale.fixed else scale
    return _read_number(value, allowed, 1 / MAX_MAGNITUDE, MAX_MAGNITUDE)


def plain(value: Any) -> Any:
    """A field's value in its canonical form: a number, or a string as it is written in a URL."""
    if isinstance(value, IntRange):
        return value.low if value.fixed else f"{value.low}-{value.high}"
    return str(value) if isinstance(value, Mixture) else value


@dataclass(frozen=True)
class _Described:
    """The JSON schema of a field, made when it is asked for, since a problem file may have added names."""

    make: Callable[[], dict[str, Any]]

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        return self.make()


def read_mixture(value: Any, names: Collection[str]) -> Mixture:
    """Read one name or several, with weights or without. Raises ValueError, which says what is allowed."""
    if isinstance(value, Mixture) and set(value) <= set(names):
        return value
    allowed = f"must be one or several of {', '.join(sorted(names))}"

    def read(part: str) -> tuple[str, str | None]:
        name, colon, weight = part.partition(":")
        if name not in names:
            raise ValueError(f"{allowed}, separated by commas")
        return name, weight if colon else None

    return _read_mixture(value, read, allowed)


def _number_of(digits: str) -> int:
    """The number that up to seven digits make, 0 for anything else."""
    return int(digits) if re.fullmatch(r"[0-9]{1,7}", digits) else 0


def _read_mixture(value: Any, read: Callable[[str], tuple[str, str | None]], allowed: str) -> Mixture:
    """Read names, each with a weight or without, which `read` takes apart."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list | tuple | set | frozenset) or not all(isinstance(a, str) for a in given):
        raise ValueError(allowed)
    weights: dict[str, int] = {}
    weighted: set[str] = set()
    for name, weight in (read(part) for each in given for part in each.split(",")):
        if weight is not None and not 1 <= _number_of(weight) <= MAX_WEIGHT:
            raise ValueError(f'must have whole numbers from 1 to {MAX_WEIGHT} as weights, like "{name}:3"')
        if name in weights and (weight is not None or name in weighted):
            raise ValueError(f"must name {name} once")
        weighted |= set() if weight is None else {name}
        weights[name] = int(weight or 1)
    if not weights:
        raise ValueError(allowed)
    return Mixture(weights, weights.values())


def _mixture(
    names: Callable[[], Collection[str]],
) -> tuple[PlainValidator, PlainSerializer, _Described]:
    """Annotations for a field of one or several names, which are looked up when the field is read."""

    def describe() -> dict[str, Any]:
        one = f"({'|'.join(sorted(names()))})(:[0-9]{{1,7}})?"
        return {"type": "string", "pattern": f"^{one}(,{one})*$"}

    read = PlainValidator(lambda value: read_mixture(value, names()))
    return read, PlainSerializer(plain), _Described(describe)


def read_structures(value: Any) -> Mixture:
    """Read one structure or several. A number after the last colon is a weight: no structure is one."""
    composed = ", ".join(COMPOSED)
    never = ", ".join(sorted(set(STRUCTURES) - set(BASES)))
    allowed = (
        f"must be one or several of {', '.join(structures())}, or condition-κ with κ from 1 to "
        f'{MAX_CONDITION:g}, separated by commas, each with a weight or without, like "none:3"; {composed} '
        f"may be followed by a colon and another, but not by {never}"
    )

    def read(part: str) -> tuple[str, str | None]:
        name, colon, weight = part.rpartition(":")
        if colon and re.fullmatch(r"[0-9.eE+-]+", weight):
            return _read_structure(name, allowed), weight
        return _read_structure(part, allowed), None

    if isinstance(value, Mixture):
        return Mixture([_read_structure(name, allowed) for name in value], value.weights)
    found = _read_mixture(value, read, allowed)
    if len(found) > MAX_STRUCTURES:
        raise ValueError(f"must be at most {MAX_STRUCTURES} of them")
    return found


def _read_structure(name: str, allowed: str) -> str:
    """Read the name of one structure, and write its numbers in their plain form."""
    given = parts(name)
    if len(given) > MAX_DEPTH:
        raise ValueError(allowed)
    inner = [name for name in structures() if name in BASES or name not in STRUCTURES]
    for place, part in enumerate(given):
        if part.startswith(CONDITION):
            kappa = part.removeprefix(CONDITION)
            given[place] = f"{CONDITION}{_read_number(kappa, allowed[8:], 1, MAX_CONDITION)!r}"
        elif part not in (inner if place else structures()):
            raise ValueError(allowed)
    if any(part not in COMPOSED for part in given[:-1]):
        raise ValueError(allowed)
    return ":".join(given)


_whole_or_range = {"type": "string", "pattern": "^[0-9]+(-[0-9]+)?$", "examples": ["5", "5-15"]}
_number_or_range = {"type": "string", "pattern": "^[0-9.eE+-]+$", "examples": ["10", "1-100"]}


def _described_structures() -> dict[str, Any]:
    one = f"(({'|'.join(COMPOSED)}):){{0,{MAX_DEPTH - 1}}}({'|'.join(structures())}|{CONDITION}[0-9.eE+-]+)"
    weighted = f"{one}(:[0-9]{{1,7}})?"
    return {
        "type": "string",
        "pattern": f"^{weighted}(,{weighted})*$",
        "examples": ["toeplitz", "condition-100", "block_diagonal:toeplitz", "none:3,toeplitz"],
    }


Dim = Annotated[IntRange, PlainValidator(_read_dim), PlainSerializer(plain), WithJsonSchema(_whole_or_range)]
Split = Literal["train", "valid", "test"]
Operations = Annotated[Mixture, *_mixture(operations)]
Spectra = Annotated[Mixture, *_mixture(lambda: SPECTRA)]
Coefficients = Annotated[Mixture, *_mixture(lambda: COEFFICIENTS)]
Scale = Annotated[
    float | IntRange, PlainValidator(_read_scale), PlainSerializer(plain), WithJsonSchema(_number_or_range)
]
Structures = Annotated[
    Mixture, PlainValidator(read_structures), PlainSerializer(plain), _Described(_described_structures)
]
Noise = Annotated[float, *number(0, 1e6)]
Magnitude = Annotated[float, *number(1 / MAX_MAGNITUDE, MAX_MAGNITUDE)]
Index = Annotated[int, *whole(0, MAX_INDEX)]
Count = Annotated[int, *whole(1, MAX_INDEX)]


SEMICIRCLE, UNIFORM, NONE = Mixture(["semicircle"]), Mixture(["uniform"]), Mixture(["none"])
