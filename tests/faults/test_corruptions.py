"""Recorded streams with flipped bits, changed bytes, cuts and gaps: refused, or the same to the last bit."""

import functools
import io
import random
import time
from collections.abc import Callable, Iterator

import pytest

from matstream.generator_service.stream import batches
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import WireError, read_stream, schema, write_stream

SAMPLES = SampleRange(seed=5, split="valid", start=11, count=7)
STREAMS = {
    "one shape": StreamSpec(operation="eigenvalues", dim=3),
    "many shapes": StreamSpec(operation="transpose", dim="1-3", cols="1-2"),
    "several operations": StreamSpec(operation="add,eigenvalues,svd", dim="1-3"),
    "one sample a batch": StreamSpec(operation="inverse", dim=2, noise=0.1),
}

every_stream = pytest.mark.parametrize("name", STREAMS)
Corruptions = Iterator[bytes]


@functools.cache
def recorded(name: str) -> bytes:
    spec, batch_rows = STREAMS[name], 1 if name == "one sample a batch" else 3
    made = batches(spec, SAMPLES, batch_rows)
    parts = write_stream(made, schema(spec, SAMPLES, "fingerprint"))
    return b"".join(bytes(buffer) for buffers in parts for buffer in buffers)


def flipped_bits(whole: bytes) -> Corruptions:
    for place in range(len(whole)):
        for bit in range(8):
            yield whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]


def changed_bytes(whole: bytes) -> Corruptions:
    for place in range(len(whole)):
        for byte in {0, 0x7F, 0x80, 0xFF, whole[place] ^ 0xFF} - {whole[place]}:
            yield whole[:place] + bytes([byte]) + whole[place + 1 :]


def cuts(whole: bytes) -> Corruptions:
    for place in range(len(whole)):
        yield whole[:place]


def gaps(whole: bytes) -> Corruptions:
    for size in (1, 8, 64):
        for place in range(len(whole) - size):
            yield whole[:place] + whole[place + size :]
            yield whole[:place] + whole[place : place + size] + whole[place:]


def words(whole: bytes) -> Corruptions:
    """Lengths, offsets and counts, words of four or eight bytes, made one more, huge, negative."""
    for size in (4, 8):
        for place in range(0, len(whole) - size, 4):
            word = int.from_bytes(whole[place : place + size], "little")
            for other in (0, word + 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1):
                changed = (other % 2 ** (8 * size)).to_bytes(size, "little")
                yield whole[:place] + changed + whole[place + size :]


KINDS: dict[str, Callable[[bytes], Corruptions]] = {
    "a flipped bit": flipped_bits,
    "a changed byte": changed_bytes,
    "a cut": cuts,
    "a gap or a repetition": gaps,
    "another length, offset or count": words,
}


def refused(name: str, kind: str, share: float, rows: Callable) -> tuple[int, int]:
    """How many corruptions of a stream, a random share of all, were tried, and how many of them refused.

    The others must read the same.
    """
    expected = rows(read_stream(io.BytesIO(recorded(name)), STREAMS[name], SAMPLES))
    chosen = random.Random(0)
    tried = refusals = 0
    for corrupt in KINDS[kind](recorded(name)):
        if chosen.random() > share:
            continue
        tried += 1
        try:
            received = rows(read_stream(io.BytesIO(corrupt), STREAMS[name], SAMPLES))
        except WireError:
            refusals += 1
            continue
        assert received == expected
    return tried, refusals


def test_no_stream_is_accepted_with_other_values(rows, note):
    begun = time.monotonic()
    counts = [refused(name, kind, 0.002, rows) for name in STREAMS for kind in KINDS]
    tried, refusals = map(sum, zip(*counts, strict=True))
    assert 0.5 * tried < refusals
    seconds = time.monotonic() - begun
    note("a damaged stream", times=tried, outcome="refused, or identical", seconds=seconds)


@pytest.mark.long
@every_stream
@pytest.mark.parametrize("kind", KINDS)
def test_no_stream_is_accepted_with_other_values_wherever_it_is_damaged(rows, note, name, kind):
    begun = time.monotonic()
    tried, refusals = refused(name, kind, 1.0 if kind == "a cut" else 0.1, rows)
    assert refusals > 0
    outcome = f"{refusals:,} refused, {tried - refusals:,} identical"
    note(f"{kind} in a stream of {name}", times=tried, outcome=outcome, seconds=time.monotonic() - begun)
