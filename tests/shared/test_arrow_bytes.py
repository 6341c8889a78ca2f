"""What Arrow would believe of a stream, and must not be given."""

import io
import struct

import pyarrow as pa
import pytest

from matstream.generator_service.stream import batches
from matstream.shared import wire
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import WireError, largest_stream, read_stream

FIXED = StreamSpec(operation="eigenvalues", dim=5)
MIXED = StreamSpec(operation="add,transpose", dim="1-2")
SAMPLES = SampleRange(count=50)


def written(spec: StreamSpec, compression: str | None) -> bytes:
    """A stream of SAMPLES as any Arrow library might write it."""
    [batch] = batches(spec, SAMPLES, SAMPLES.count)
    metadata = {"start": "0", "rows": "50", "crc32": wire.checksum(0, wire.from_batch(batch))}
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, wire.schema(spec, SAMPLES, "any"), options=options) as writer:
        writer.write_batch(batch, custom_metadata=metadata)
    return sink.getvalue()


class Counted(io.BytesIO):
    """Bytes that count how many of them were read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


@pytest.mark.parametrize("spec", [FIXED, MIXED], ids=["batches", "dictionaries too"])
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compressed_stream_is_refused_before_its_body_is_read(spec, compression):
    assert len(list(read_stream(io.BytesIO(written(spec, None)), spec, SAMPLES))) == 1
    with pytest.raises(WireError, match="compressed"):
        list(read_stream(io.BytesIO(written(spec, compression)), spec, SAMPLES))


@pytest.mark.parametrize("length", [2**31 - 1, 2**24])
def test_a_message_that_says_it_is_longer_than_what_was_asked_for_is_not_read(length):
    whole = written(FIXED, None)
    source = Counted(whole[:4] + struct.pack("<i", length) + bytes(1 << 25))
    with pytest.raises(WireError, match="longer than what was asked for"):
        list(read_stream(source, FIXED, SAMPLES))
    assert source.taken <= 8


def test_a_stream_that_goes_on_is_not_read_to_its_end():
    class Endless(Counted):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(size) or bytes(size or 0)

    source = Endless(written(FIXED, None)[:-8])
    with pytest.raises(WireError):
        list(read_stream(source, FIXED, SAMPLES))
    assert source.taken <= largest_stream(FIXED, SAMPLES.count, SAMPLES.count)


@pytest.mark.parametrize("dim", ["1", "64", "1-9"])
@pytest.mark.parametrize("batch_rows", [1, 16, 50])
def test_no_honest_stream_is_larger_than_the_largest(dim, batch_rows):
    spec = StreamSpec(operation="add,eigenvalues,transpose", dim=dim)
    made = list(batches(spec, SAMPLES, batch_rows))
    size = sum(len(buffer) for buffers in wire.write_stream(made, made[0].schema) for buffer in buffers)
    assert size <= largest_stream(spec, SAMPLES.count, len(made))


@pytest.mark.parametrize("end", range(0, 400, 7))
def test_metadata_that_are_none_are_refused_not_followed(end):
    whole = bytearray(written(FIXED, None))
    whole[8 : 8 + end] = b"\xee" * end
    source = io.BytesIO(bytes(whole))
    if end == 0:
        assert len(list(read_stream(source, FIXED, SAMPLES))) == 1
        return
    with pytest.raises(WireError):
        list(read_stream(source, FIXED, SAMPLES))
