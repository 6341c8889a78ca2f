"""StreamSpec: the validated description of a stream, its canonical form and its keys."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

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

Coefficients = Literal["uniform", "gaussian"]
COEFFICIENTS: tuple[str, ...] = get_args(Coefficients)
SPECTRA = ("abs_laplace", "gaussian", "laplace", "marchenko_pastur", "positive", "semicircle", "uniform")
MAX_CONDITION = 1e12
MAX_DIM = 4096
MAX_INDEX = 2**63 - 1
MAX_MAGNITUDE = 1e100  # squares of entries stay finite, and every encoding can write them


class IntRange(NamedTuple):
    """An inclusive range of whole numbers, `low` = `high` when fixed."""

    low: int
    high: int

    @property
    def fixed(self) -> bool:
        return self.low == self.high


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
    return ",".join(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class _Described:
    """The JSON schema of a field, made when it is asked for, since a problem file may have added names."""

    make: Callable[[], dict[str, Any]]

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        return self.make()


def _names(names: Callable[[], Collection[str]]) -> tuple[PlainValidator, PlainSerializer, _Described]:
    """Annotations for a field of one or several names, which are looked up when the field is read."""

    def read(value: Any) -> tuple[str, ...]:
        allowed = sorted(names())
        parts = [value] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple | set | frozenset):
            raise ValueError(f"must be one or several of {', '.join(allowed)}")
        given = [name for part in parts for name in (part.split(",") if isinstance(part, str) else [part])]
        if not given or any(not isinstance(name, str) or name not in allowed for name in given):
            raise ValueError(f"must be one or several of {', '.join(allowed)}, separated by commas")
        return tuple(sorted(set(given)))

    def describe() -> dict[str, Any]:
        one = f"({'|'.join(sorted(names()))})"
        return {"type": "string", "pattern": f"^{one}(,{one})*$"}

    return PlainValidator(read), PlainSerializer(_plain), _Described(describe)


def condition_number(structure: str) -> float | None:
    """The κ of a structure "condition-κ", None for any other."""
    number = structure.removeprefix("condition-")
    return None if number == structure else float(number)


def _read_structure(value: Any) -> str:
    allowed = f"must be one of {', '.join(structures())}, or condition-κ with κ from 1 to {MAX_CONDITION:g}"
    if isinstance(value, str) and value.startswith("condition-"):
        kappa = _read_number(
            value.removeprefix("condition-"), allowed.removeprefix("must be "), 1, MAX_CONDITION
        )
        return f"condition-{kappa!r}"
    if value not in structures():
        raise ValueError(allowed)
    return str(value)


_whole_or_range = {"type": "string", "pattern": "^[0-9]+(-[0-9]+)?$", "examples": ["5", "5-15"]}
_number_or_range = {"type": "string", "pattern": "^[0-9.eE+-]+$", "examples": ["10", "1-100"]}


def _described_structures() -> dict[str, Any]:
    return {
        "type": "string",
        "pattern": f"^({'|'.join(structures())}|condition-[0-9.eE+-]+)$",
        "examples": ["toeplitz", "condition-100"],
    }


Dim = Annotated[IntRange, PlainValidator(_read_dim), PlainSerializer(_plain), WithJsonSchema(_whole_or_range)]
Split = Literal["train", "valid", "test"]
Operations = Annotated[tuple[str, ...], *_names(operations)]
Spectra = Annotated[tuple[str, ...], *_names(lambda: SPECTRA)]
Scale = Annotated[
    float | IntRange, PlainValidator(_read_scale), PlainSerializer(_plain), WithJsonSchema(_number_or_range)
]
Structure = Annotated[str, PlainValidator(_read_structure), _Described(_described_structures)]
Noise = Annotated[float, *number(0, 1e6)]
Magnitude = Annotated[float, *number(1 / MAX_MAGNITUDE, MAX_MAGNITUDE)]
Index = Annotated[int, *whole(0, MAX_INDEX)]
Count = Annotated[int, *whole(1, MAX_INDEX)]


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


class StreamSpec(BaseModel):
    """A stream of problems: which operation, on which random matrices. Frozen, hashable, validated.

    Raises pydantic's ValidationError, a ValueError, naming the field, the value and what is allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: Operations = Field(
        description="One operation, or several separated by commas (drawn per sample).",
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
        "uniform", description="Law of the entries: uniform on [-s, s], or normal with deviation s/√3."
    )
    scale: Scale = Field(10, description='The s of the coefficients: a number, or "1-100" drawn per sample.')
    spectrum: Spectra = Field(
        ("semicircle",),
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

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        square = [name for name, operation in self.operations.items() if operation.square]
        symmetric = [name for name, operation in self.operations.items() if operation.symmetric]
        if self.cols is not None and square:
            raise conflict("cols", _plain(self.cols), f"is not for {', '.join(square)}: square matrices only")
        if self.spectrum != ("semicircle",):
            if not symmetric:
                fitting = ", ".join(name for name, operation in operations().items() if operation.symmetric)
                raise conflict("spectrum", _plain(self.spectrum), f"is only for {fitting}")
            if self.structure != "none":
                reason = f"cannot be chosen with structure={self.structure!r}, which decides the eigenvalues"
                raise conflict("spectrum", _plain(self.spectrum), reason)
        self._structure_fits(symmetric)
        return self

    def have_vectors(self) -> bool:
        """Whether inputs have vectors, to which no structure applies."""
        dims = self.extreme_dims()[1]
        return any(a.vector for operation in self.operations.values() for a in operation.operands(*dims))

    def _structure_fits(self, symmetric: list[str]) -> None:
        if self.own_structure is not None:  # it draws its entries itself, but vectors and noise have a scale
            vectors = self.have_vectors()
            for field, idle in (("coefficients", not vectors), ("scale", not vectors and not self.noise)):
                value = self.fields().get(field)
                if value is not None and idle:
                    raise conflict(
                        field, value, f"has no effect with structure={self.structure!r}: leave it out"
                    )
        reason = None
        invertible = [name for name, operation in self.operations.items() if operation.invertible]
        if self.structure == "orthogonal" and symmetric:
            reason = f"is not for {', '.join(symmetric)}: orthogonal matrices are not symmetric"
        elif self.structure == "laplacian" and invertible:
            reason = f"is not for {', '.join(invertible)}: a graph Laplacian is singular"
        elif self.structure in ("circulant", "laplacian") and self.cols is not None:
            reason = "takes square matrices only: leave out cols"
        elif self.structure == "kronecker":
            ranges = [dims for dims in (self.dim, self.cols) if dims is not None]
            primes = [k for dims in ranges for k in range(dims.low, dims.high + 1) if _is_prime(k)]
            if primes:
                reason = f"needs dimensions with divisors: {primes[0]} is prime"
        if reason is not None:
            raise conflict("structure", self.structure, reason)

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
