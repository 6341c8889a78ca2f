"""StreamSpec: the validated description of a stream, its canonical form and its keys."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from matstream.shared.errors import conflict
from matstream.shared.fields import (
    COEFFICIENTS,
    MAX_INDEX,
    MAX_INTEGER,
    NONE,
    POSITIVE_SPECTRA,
    SEMICIRCLE,
    UNIFORM,
    WITH_ZEROS,
    Coefficients,
    Count,
    Dim,
    Index,
    IntRange,
    Magnitude,
    Noise,
    Operations,
    Scale,
    Spectra,
    Split,
    Structures,
    plain,
    read_mixture,
    read_structures,
)
from matstream.shared.operation import Operation, Shape
from matstream.shared.operations import OPERATIONS
from matstream.shared.problems import (
    Definitions,
    Source,
    definitions_from,
    known,
    meaning,
    operations,
)
from matstream.shared.problems import Structure as OwnStructure
from matstream.shared.structures import least_integers, prime_within, rules


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
        description="Law of the entries: uniform on [-s, s]; gaussian, normal with deviation s/√3; integers, "
        "whole numbers in [-s, s]; sparse, half of them 0, the others uniform; log_uniform, of either sign, "
        "the logarithm of the magnitude uniform, from s/1000 to s. Of several, one is drawn for each sample.",
        json_schema_extra={"default": "uniform"},
    )
    scale: Scale = Field(10, description='The s of the coefficients: a number, or "1-100" drawn per sample.')
    spectrum: Spectra = Field(
        default_factory=lambda: SEMICIRCLE,
        description="Law of the eigenvalues of symmetric matrices; several are drawn per sample.",
        json_schema_extra={"default": "semicircle"},
    )
    structure: Structures = Field(
        default_factory=lambda: NONE,
        description="A structured ensemble in the place of free entries, which decides the spectrum too; of "
        "several, one is drawn for each sample.",
        json_schema_extra={"default": "none"},
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
        if not isinstance(data, dict):
            return data
        with suppress(ValueError):
            found = operations()
            asked = [found[name] for name in read_mixture(data.get("operation"), found)]
            structure = next((name for operation in asked for name in operation.structures[:1]), None)
            if structure is not None and "structure" not in data:
                return {**data, "structure": structure}
            free = "none" in read_structures(data.get("structure", "none"))
            if free and "spectrum" not in data and any(operation.positive for operation in asked):
                return {**data, "spectrum": POSITIVE_SPECTRA[0]}
        return data

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        self._dims_fit()
        self._coefficients_fit()
        self._noise_fits()
        self._spectrum_fits()
        self._structure_fits()
        return self

    def _named(self, which: Callable[[Operation], Any]) -> list[str]:
        """The names of its operations of which something is true."""
        return [name for name, operation in self.operations.items() if which(operation)]

    def _dims_fit(self) -> None:
        square = self._named(lambda operation: operation.square)
        if self.cols is not None and square:
            raise conflict("cols", plain(self.cols), f"is not for {', '.join(square)}: square matrices only")
        spare = self.dim.low - (self.cols or self.dim).high if self.cols else 0
        for field, dims in (("dim", self.dim), ("cols", self.cols)):
            for name, operation in self.operations.items():
                if dims is not None and dims.low < operation.least:
                    raise conflict(field, plain(dims), f"must be at least {operation.least} for {name}")
        for name, operation in self.operations.items():
            if operation.spare_rows is not None and spare < operation.spare_rows:
                least = "more rows than" if operation.spare_rows else "at least as many rows as"
                if self.cols is None:
                    raise conflict("cols", None, f"must be given for {name}, which takes {least} columns")
                reason = f"does not fit {name} and dim={plain(self.dim)}: it takes {least} columns"
                raise conflict("cols", plain(self.cols), reason)

    def _coefficients_fit(self) -> None:
        given = plain(self.coefficients)
        low, high = self.extreme_scales()
        if "integers" in self.coefficients and not 1 <= low <= high <= MAX_INTEGER:
            why = "all integers in [-s, s] are 0" if low < 1 else "integers in [-s, s] are not all exact"
            allowed = f"scale must be from 1 to {MAX_INTEGER}"
            raise conflict("coefficients", given, f"cannot have scale={plain(self.scale)}: {why}; {allowed}")
        if set(self.coefficients).isdisjoint(WITH_ZEROS):
            return
        allowed = f"must be of {', '.join(law for law in COEFFICIENTS if law not in WITH_ZEROS)}"
        hidden = self._named(lambda operation: operation.hides)
        if hidden:
            reason = f"is not for {', '.join(hidden)}: a 0 in the input means a hidden entry"
            raise conflict("coefficients", given, f"{reason}; {allowed}")
        regular = self._named(lambda operation: operation.invertible or operation.diagonalisable)
        by_structure = {name: least_integers(name) for name in self.structure}
        composed = {name: least for name, least in by_structure.items() if least is not None}
        if not composed or not regular:
            return
        structure, least = max(composed.items(), key=lambda item: item[1])
        named = f"{', '.join(regular)} with structure={structure!r}"
        about = f"{named}: too few of the matrices have an answer"
        if "sparse" in self.coefficients:
            raise conflict("coefficients", given, f"is not for {about}; {allowed}")
        if low < least:
            reason = f"cannot have scale={plain(self.scale)} for {about}; scale must be at least {least}"
            raise conflict("coefficients", given, reason)

    def _noise_fits(self) -> None:
        hidden = self._named(lambda operation: operation.hides)
        if self.noise and hidden:
            reason = f"is not for {', '.join(hidden)}: it would fill the hidden entries"
            raise conflict("noise", self.noise, reason)

    def _spectrum_fits(self) -> None:
        positive = self._named(lambda operation: operation.positive)
        if self.spectrum != SEMICIRCLE:
            if not self._named(lambda operation: operation.symmetric):
                positive_only = set(self.spectrum) <= set(POSITIVE_SPECTRA)
                fitting = [
                    name
                    for name, a in operations().items()
                    if a.symmetric and not a.structures and (positive_only or not a.positive)
                ]
                raise conflict("spectrum", plain(self.spectrum), f"is only for {', '.join(fitting)}")
            if "none" not in self.structure:
                decided = plain(self.structure)
                reason = f"cannot be chosen with structure={decided!r}, which decides the eigenvalues"
                raise conflict("spectrum", plain(self.spectrum), reason)
        if positive and "none" in self.structure and not set(self.spectrum) <= set(POSITIVE_SPECTRA):
            reason = f"has eigenvalues below 0, for which {', '.join(positive)} has no answer"
            raise conflict(
                "spectrum", plain(self.spectrum), f"{reason}: must be of {', '.join(POSITIVE_SPECTRA)}"
            )

    def have_vectors(self) -> bool:
        """Whether inputs have vectors, to which no structure applies."""
        dims = self.extreme_dims()[1]
        return any(a.vector for operation in self.operations.values() for a in operation.operands(*dims))

    def _structure_fits(self) -> None:
        given = plain(self.structure)
        if len(self.own_structures) == len(self.structure):
            # they draw their entries themselves, but vectors and noise have a scale
            vectors = self.have_vectors()
            for field, idle in (("coefficients", not vectors), ("scale", not vectors and not self.noise)):
                value = self.fields().get(field)
                if value is not None and idle:
                    raise conflict(field, value, f"has no effect with structure={given!r}: leave it out")
        for name in self.structure:
            reason = None if name in self.own_structures else self._structure_refused(name)
            if reason is not None:
                said = reason if len(self.structure) == 1 else f"{name} {reason}"
                raise conflict("structure", given, said)

    def _structure_refused(self, structure: str) -> str | None:
        """Why one of its structures, which is built in, is not for its other fields; None if it is."""
        for name, operation in self.operations.items():
            if operation.structures and structure not in operation.structures:
                return f"is not for {name}: must be {' or '.join(operation.structures)}"
        if structure == "none":
            return None
        has = rules(structure)
        for names, wrong, why in (
            (self._named(lambda a: a.symmetric), not has.symmetric, "such matrices are not symmetric"),
            (self._named(lambda a: a.positive), not has.positive, "they may have eigenvalues below 0"),
            (self._named(lambda a: a.invertible), has.singular, "such matrices are singular"),
        ):
            if wrong and names:
                return f"is not for {', '.join(names)}: {why}"
        if has.square and self.cols is not None:
            return "takes square matrices only: leave out cols"
        if has.whole and self.extreme_scales()[1] * min(self.extreme_dims()[1]) > 2**53:
            return f"cannot have scale={plain(self.scale)}: its whole numbers would not be exact"
        ranges = [dims for dims in (self.dim, self.cols) if dims is not None and has.divided]
        for size in (size for dims in ranges for size in range(dims.low, dims.high + 1)):
            prime = prime_within(structure, size)
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
    def own_structures(self) -> dict[str, OwnStructure]:
        """Those of its structures that are not built in, by name."""
        own = self._definitions.structures
        return {name: own[name].made for name in self.structure if name in own}

    def spec(self) -> "StreamSpec":
        """The spec without the other fields that a subclass has."""
        with meaning(self.definitions):
            return StreamSpec.model_validate({name: getattr(self, name) for name in StreamSpec.model_fields})

    def extreme_dims(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The smallest and the largest (m, n) an operand may have."""
        cols = self.cols or self.dim
        return (self.dim.low, cols.low), (self.dim.high, cols.high)

    def extreme_scales(self) -> tuple[float, float]:
        """The smallest and the largest scale that coefficients may have."""
        scale = self.scale
        return (scale.low, scale.high) if isinstance(scale, IntRange) else (scale, scale)

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
