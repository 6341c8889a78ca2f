import gc
import io
import struct
import weakref
import zlib

import numpy as np
import pyarrow as pa
import pytest

from matstream.generator_service.stream import batches
from matstream.shared import wire
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import WireError, read_stream, write_stream

FIXED = StreamSpec(operation="eigenvalues", dim=2)
VARYING = StreamSpec(operation="add", dim="1-3", cols="1-2", noise=0.1)
MIXED = StreamSpec(operation="add,transpose", dim="1-2")
WEIGHTED = StreamSpec(operation="add:3,transpose", dim="1-2", coefficients="gaussian:2,uniform")
END_MARK = b"\xff\xff\xff\xff\0\0\0\0"

every_layout = pytest.mark.parametrize(
    "spec", [FIXED, VARYING, MIXED, WEIGHTED], ids=["fixed", "varying", "mixed", "weighted"]
)


def sent(spec, samples, batch_rows):
    """The bytes of each batch of a stream, the schema with the first, and the end mark last."""
    schema = wire.schema(spec, samples, "fingerprint")
    return [b"".join(buffers) for buffers in write_stream(batches(spec, samples, batch_rows), schema)]


def received(raw, spec, samples):
    return list(read_stream(io.BytesIO(raw), spec, samples))


def storage(column):
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def refused(raw, spec, samples):
    with pytest.raises(WireError) as error:
        received(raw, spec, samples)
    return str(error.value)


@every_layout
@pytest.mark.parametrize("batch_rows", [1, 4, 7, 100])
def test_a_whole_stream_reads_as_it_was_sent(spec, batch_rows, rows):
    samples = SampleRange(seed=3, split="valid", start=5, count=11)
    raw = b"".join(sent(spec, samples, batch_rows))
    got = received(raw, spec, samples)
    assert rows(got) == rows(batches(spec, samples, batch_rows))
    assert all(batch.num_rows <= batch_rows for batch in got)
    assert sum(batch.num_rows for batch in got) == 11


@every_layout
def test_plain_pyarrow_reads_a_stream(spec, rows):
    samples = SampleRange(count=9)
    table = pa.ipc.open_stream(b"".join(sent(spec, samples, 4))).read_all()
    assert table.column("index").to_pylist() == list(range(9))
    assert rows(table.to_batches()) == rows(batches(spec, samples, 4))


def test_equal_shapes_are_a_fixed_shape_tensor_row_by_row():
    samples = SampleRange(count=3)
    spec = StreamSpec(operation="transpose", dim=2, cols=3)
    [batch] = received(b"".join(sent(spec, samples, 3)), spec, samples)
    for name, shape in (("input", (2, 3)), ("target", (3, 2))):
        kind = batch.schema.field(name).type
        assert kind.extension_name == "arrow.fixed_shape_tensor"
        assert kind.value_type == pa.float64()
        assert tuple(kind.shape) == shape
        assert kind.permutation is None
    entries = np.array(batch.column("input").storage.to_pylist()).reshape(3, 2, 3)
    transposed = np.array(batch.column("target").storage.to_pylist()).reshape(3, 3, 2)
    assert np.array_equal(entries.swapaxes(1, 2), transposed)


def test_varying_shapes_are_a_variable_shape_tensor_row_by_row():
    samples = SampleRange(count=40)
    spec = StreamSpec(operation="transpose", dim="1-3", cols="1-2")
    table = pa.ipc.open_stream(b"".join(sent(spec, samples, 40))).read_all()
    for name in ("input", "target"):
        field = table.schema.field(name)
        extension = (
            getattr(field.type, "extension_name", None) or field.metadata[b"ARROW:extension:name"].decode()
        )
        assert extension == "arrow.variable_shape_tensor"
        layout = storage(table.column(name).chunk(0)).type
        assert layout == pa.struct([("data", pa.list_(pa.float64())), ("shape", pa.list_(pa.int32(), 2))])
    matrices = {
        name: [np.reshape(m["data"], m["shape"]) for m in storage(table.column(name).chunk(0)).to_pylist()]
        for name in ("input", "target")
    }
    assert {matrix.shape for matrix in matrices["input"]} == {(m, n) for m in (1, 2, 3) for n in (1, 2)}
    for matrix, transposed in zip(matrices["input"], matrices["target"], strict=True):
        assert np.array_equal(matrix.T, transposed)


def test_columns_and_their_types_are_the_published_ones():
    types = {field.name: field.type for field in wire.schema(MIXED, SampleRange(count=1), "f")}
    assert list(types) == ["index", "input", "target", "residual", "attempt", "operation"]
    assert types["index"] == pa.int64()
    assert types["residual"] == pa.float64()
    assert types["attempt"] == pa.uint8()
    assert types["operation"] == pa.dictionary(pa.int8(), pa.utf8())
    assert "operation" not in wire.schema(FIXED, SampleRange(count=1), "f").names


def test_a_stream_says_where_it_comes_from():
    samples = SampleRange(seed=3, split="test", start=5, count=2)
    schema = pa.ipc.open_stream(b"".join(sent(FIXED, samples, 2))).schema
    said = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    del said["matstream.crc32"]
    assert said == {
        "matstream.spec": '{"dim":2,"operation":"eigenvalues"}',
        "matstream.seed": "3",
        "matstream.split": "test",
        "matstream.start": "5",
        "matstream.count": "2",
        "matstream.wire_version": wire.WIRE_VERSION,
        "matstream.fingerprint": "fingerprint",
    }


@every_layout
def test_each_batch_carries_its_start_its_rows_and_a_checksum_of_every_value(spec):
    samples = SampleRange(start=4, count=5)
    reader = pa.ipc.open_stream(b"".join(sent(spec, samples, 3)))
    for start, rows in ((4, 3), (7, 2)):
        batch, metadata = reader.read_next_batch_with_custom_metadata()
        counted = struct.pack("<qq", start, rows) + struct.pack(f"<{rows}q", *range(start, start + rows))
        for name in ("input", "target"):
            matrices = storage(batch.column(name)).to_pylist()
            varying = isinstance(matrices[0], dict)
            entries = [x for m in matrices for x in (m["data"] if varying else m)]
            counted += struct.pack(f"<{len(entries)}d", *entries)
            if varying:
                counted += b"".join(struct.pack("<2i", *m["shape"]) for m in matrices)
        counted += struct.pack(f"<{rows}d", *batch.column("residual").to_pylist())
        counted += bytes(batch.column("attempt").to_pylist())
        if len(spec.operation) > 1:
            counted += bytes(spec.operation.index(name) for name in batch.column("operation").to_pylist())
        expected = {b"start": start, b"rows": rows, b"crc32": f"{zlib.crc32(counted):08x}"}
        assert dict(metadata) == {key: str(value).encode() for key, value in expected.items()}


@every_layout
def test_a_stream_cut_at_any_byte_is_refused(spec):
    samples = SampleRange(count=3)
    raw = b"".join(sent(spec, samples, 2))
    accepted = []
    for length in range(len(raw)):
        try:
            received(raw[:length], spec, samples)
        except WireError:
            continue
        accepted.append(length)
    assert accepted == []


def test_a_cut_stream_still_yields_the_batches_before_the_cut():
    samples = SampleRange(count=6)
    messages = sent(FIXED, samples, 2)
    reader = read_stream(io.BytesIO(messages[0] + messages[1] + messages[2][:50]), FIXED, samples)
    assert [next(reader).num_rows, next(reader).num_rows] == [2, 2]
    with pytest.raises(WireError, match="cut"):
        next(reader)


@every_layout
@pytest.mark.parametrize("tail", [b"\0", b"\n", END_MARK, b"HTTP/1.1 200 OK\r\n", bytes(1000)])
def test_bytes_after_the_end_are_refused(spec, tail):
    samples = SampleRange(count=3)
    assert "followed" in refused(b"".join(sent(spec, samples, 2)) + tail, spec, samples)


def test_two_streams_in_one_are_refused():
    samples = SampleRange(count=3)
    raw = b"".join(sent(FIXED, samples, 2))
    assert "followed" in refused(raw + raw, FIXED, samples)


@pytest.mark.parametrize("raw", [b"", END_MARK, b"\0" * 100, b'{"title": "Refused"}', b"<html></html>" * 50])
def test_what_is_no_stream_is_refused(raw):
    refused(raw, FIXED, SampleRange(count=1))


def bytes_read(raw):
    """Which bytes of a stream of one batch hold a value or a text of the metadata, by the name of each."""
    buffer = pa.py_buffer(raw)
    reader = pa.ipc.open_stream(buffer)
    batch, metadata = reader.read_next_batch_with_custom_metadata()
    arrays = {name: batch.column(name) for name in batch.schema.names}
    if "operation" in arrays:
        arrays["names of operations"] = arrays["operation"].dictionary
    places = {}
    for name, array in arrays.items():
        spans = [(part.address - buffer.address, part.size) for part in array.buffers() if part is not None]
        places[name] = {start + i for start, size in spans for i in range(size)}
    for texts in [*reader.schema.metadata.items(), *metadata.items()]:
        for text in texts:
            start = raw.index(struct.pack("<i", len(text)) + text) + 4
            places[text] = set(range(start, start + len(text)))
    return places


@pytest.mark.parametrize("spec", [FIXED, MIXED], ids=["fixed", "mixed"])
def test_a_flipped_bit_is_refused_or_was_never_read(spec, rows):
    samples = SampleRange(seed=7, start=3, count=2)
    raw = b"".join(sent(spec, samples, 2))
    original = received(raw, spec, samples)
    unnoticed, damaged = set(), bytearray(raw)
    for byte in range(len(raw)):
        for bit in (byte % 8, (byte + 5) % 8):
            damaged[byte] ^= 1 << bit
            try:
                got = received(damaged, spec, samples)
            except WireError:
                pass
            else:
                assert rows(got) == rows(original), f"bit {bit} of byte {byte} is read and nobody notices"
                assert got[0].schema.equals(original[0].schema, check_metadata=True)
                unnoticed.add(byte)
            damaged[byte] ^= 1 << bit
    for name, places in bytes_read(raw).items():
        assert places
        assert not unnoticed & places, name


@pytest.mark.parametrize(
    ("name", "spec", "samples"),
    [
        ("spec", StreamSpec(operation="eigenvalues", dim=2, scale=9), {}),
        ("spec", StreamSpec(operation="transpose", dim=2), {}),
        ("seed", FIXED, {"seed": 1}),
        ("split", FIXED, {"split": "test"}),
        ("start", FIXED, {"start": 5}),
        ("count", FIXED, {"count": 4}),
    ],
)
def test_the_stream_of_another_address_is_refused_with_the_difference_named(name, spec, samples):
    samples = SampleRange(**({"seed": 2, "split": "valid", "start": 4, "count": 3} | samples))
    raw = b"".join(sent(FIXED, SampleRange(seed=2, split="valid", start=4, count=3), 2))
    message = refused(raw, spec, samples)
    asked = {"spec": spec.canonical()}.get(name) or getattr(samples, name)
    assert message.startswith(f"{name} is ")
    assert str(asked) in message


def test_another_wire_version_is_refused(monkeypatch):
    samples = SampleRange(count=3)
    monkeypatch.setattr(wire, "WIRE_VERSION", "99")
    raw = b"".join(sent(FIXED, samples, 2))
    monkeypatch.undo()
    assert "wire_version is '99'" in refused(raw, FIXED, samples)


def test_a_stream_that_does_not_say_where_it_comes_from_is_refused():
    samples = SampleRange(count=3)
    schema = wire.schema(FIXED, samples, "f").remove_metadata()
    raw = b"".join(b"".join(part) for part in write_stream(batches(FIXED, samples, 3), schema))
    assert "spec is None" in refused(raw, FIXED, samples)


@pytest.mark.parametrize("fingerprint", ["", "x" * 65, "é", "two\nlines", "\x1b[31m"])
def test_a_fingerprint_that_cannot_be_shown_is_refused(fingerprint):
    samples = SampleRange(count=3)
    made = batches(FIXED, samples, 3)
    raw = b"".join(map(b"".join, write_stream(made, wire.schema(FIXED, samples, fingerprint))))
    message = refused(raw, FIXED, samples)
    assert message.startswith("fingerprint is ")
    assert message.isprintable()
    assert len(message) < 200


def test_columns_of_another_type_are_refused():
    samples = SampleRange(count=2)
    schema = wire.schema(FIXED, samples, "f")
    other = schema.set(3, pa.field("residual", pa.float32(), nullable=False))
    [batch] = batches(FIXED, samples, 2)
    columns = [*batch.columns[:3], pa.array(np.zeros(2, dtype=np.float32)), batch.columns[4]]
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, other) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=other))
    assert "schema" in refused(sink.getvalue(), FIXED, samples)


@pytest.mark.parametrize(
    "order",
    [
        (0, 2, 3, 4),
        (0, 1, 3, 4),
        (0, 2, 1, 3, 4),
        (0, 1, 1, 2, 3, 4),
        (0, 1, 2, 3, 3, 4),
        (0, 1, 2, 4),
        (0, 1, 2, 3),
    ],
)
def test_batches_lost_repeated_or_out_of_order_are_refused(order):
    samples = SampleRange(count=8)
    messages = sent(FIXED, samples, 2)
    assert len(messages) == 5
    refused(b"".join(messages[i] for i in order), FIXED, samples)


def test_more_rows_than_asked_for_are_refused():
    schema = wire.schema(FIXED, SampleRange(count=3), "f")
    for rows in (2, 4):
        made = batches(FIXED, SampleRange(count=4), rows)
        raw = b"".join(b"".join(part) for part in write_stream(made, schema))
        assert "runs past sample 2" in refused(raw, FIXED, SampleRange(count=3))


def test_fewer_rows_than_asked_for_are_refused_however_clean_the_end():
    schema = wire.schema(FIXED, SampleRange(count=5), "f")
    made = batches(FIXED, SampleRange(count=4), 2)
    raw = b"".join(b"".join(part) for part in write_stream(made, schema))
    assert raw.endswith(END_MARK)
    assert "ends before sample 4 of [0, 5)" in refused(raw, FIXED, SampleRange(count=5))


def crafted(spec, samples, columns, metadata=None):
    """A stream of one batch of `columns` in place of the true ones, with a checksum that fits if it can."""
    schema = wire.schema(spec, samples, "f")
    [true] = batches(spec, samples, samples.count)
    batch = pa.RecordBatch.from_arrays(
        [columns.get(name, true.column(name)) for name in schema.names], schema=schema
    )
    if metadata is None:
        try:
            crc = wire.checksum(samples.start, wire.from_batch(batch))
        except WireError:
            crc = wire.checksum(samples.start, wire.from_batch(true))
        metadata = {"start": str(samples.start), "rows": str(samples.count), "crc32": crc}
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(batch, custom_metadata=metadata)
    return sink.getvalue()


def test_crafted_streams_are_refused_for_what_is_wrong_with_them_only():
    for spec in (FIXED, VARYING, MIXED):
        assert received(crafted(spec, SampleRange(count=2), {}), spec, SampleRange(count=2))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("index", pa.array([0, None], pa.int64())),
        ("residual", pa.array([None, 0.0], pa.float64())),
        ("attempt", pa.array([0, None], pa.uint8())),
        ("target", [[1.0, 2.0], None]),
        ("target", [[1.0, 2.0], [1.0, None]]),
    ],
)
def test_nulls_are_refused(name, column):
    if name == "target":
        kind = wire.schema(FIXED, SampleRange(count=2), "f").field("target").type
        column = pa.ExtensionArray.from_storage(kind, pa.array(column, kind.storage_type))
    assert "nulls" in refused(
        crafted(FIXED, SampleRange(count=2), {name: column}), FIXED, SampleRange(count=2)
    )


@pytest.mark.parametrize(
    "matrices",
    [
        [{"data": [1.0], "shape": [1, 1]}, None],
        [{"data": [1.0], "shape": [1, 1]}, {"data": None, "shape": [1, 1]}],
        [{"data": [1.0], "shape": [1, 1]}, {"data": None, "shape": [0, 0]}],
        [{"data": [1.0], "shape": [1, 1]}, {"data": [1.0], "shape": None}],
        [{"data": [1.0], "shape": [1, 1]}, {"data": [None], "shape": [1, 1]}],
        [{"data": [1.0], "shape": [1, 1]}, {"data": [1.0], "shape": [1, None]}],
        [{"data": [1.0], "shape": [1, 1]}, {"data": [1.0, 2.0], "shape": [2, 2]}],
        [{"data": [1.0, 2.0], "shape": [1, 1]}, {"data": [1.0], "shape": [1, 2]}],
    ],
)
def test_nulls_and_shapes_that_do_not_fit_are_refused_where_shapes_vary(matrices):
    samples = SampleRange(count=2)
    column = pa.array(matrices, wire.schema(VARYING, samples, "f").field("target").type)
    refused(crafted(VARYING, samples, {"target": column}), VARYING, samples)


def test_an_index_column_that_does_not_count_is_refused():
    samples = SampleRange(count=2)
    raw = crafted(FIXED, samples, {"index": pa.array([0, 2], pa.int64())})
    assert "does not count" in refused(raw, FIXED, samples)


@pytest.mark.parametrize("names", [["transpose", "add"], ["add", "eigenvalues"], ["add", "transpose", "sum"]])
def test_an_operation_column_of_other_operations_is_refused(names):
    samples = SampleRange(count=2)
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(names))
    refused(crafted(MIXED, samples, {"operation": column}), MIXED, samples)


@pytest.mark.parametrize(
    "metadata", [{}, {"start": "0", "rows": "2"}, {"start": "0", "rows": "2", "crc32": "0"}]
)
def test_a_batch_without_its_checksum_is_refused(metadata):
    samples = SampleRange(count=2)
    assert "damaged" in refused(crafted(FIXED, samples, {}, metadata), FIXED, samples)


def test_a_source_that_reads_a_byte_at_a_time_is_read_whole():
    samples = SampleRange(count=3)
    raw = io.BytesIO(b"".join(sent(FIXED, samples, 2)))

    class Drip:
        def read(self, size):
            return raw.read(min(size, 1))

    assert sum(batch.num_rows for batch in read_stream(Drip(), FIXED, samples)) == 3


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), TimeoutError("late"), RuntimeError("other")])
def test_what_the_source_raises_passes_through(error):
    samples = SampleRange(count=3)
    messages = sent(FIXED, samples, 2)

    class Breaking(io.BytesIO):
        def read(self, size=-1):
            data = super().read(size)
            if not data:
                raise error
            return data

    reader = read_stream(Breaking(b"".join(messages[:1])), FIXED, samples)
    assert next(reader).num_rows == 2
    with pytest.raises(type(error)) as raised:
        next(reader)
    assert raised.value is error


@pytest.mark.parametrize("forged", [struct.pack("<Ii", 0xFFFFFFFF, 2**31 - 1), b"<html>", b""])
def test_what_was_read_of_a_refused_stream_is_let_go(forged):
    class Source(io.BytesIO):
        pass

    source = Source(forged + bytes(100))
    held = weakref.ref(source)
    with pytest.raises(WireError):
        list(read_stream(source, FIXED, SampleRange(count=3)))
    del source
    gc.collect()
    assert held() is None


def test_an_end_mark_is_written_only_after_the_last_batch():
    def two_then_failure():
        yield from batches(FIXED, SampleRange(count=4), 2)
        raise RuntimeError("cannot go on")

    written = []
    with pytest.raises(RuntimeError, match="cannot go on"):
        written.extend(write_stream(two_then_failure(), wire.schema(FIXED, SampleRange(count=6), "f")))
    assert not b"".join(b"".join(part) for part in written).endswith(END_MARK)
    assert b"".join(sent(FIXED, SampleRange(count=4), 2)).endswith(END_MARK)
