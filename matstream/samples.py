"""Sample problems for a program: drawn in this process, or streamed by a running generator."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError

from matstream.shared.errors import RefusedError, explain
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import Matrices, from_batch

Floats = NDArray[np.float64]

_SHOWN = 3  # samples that a notebook shows of many
_SHOWN_ROWS = 12  # and rows and columns of a matrix


@dataclass(frozen=True, repr=False)
class Samples:
    """B problems and their answers.

    `inputs` (B, m, w) and `targets` (B, p, q) are arrays, or lists of B matrices where shapes vary.
    `residuals` (B,) say how far each target is from the answer, by the residual of its operation (NaN if it
    has none); `index` (B,) is each sample's place in the stream, `operations` (B,) the name of each sample's
    operation.
    """

    inputs: Floats | list[Floats]
    targets: Floats | list[Floats]
    residuals: Floats
    index: NDArray[np.int64]
    operations: list[str]

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        names = ", ".join(sorted(set(self.operations)))
        first = f", from {self.index[0]} on" if len(self) else ""
        shapes = f"inputs {_shapes(self.inputs)}, targets {_shapes(self.targets)}"
        return f"<{len(self)} samples of {names}{first}: {shapes}>"

    def _repr_html_(self) -> str:
        """The first samples as tables, for a notebook."""
        rows = "".join(
            f"<tr><td>{self.index[i]}</td><td>{escape(self.operations[i])}</td><td>{_grid(self.inputs[i])}</td>"
            f"<td>{_grid(self.targets[i])}</td><td>{_legible(self.residuals[i])}</td></tr>"
            for i in range(min(len(self), _SHOWN))
        )
        head = "<tr><th>sample</th><th>operation</th><th>input</th><th>target</th><th>residual</th></tr>"
        more = f"<p>… and {len(self) - _SHOWN:,} more</p>" if len(self) > _SHOWN else ""
        return f"<table>{head}{rows}</table>{more}"


def sample(
    operation: str | Sequence[str] | StreamSpec,
    *,
    count: int = 1,
    seed: int = 0,
    split: str = "train",
    start: int = 0,
    generator: str | Sequence[str] | None = None,
    **fields: Any,
) -> Samples:
    """Samples [start, start+count) of a stream of problems.

    >>> s = matstream.sample("eigenvalues", dim=5, count=1000)
    >>> s.inputs.shape, s.targets.shape
    ((1000, 5, 5), (1000, 5, 1))

    `operation` is a name, several names, or a whole StreamSpec; `fields` are those of a StreamSpec, such as
    dim, cols, coefficients, scale, spectrum, structure, noise, max_abs. The samples are drawn in this
    process, or come from the running generators at the URLs `generator`; equal addresses give equal samples.

    Raises ValueError naming the field, the value and what is allowed; UserError if no generator answers.
    """
    spec, samples = read_address(operation, fields, seed=seed, split=split, start=start, count=count)
    made = list(batches_of(spec, samples, generator))
    return _samples(spec, made)


def stream(
    operation: str | Sequence[str] | StreamSpec,
    *,
    count: int,
    seed: int = 0,
    split: str = "train",
    start: int = 0,
    generator: str | Sequence[str] | None = None,
    **fields: Any,
) -> Iterator[Samples]:
    """The samples that `sample` returns, in order, some thousands at a time, so that they may be very many.

    >>> for s in matstream.stream("svd", dim="2-4", count=10**6, generator="http://127.0.0.1:8000"):
    ...     learn(s.inputs, s.targets)
    """
    spec, samples = read_address(operation, fields, seed=seed, split=split, start=start, count=count)
    return (_samples(spec, [batch]) for batch in batches_of(spec, samples, generator))


def streamed_in_blocks(
    spec: StreamSpec,
    samples: SampleRange,
    blocks: Iterator[SampleRange],
    generator: str | Sequence[str] | None,
) -> Iterator[Samples]:
    """The samples of some `blocks` of the range `samples`, in the order of the blocks."""
    if generator is None:
        from matstream.generator_service.stream import batches, default_batch_rows

        made = (batch for block in blocks for batch in batches(spec, block, default_batch_rows(spec)))
        yield from (_samples(spec, [batch]) for batch in made)
        return
    from matstream.trainer.client import Client

    with Client(generator) as client:
        for batch in client.ranges(spec, samples, blocks):
            yield _samples(spec, [batch])


def read_address(
    operation: str | Sequence[str] | StreamSpec, fields: dict[str, Any], **samples: Any
) -> tuple[StreamSpec, SampleRange]:
    """A spec and a range of samples. Raises RefusedError, a ValueError, if they are not valid."""
    try:
        if isinstance(operation, StreamSpec):
            if fields:
                raise ValueError(f"{', '.join(fields)}: must be in the StreamSpec that is given")
            spec = operation.spec()
        else:
            spec = StreamSpec.model_validate({"operation": operation, **fields})
        return spec, SampleRange.model_validate(samples)
    except ValidationError as error:
        raise RefusedError(explain(error.errors(), StreamSpec)) from None


def batches_of(
    spec: StreamSpec, samples: SampleRange, generator: str | Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    """The record batches of a range, drawn in this process, or streamed by the running generators."""
    if generator is None:
        from matstream.generator_service.stream import batches, default_batch_rows

        return batches(spec, samples, default_batch_rows(spec))
    from matstream.trainer.client import stream as streamed

    return streamed(generator, spec, **samples.model_dump())


def _samples(spec: StreamSpec, batches: list[pa.RecordBatch]) -> Samples:
    columns = [from_batch(batch) for batch in batches]
    index = np.concatenate([part.index for part in columns])
    if len(spec.operation) == 1:
        operations = len(index) * list(spec.operation)
    else:
        which = np.concatenate([part.operation for part in columns])
        operations = np.array(spec.operation, dtype=object)[which].tolist()
    return Samples(
        _joined([part.input for part in columns]),
        _joined([part.target for part in columns]),
        np.concatenate([part.residual for part in columns]),
        index,
        operations,
    )


def _joined(parts: list[Floats | Matrices]) -> Floats | list[Floats]:
    fixed = [part for part in parts if not isinstance(part, Matrices)]
    if len(fixed) == len(parts):
        return np.concatenate(fixed)  # a copy, which may be written to, unlike Arrow's arrays
    return [matrix for part in parts if isinstance(part, Matrices) for matrix in _each(part)]


def _each(matrices: Matrices) -> Iterator[Floats]:
    ends = matrices.shapes.prod(axis=1, dtype=np.int64).cumsum()[:-1]
    for entries, shape in zip(np.split(matrices.entries, ends), matrices.shapes.tolist(), strict=True):
        yield entries.reshape(shape).copy()


def _shapes(matrices: Floats | list[Floats]) -> str:
    if not isinstance(matrices, list):
        return "×".join(map(str, matrices.shape[1:]))
    shapes = sorted({matrix.shape for matrix in matrices})
    return " to ".join("×".join(map(str, shape)) for shape in dict.fromkeys((shapes[0], shapes[-1])))


def _legible(residual: float) -> str:
    return "no residual is measured" if np.isnan(residual) else f"{residual:.1e}"


def _grid(matrix: Floats) -> str:
    """A matrix as a table in HTML, cut where it is large."""
    rows, cols = matrix.shape
    shown = matrix[:_SHOWN_ROWS, :_SHOWN_ROWS].tolist()
    beyond = "<td>…</td>" if cols > _SHOWN_ROWS else ""
    lines = [f"<tr>{''.join(f'<td>{value:.4g}</td>' for value in row)}{beyond}</tr>" for row in shown]
    if rows > _SHOWN_ROWS:
        lines.append(f"<tr><td>… of {rows} rows</td></tr>")
    return f"<table>{''.join(lines)}</table>"
