"""StreamSpec: the validated description of a stream, its canonical form and its keys."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)

from matstream.shared.errors import conflict
from matstream.shared.operation import Operation, Shape
from matstream.shared.operations import OPERATIONS
from matstream.shared.problems import (
    Definitions,
    Source,
    definitions_from,
    known,
    meaning,
    operations,
    structures,
)
from matstream.shared.problems import Structure as OwnStructure
from matstream.shared.structures import (
    BASES,
    COMPOSED,
    CONDITION,
    MAX_DEPTH,
    STRUCTURES,
    parts,
    prime_within,
    rules,
)

COEFFICIENTS = ("uniform", "gaussian")
SPECTRA = ("abs_laplace", "gaussian", "laplace", "marchenko_pastur", "positive", "semicircle", "uniform")
POSITIVE_SPECTRA = ("positive", "abs_laplace", "marchenko_pastur")  # without eigenvalues below 0
MAX_CONDITION = 1e12
MAX_DIM = 4096
MAX_WEIGHT = 10**6
MAX_INDEX = 2**63 - 1
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


def _plain(value: Any) -> Any:
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


def _read_mixture(value: Any, names: Collection[str]) -> Mixture:
    if isinstance(value, Mixture) and set(value) <= set(names):
        return value
    allowed = f"one or several of {', '.join(sorted(names))}"
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list | tuple | set | frozenset) or not all(isinstance(a, str) for a in given):
        raise ValueError(f"must be {allowed}")
    weights: dict[str, int] = {}
    for part in (part for each in given for part in each.split(",")):
        name, colon, weight = part.partition(":")
        if name not in names:
            raise ValueError(f"must be {allowed}, separated by commas")
        if colon and not (re.fullmatch(r"[0-9]{1,7}", weight) and 1 <= int(weight) <= MAX_WEIGHT):
            raise ValueError(f'must have whole numbers from 1 to {MAX_WEIGHT} as weights, like "{name}:3"')
        if colon and name in weights:
            raise ValueError(f"must name {name} once")
        weights[name] = int(weight or 1)
    if not weights:
        raise ValueError(f"must be {allowed}")
    return Mixture(weights, weights.values())


def _mixture(
    names: Callable[[], Collection[str]],
) -> tuple[PlainValidator, PlainSerializer, _Described]:
    """Annotations for a field of one or several names, which are looked up when the field is read."""

    def describe() -> dict[str, Any]:
        one = f"({'|'.join(sorted(names()))})(:[0-9]{{1,7}})?"
        return {"type": "string", "pattern": f"^{one}(,{one})*$"}

    read = PlainValidator(lambda value: _read_mixture(value, names()))
    return read, PlainSerializer(_plain), _Described(describe)


def _read_structure(value: Any) -> str:
    given = parts(value) if isinstance(value, str) else []
    composed = ", ".join(COMPOSED)
    allowed = (
        f"must be one of {', '.join(structures())}, or condition-κ with κ from 1 to {MAX_CONDITION:g}; "
        f"{composed} may be followed by a colon and one of the others"
    )
    if not 1 <= len(given) <= MAX_DEPTH:
        raise ValueError(allowed)
    inner = [name for name in structures() if name in BASES or name not in STRUCTURES]
    for place, name in enumerate(given):
        if name.startswith(CONDITION):
            kappa = name.removeprefix(CONDITION)
            given[place] = f"{CONDITION}{_read_number(kappa, allowed[8:], 1, MAX_CONDITION)!r}"
        elif name not in (inner if place else structures()):
            raise ValueError(allowed)
    if any(name not in COMPOSED for name in given[:-1]):
        raise ValueError(allowed)
    return ":".join(given)


_whole_or_range = {"type": "string", "pattern": "^[0-9]+(-[0-9]+)?$", "examples": ["5", "5-15"]}
_number_or_range = {"type": "string", "pattern": "^[0-9.eE+-]+$", "examples": ["10", "1-100"]}


def _described_structures() -> dict[str, Any]:
    one = f"({'|'.join(structures())}|{CONDITION}[0-9.eE+-]+)"
    return {
        "type": "string",
        "pattern": f"^(({'|'.join(COMPOSED)}):){{0,{MAX_DEPTH - 1}}}{one}$",
        "examples": ["toeplitz", "condition-100", "block_diagonal:toeplitz"],
    }


Dim = Annotated[IntRange, PlainValidator(_read_dim), PlainSerializer(_plain), WithJsonSchema(_whole_or_range)]
Split = Literal["train", "valid", "test"]
Operations = Annotated[Mixture, *_mixture(operations)]
Spectra = Annotated[Mixture, *_mixture(lambda: SPECTRA)]
Coefficients = Annotated[Mixture, *_mixture(lambda: COEFFICIENTS)]
Scale = Annotated[
    float | IntRange, PlainValidator(_read_scale), PlainSerializer(_plain), WithJsonSchema(_number_or_range)
]
Structure = Annotated[str, PlainValidator(_read_structure), _Described(_described_structures)]
Noise = Annotated[float, *number(0, 1e6)]
Magnitude = Annotated[float, *number(1 / MAX_MAGNITUDE, MAX_MAGNITUDE)]
Index = Annotated[int, *whole(0, MAX_INDEX)]
Count = Annotated[int, *whole(1, MAX_INDEX)]


SEMICIRCLE, UNIFORM = Mixture(["semicircle"]), Mixture(["uniform"])


class StreamSpec(BaseModel):
    """A stream of problems: which operation, on which random matrices. Frozen, hashable, validated.

    Raises pydantic's ValidationError, a ValueError, naming the field, the value and what is allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: Operations = Field(
        description="One operation, or several separated by commas: one is drawn for each sample, by weights "
        'if they are given, as in "add:3,svd:1".',
        examples=["eigenvalues"],
    )
    dim: Dim = Field(
        description='Rows m of a matrix: "5", or "5-15" drawn per sample.', examples=["5", "5-15"]
    )
    cols: Dim | None = Field(
        None,
        description="Columns n of one operand, drawn apart from the rows. Without it n = m.",
        examples=["4", "2-6"],
    )
    coefficients: Coefficients = Field(
        default_factory=lambda: UNIFORM,
        description="Law of the entries: uniform on [-s, s], or normal with deviation s/√3; of several, one "
        "is drawn for each sample.",
        json_schema_extra={"default": "uniform"},
    )
    scale: Scale = Field(10, description='The s of the coefficients: a number, or "1-100" drawn per sample.')
    spectrum: Spectra = Field(
        default_factory=lambda: SEMICIRCLE,
        description="Law of the eigenvalues of symmetric matrices; several are drawn per sample.",
        json_schema_extra={"default": "semicircle"},
    )
    structure: Structure = Field(
        "none", description="A structured ensemble in the place of free entries; it decides the spectrum too."
    )
    noise: Noise = Field(
        0, description="Level ν of noise: normal of deviation νs/√3, added to the input, not to the target."
    )
    max_abs: Magnitude | None = Field(
        None,
        description="Draw a sample again when an entry of its input or target exceeds this.",
        examples=[100],
    )

    _definitions: Definitions = PrivateAttr()

    def model_post_init(self, _: Any) -> None:
        self._definitions = known().only(self.operation, self.structure)

    def __reduce__(self) -> tuple[Any, ...]:
        """A process that unpickles it reads the files of its definitions, which are functions, if need be."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return _unpickled, (type(self), fields, self.definitions.sources)

    @model_validator(mode="before")
    @classmethod
    def _what_operations_ask_for(cls, data: Any) -> Any:
        """Fill in the structure or the spectrum that an operation needs, where none is given."""
        if not isinstance(data, dict) or "structure" in data:
            return data
        with suppress(ValueError):
            found = operations()
            asked = [found[name] for name in _read_mixture(data.get("operation"), found)]
            structure = next((name for operation in asked for name in operation.structures[:1]), None)
            if structure is not None:
                return {**data, "structure": structure}
            if "spectrum" not in data and any(operation.positive for operation in asked):
                return {**data, "spectrum": POSITIVE_SPECTRA[0]}
        return data

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        self._dims_fit()
        self._spectrum_fits()
        self._structure_fits()
        return self

    def _named(self, which: Callable[[Operation], Any]) -> list[str]:
        """The names of its operations of which something is true."""
        return [name for name, operation in self.operations.items() if which(operation)]

    def _dims_fit(self) -> None:
        square = self._named(lambda operation: operation.square)
        if self.cols is not None and square:
            raise conflict("cols", _plain(self.cols), f"is not for {', '.join(square)}: square matrices only")
        spare = self.dim.low - (self.cols or self.dim).high if self.cols else 0
        for name, operation in self.operations.items():
            if operation.spare_rows is not None and spare < operation.spare_rows:
                least = "more rows than" if operation.spare_rows else "at least as many rows as"
                reason = f"does not fit {name} and dim={_plain(self.dim)}: it takes {least} columns"
                raise conflict("cols", _plain(self.cols), reason)

    def _spectrum_fits(self) -> None:
        positive = self._named(lambda operation: operation.positive)
        if self.spectrum != SEMICIRCLE:
            if not self._named(lambda operation: operation.symmetric):
                fitting = [name for name, a in operations().items() if a.symmetric and not a.structures]
                raise conflict("spectrum", _plain(self.spectrum), f"is only for {', '.join(fitting)}")
            if self.structure != "none":
                reason = f"cannot be chosen with structure={self.structure!r}, which decides the eigenvalues"
                raise conflict("spectrum", _plain(self.spectrum), reason)
        if positive and self.structure == "none" and not set(self.spectrum) <= set(POSITIVE_SPECTRA):
            reason = f"has eigenvalues below 0, for which {', '.join(positive)} has no answer"
            raise conflict(
                "spectrum", _plain(self.spectrum), f"{reason}: must be of {', '.join(POSITIVE_SPECTRA)}"
            )

    def have_vectors(self) -> bool:
        """Whether inputs have vectors, to which no structure applies."""
        dims = self.extreme_dims()[1]
        return any(a.vector for operation in self.operations.values() for a in operation.operands(*dims))

    def _structure_fits(self) -> None:
        if self.own_structure is not None:  # it draws its entries itself, but vectors and noise have a scale
            vectors = self.have_vectors()
            for field, idle in (("coefficients", not vectors), ("scale", not vectors and not self.noise)):
                value = self.fields().get(field)
                if value is not None and idle:
                    raise conflict(
                        field, value, f"has no effect with structure={self.structure!r}: leave it out"
                    )
            return
        reason = self._structure_refused()
        if reason is not None:
            raise conflict("structure", self.structure, reason)

    def _structure_refused(self) -> str | None:
        """Why its structure, which is built in, is not for its other fields; None if it is."""
        for name, operation in self.operations.items():
            if operation.structures and self.structure not in operation.structures:
                return f"is not for {name}: must be {' or '.join(operation.structures)}"
        if self.structure == "none":
            return None
        has = rules(self.structure)
        for names, wrong, why in (
            (self._named(lambda a: a.symmetric), not has.symmetric, "such matrices are not symmetric"),
            (self._named(lambda a: a.positive), not has.positive, "they may have eigenvalues below 0"),
            (self._named(lambda a: a.invertible), has.singular, "such matrices are singular"),
        ):
            if wrong and names:
                return f"is not for {', '.join(names)}: {why}"
        if has.square and self.cols is not None:
            return "takes square matrices only: leave out cols"
        ranges = [dims for dims in (self.dim, self.cols) if dims is not None and has.divided]
        for size in (size for dims in ranges for size in range(dims.low, dims.high + 1)):
            prime = prime_within(self.structure, size)
            if prime is not None:
                whose = "" if prime == size else f", of which {size} is made,"
                return f"needs dimensions with divisors: {prime}{whose} is prime"
        return None

    @property
    def definitions(self) -> Definitions:
        """What those of its names that are not built in meant when it was made."""
        return self._definitions

    @cached_property
    def operations(self) -> dict[str, Operation]:
        """Its operations by name, sorted."""
        own = self._definitions.operations
        return {name: own[name].made if name in own else OPERATIONS[name] for name in self.operation}

    @cached_property
    def own_structure(self) -> OwnStructure | None:
        """Its structure, if that is not a built-in one."""
        found = self._definitions.structures.get(self.structure)
        return None if found is None else found.made

    def spec(self) -> "StreamSpec":
        """The spec without the other fields that a subclass has."""
        with meaning(self.definitions):
            return StreamSpec.model_validate({name: getattr(self, name) for name in StreamSpec.model_fields})

    def extreme_dims(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The smallest and the largest (m, n) an operand may have."""
        cols = self.cols or self.dim
        return (self.dim.low, cols.low), (self.dim.high, cols.high)

    def input_shape(self) -> Shape | None:
        """The shape every input has, or None if they vary."""
        return self._shape([operation.input_shape for operation in self.operations.values()])

    def target_shape(self) -> Shape | None:
        """The shape every target has, or None if they vary."""
        return self._shape([operation.target_shape for operation in self.operations.values()])

    def _shape(self, of_operations: list[Callable[[int, int], Shape]]) -> Shape | None:
        # shapes grow with m and n, so equal ones at both extremes are equal everywhere
        shapes = {shape(m, n) for shape in of_operations for m, n in self.extreme_dims()}
        return shapes.pop() if len(shapes) == 1 else None

    def max_entries(self, m: int, n: int) -> int:
        """The most entries that an input and its target have together at dimensions m and n."""
        both = [
            (operation.input_shape(m, n), operation.target_shape(m, n))
            for operation in self.operations.values()
        ]
        return max(sum(rows * cols for rows, cols in shapes) for shapes in both)

    def fields(self) -> dict[str, Any]:
        """The fields that differ from their defaults, each in its canonical form, sorted by name."""
        return dict(sorted(self.model_dump(exclude_defaults=True).items()))

    def canonical(self) -> str:
        """The spec as JSON, keys sorted and defaults left out: equal specs have equal canonical forms."""
        return json.dumps(self.fields(), separators=(",", ":"), allow_nan=False)


def _unpickled(model: type[StreamSpec], fields: dict[str, Any], sources: list[Source]) -> StreamSpec:
    with meaning(definitions_from(sources)):
        return model.model_validate(fields)


class SampleRange(BaseModel):
    """Which samples of a stream: [start, start+count) of a seed's split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Index = Field(0, description="Another seed is another stream of the same spec.")
    split: Split = Field("train", description="Splits have different keys and share no draw.")
    start: Index = Field(0, description="Index of the first sample.")
    count: Count = Field(description="How many samples.", examples=[1000])

    @model_validator(mode="after")
    def _ends_in_time(self) -> Self:
        if self.start + self.count > MAX_INDEX:
            raise conflict("count", self.count, f"start + count must be at most {MAX_INDEX}")
        return self


def stream_key(spec: StreamSpec, seed: int, split: str, attempt: int) -> int:
    """The 128-bit Philox key of an attempt: a hash of spec, seed, split and attempt."""
    text = json.dumps([spec.canonical(), seed, split, attempt], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
