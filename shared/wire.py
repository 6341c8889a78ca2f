"""The wire format: samples as Arrow record batches that carry what a reader needs to trust them.

Arrow reads a stream that was cut off as if it were complete. Therefore every schema carries its provenance
and every batch a checksum, and `read_stream` checks both the length and the end of a stream.
"""

import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from matstream.shared.arrow_bytes import ArrowBytes, Source
from matstream.shared.arrow_bytes import WireError as WireError
from matstream.shared.errors import first_line, one_line, shortened
from matstream.shared.operation import Shape
from matstream.shared.spec import SampleRange, StreamSpec

WIRE_VERSION = "1"
MEDIA_TYPE = "application/vnd.apache.arrow.stream"

_MOST_OF_SCHEMA = 64 << 10  # bytes, with the names of operations
_MOST_OF_FRAME = 4 << 10  # bytes of a batch besides its samples: its metadata and the padding of its buffers
_MOST_BESIDE_ENTRIES = 64  # bytes of a sample: index, residual, attempt, operation, shapes and offsets

_PREFIX = b"matstream."
_FINGERPRINT = re.compile("[ -~]{1,64}")
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


class Matrices(NamedTuple):
    """B matrices whose shapes may vary: all entries one after another, row-major, and every shape."""

    entries: NDArray[np.float64]  # (sum of rows·cols,)
    shapes: NDArray[np.int32]  # (B, 2)


def flat(matrices: NDArray[np.float64] | Matrices) -> Matrices:
    """Matrices of one shape, (B, rows, cols), in the form of those whose shapes vary."""
    if isinstance(matrices, Matrices):
        return matrices
    shapes = np.broadcast_to(np.array(matrices.shape[1:], dtype=np.int32), (len(matrices), 2))
    return Matrices(matrices.reshape(-1), shapes)


def select(
    matrices: NDArray[np.float64] | Matrices, rows: NDArray[np.int64] | list[int]
) -> NDArray[np.float64]:
    """The matrices at `rows` (B,), which are all of one shape, as (B, rows, cols)."""
    if not isinstance(matrices, Matrices):
        fixed: NDArray[np.float64] = matrices[rows]
        return fixed
    entries, shapes = matrices
    sizes = shapes.prod(axis=1, dtype=np.int64)
    first = (np.cumsum(sizes) - sizes)[rows]
    shape = shapes[rows[0]]
    assert (shapes[rows] == shape).all()
    chosen: NDArray[np.float64] = entries[first[:, None] + np.arange(shape.prod())]
    return chosen.reshape(-1, *shape.tolist())


@dataclass(frozen=True)
class Samples:
    """The columns of B samples. A matrix column is (B, rows, cols), or Matrices where shapes vary."""

    index: NDArray[np.int64]  # (B,)
    input: NDArray[np.float64] | Matrices
    target: NDArray[np.float64] | Matrices
    residual: NDArray[np.float64]  # (B,)
    attempt: NDArray[np.uint8]  # (B,)
    operation: NDArray[np.int8] | None  # (B,), positions in spec.operation; None if it has only one


def schema(spec: StreamSpec, samples: SampleRange, fingerprint: str) -> pa.Schema:
    """The Arrow schema of a stream, with its provenance as metadata."""
    fields = [
        pa.field("index", pa.int64(), nullable=False),
        _matrix_field("input", spec.input_shape()),
        _matrix_field("target", spec.target_shape()),
        pa.field("residual", pa.float64(), nullable=False),
        pa.field("attempt", pa.uint8(), nullable=False),
    ]
    if len(spec.operation) > 1:
        fields.append(pa.field("operation", pa.dictionary(pa.int8(), pa.utf8()), nullable=False))
    provenance = {
        "spec": spec.canonical(),
        "seed": str(samples.seed),
        "split": samples.split,
        "start": str(samples.start),
        "count": str(samples.count),
        "wire_version": WIRE_VERSION,
        "fingerprint": fingerprint,
    }
    if (problems := spec.definitions.hash) is not None:
        provenance["problems"] = problems
    provenance["crc32"] = _metadata_checksum(provenance)
    metadata = {_PREFIX + key.encode(): value.encode() for key, value in provenance.items()}
    # the schema as a reader sees it: pyarrow may know variable_shape_tensor on reading, but cannot make it
    return pa.ipc.read_schema(pa.schema(fields, metadata=metadata).serialize())


def to_batch(samples: Samples, schema: pa.Schema, operations: Sequence[str]) -> pa.RecordBatch:
    """Wrap samples as a record batch of `schema`, without copying the matrices."""
    columns = [
        _array(samples.index),
        _matrix_array(samples.input, schema.field("input").type),
        _matrix_array(samples.target, schema.field("target").type),
        _array(samples.residual),
        _array(samples.attempt),
    ]
    if samples.operation is not None:
        columns.append(pa.DictionaryArray.from_arrays(_array(samples.operation), _texts(operations)))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def from_batch(batch: pa.RecordBatch) -> Samples:
    """View a record batch's columns as NumPy arrays, without copying.

    Raises WireError if it has nulls, or matrices whose shapes and entries disagree.
    """
    names = batch.schema.names
    operation = _primitive(batch.column("operation").indices) if "operation" in names else None
    return Samples(
        _primitive(batch.column("index")),
        _matrices(batch.column("input")),
        _matrices(batch.column("target")),
        _primitive(batch.column("residual")),
        _primitive(batch.column("attempt")),
        operation,
    )


def checksum(start: int, samples: Samples) -> str:
    """CRC-32 (zlib), 8 hex digits, over start and row count (two little-endian int64) and then the
    values of each column in schema order; a varying matrix column counts its entries, then its shapes."""
    crc = zlib.crc32(struct.pack("<qq", start, len(samples.index)))
    columns = (
        samples.index,
        samples.input,
        samples.target,
        samples.residual,
        samples.attempt,
        samples.operation,
    )
    for column in columns:
        for values in column if isinstance(column, Matrices) else (column,):
            if values is not None and values.size:
                crc = zlib.crc32(values.data.cast("B"), crc)
    return f"{crc:08x}"


def write_stream(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[list[Any]]:
    """The Arrow IPC stream of `batches`: for each, the list of byte buffers to send, then the end mark.

    The schema goes with the first batch. If `batches` raises, the end mark is never written.
    """
    sink = _BufferList()
    writer = pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), schema)
    for batch in batches:
        samples = from_batch(batch)
        start = int(samples.index[0])
        metadata = {"start": str(start), "rows": str(batch.num_rows), "crc32": checksum(start, samples)}
        writer.write_batch(batch, custom_metadata=metadata)
        del batch, samples  # so that only the consumer holds its memory
        yield sink.take()
    writer.close()
    yield sink.take()


def read_stream(source: Source, spec: StreamSpec, samples: SampleRange) -> Iterator[pa.RecordBatch]:
    """Read an Arrow IPC stream of `samples` of `spec`, yielding each batch once it is verified.

    Raises WireError for a stream that is cut, damaged, followed by other bytes, larger than such samples can
    be, or of another spec, seed, split, range or wire version. What `source` itself raises passes through.
    """
    tail = ArrowBytes(source, largest_stream(spec, samples.count, samples.count))
    try:
        reader = pa.ipc.open_stream(pa.PythonFile(tail, mode="r"))
        _check_schema(reader.schema, spec, samples)
        position, end = samples.start, samples.start + samples.count
        while True:
            try:
                batch, metadata = reader.read_next_batch_with_custom_metadata()
            except StopIteration:
                break
            _check_batch(batch, metadata, spec, position)
            position += batch.num_rows
            if position > end:
                raise WireError(f"the stream runs past sample {end - 1}, the last that was asked for")
            yield batch
    except (pa.ArrowException, UnicodeDecodeError, OverflowError, MemoryError, OSError) as error:
        if tail.error is not None:
            raise tail.error from None
        raise WireError(f"the stream is damaged or cut: {first_line(error)}") from error
    finally:
        # the error's traceback holds all that was read, in a cycle through Arrow that Python cannot collect
        tail.error = None
    if position < end:
        raise WireError(f"the stream is cut: it ends before sample {position} of [{samples.start}, {end})")
    if tail.last != _END_OF_STREAM:
        raise WireError("the stream is cut: its end mark is missing")
    if tail.read(1):
        raise WireError("the stream is followed by bytes that do not belong to it")


def largest_stream(spec: StreamSpec, count: int, batches: int) -> int:
    """The most bytes that a stream of `count` samples of `spec` in so many batches can have. A longer one is
    damaged or hostile, and is not read to its end."""
    entries = spec.max_entries(*spec.extreme_dims()[1])
    return _MOST_OF_SCHEMA + batches * _MOST_OF_FRAME + count * (8 * entries + _MOST_BESIDE_ENTRIES)


def provenance(schema: pa.Schema) -> dict[str, str]:
    """The `matstream.*` metadata of a schema, without the prefix."""
    metadata = schema.metadata or {}
    return {
        key.removeprefix(_PREFIX).decode(): value.decode()
        for key, value in metadata.items()
        if key.startswith(_PREFIX)
    }


def _check_schema(received: pa.Schema, spec: StreamSpec, samples: SampleRange) -> None:
    found = provenance(received)
    fingerprint = found.get("fingerprint", "")
    expected_schema = schema(spec, samples, fingerprint)
    expected = provenance(expected_schema)
    if found.get("problems") != expected.get("problems"):
        raise WireError(
            f"the stream's problem comes from {_problem_file(found.get('problems'))}, ours from "
            f"{_problem_file(expected.get('problems'))}: both sides must be given the same file"
        )
    for key in expected:
        if found.get(key) != expected[key]:
            raise WireError(f"{key} is {shortened(found.get(key))} where {expected[key]!r} was asked for")
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise WireError(
            f"fingerprint is {shortened(fingerprint)}: must be 1 to 64 printable characters of ASCII"
        )
    if not received.equals(expected_schema, check_metadata=True):
        raise WireError(f"the schema is not that of this spec: {one_line(str(received))}")


def _problem_file(digest: str | None) -> str:
    return "no problem file" if digest is None else f"the problem file with hash {shortened(digest)}"


def _check_batch(batch: pa.RecordBatch, metadata: Any, spec: StreamSpec, position: int) -> None:
    where = f"the batch at sample {position} is damaged"
    batch.validate()
    samples = from_batch(batch)
    rows = batch.num_rows
    claimed = {key.decode(): value.decode() for key, value in (metadata or {}).items()}
    true = {"start": str(position), "rows": str(rows), "crc32": checksum(position, samples)}
    if rows == 0 or claimed != true:
        raise WireError(f"{where}: it says {shortened(claimed)}, its values say {true}")
    if not np.array_equal(samples.index, np.arange(position, position + rows)):
        raise WireError(f"{where}: its index column does not count from {position}")
    if samples.operation is not None:
        words = batch.column("operation").dictionary
        words.validate(full=True)
        if words.null_count or words.to_pylist() != list(spec.operation):
            found = shortened(words.to_pylist())
            raise WireError(f"{where}: its operations are {found}, not {list(spec.operation)}")


def _metadata_checksum(provenance: dict[str, str]) -> str:
    return f"{zlib.crc32(json.dumps(provenance, sort_keys=True).encode()):08x}"


def _matrix_field(name: str, shape: Shape | None) -> pa.Field:
    if shape is not None:
        return pa.field(name, pa.fixed_shape_tensor(pa.float64(), shape), nullable=False)
    storage = pa.struct([("data", pa.list_(pa.float64())), ("shape", pa.list_(pa.int32(), 2))])
    extension = {"ARROW:extension:name": "arrow.variable_shape_tensor", "ARROW:extension:metadata": "{}"}
    return pa.field(name, storage, nullable=False, metadata=extension)


def _matrix_array(values: NDArray[np.float64] | Matrices, kind: pa.DataType) -> pa.Array:
    if isinstance(values, Matrices):
        offsets = np.zeros(len(values.shapes) + 1, dtype=np.int32)
        np.cumsum(values.shapes.prod(axis=1), out=offsets[1:])
        data = pa.ListArray.from_arrays(_array(offsets), _array(values.entries))
        shapes = pa.FixedSizeListArray.from_arrays(_array(values.shapes.reshape(-1)), 2)
        storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
        matrices = pa.StructArray.from_arrays([data, shapes], fields=list(storage))
        return matrices if storage is kind else pa.ExtensionArray.from_storage(kind, matrices)
    storage = pa.FixedSizeListArray.from_arrays(_array(values.reshape(-1)), type=kind.storage_type)
    return pa.ExtensionArray.from_storage(kind, storage)


def _array(values: NDArray[Any]) -> pa.Array:
    """Like pa.array, which would load pandas where it is installed, and that takes half a second."""
    assert values.flags.c_contiguous
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def _texts(texts: Sequence[str]) -> pa.Array:
    """Like pa.array, which is avoided as in _array."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def _matrices(column: pa.Array) -> NDArray[np.float64] | Matrices:
    if column.null_count:
        raise WireError("a matrix column has nulls")
    if isinstance(column, pa.FixedShapeTensorArray):
        entries = _primitive(column.storage.flatten())
        return entries.reshape(len(column), *column.type.shape)
    data, shapes = (column.storage if isinstance(column, pa.ExtensionArray) else column).flatten()
    if data.null_count or shapes.null_count:
        raise WireError("a matrix column has nulls")
    sizes = _primitive(shapes.flatten()).reshape(-1, 2)
    if not np.array_equal(np.diff(_primitive(data.offsets)), sizes.prod(axis=1)):
        raise WireError("the shapes of a matrix column do not fit its entries")
    return Matrices(_primitive(data.flatten()), sizes)


def _primitive(column: pa.Array) -> NDArray[Any]:
    if column.null_count:
        raise WireError("a column has nulls")
    values: NDArray[Any] = np.from_dlpack(column)  # not to_numpy, which like pa.array would load pandas
    return values


class _BufferList:
    """A sink that keeps the buffers written to it, uncopied, until they are taken."""

    closed = False

    def __init__(self) -> None:
        self._buffers: list[Any] = []

    def write(self, data: Any) -> int:
        self._buffers.append(data)
        return len(data)

    def flush(self) -> None: ...

    def take(self) -> list[Any]:
        taken, self._buffers = self._buffers, []
        return taken
