"""A guard between a stream and Arrow: it limits how many bytes Arrow reads, and refuses compressed messages.

Arrow trusts what a message says about itself: a few forged bytes make it read without end, and a compressed
body makes it unpack gigabytes from kilobytes. The messages of matstream are never compressed.
"""

import struct
from typing import Protocol

from matstream.shared.errors import UserError

_CONTINUATION = 0xFFFFFFFF
_PREFIX = 8  # bytes: the continuation mark and the length of the metadata
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # types of a message's header


class WireError(UserError):
    """A stream that is cut, damaged, or not the one that was asked for."""


class Source(Protocol):
    """A binary stream: `read(n)` returns at most n bytes, none at its end."""

    def read(self, size: int, /) -> bytes | memoryview: ...


class ArrowBytes:
    """A source for Arrow to read from: it gives at most `most` bytes, and only uncompressed messages.

    It remembers the last 8 bytes that were read, and the error that ended the reading.
    """

    closed = False

    def __init__(self, source: Source, most: int) -> None:
        self._source = source
        self._most = most
        self._head = bytearray()  # prefix and metadata of the message that is being read
        self._head_size = _PREFIX
        self._body_left = 0
        self.last = b""
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes | memoryview:
        if self.error is not None:
            raise self.error
        parts, missing = [], size
        try:
            if size > self._most:
                raise WireError(
                    "the stream is damaged: it claims to be longer than what was asked for can be"
                )
            self._most -= size
            while missing > 0 and (part := self._source.read(missing)):
                parts.append(part)
                missing -= len(part)
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            self._follow(memoryview(data))
        except BaseException as error:
            self.error = error
            raise
        self.last = (self.last + bytes(data))[-8:] if len(data) < 8 else bytes(data[-8:])
        return data

    def _follow(self, data: memoryview) -> None:
        """Keep track of messages: each has a prefix, metadata of the length that this gives, and a body."""
        while data:
            if self._body_left:
                skipped = min(self._body_left, len(data))
                self._body_left -= skipped
            else:
                skipped = min(self._head_size - len(self._head), len(data))
                self._head += data[:skipped]
                if len(self._head) == self._head_size:
                    self._end_of_head()
            data = data[skipped:]

    def _end_of_head(self) -> None:
        if len(self._head) == _PREFIX:
            mark, length = struct.unpack("<Ii", self._head)
            if mark != _CONTINUATION or length < 0:
                raise WireError("the stream is damaged: no message begins where one should")
            self._head_size += length
        if len(self._head) == self._head_size:  # the metadata is complete too, or the end mark has none
            if self._head_size > _PREFIX:
                self._body_left = _body_of(memoryview(self._head)[_PREFIX:])
            self._head, self._head_size = bytearray(), _PREFIX


def _body_of(metadata: memoryview) -> int:
    """The length of a message's body in bytes.

    Raises WireError if the message is compressed or its metadata cannot be read.
    """
    try:
        message = _followed(metadata, 0)
        kind = _number("<B", metadata, _field(metadata, message, 1))
        header = _followed(metadata, _field(metadata, message, 2))
        length = _field(metadata, message, 3)
        size = _number("<q", metadata, length) if length else 0
        if kind == _DICTIONARY_BATCH:
            header = _followed(metadata, _field(metadata, header, 1))
        compressed = kind in (_DICTIONARY_BATCH, _RECORD_BATCH) and _field(metadata, header, 3)
    except struct.error:
        raise WireError("the stream is damaged: the metadata of a message cannot be read") from None
    if compressed or size < 0:
        raise WireError("the stream is damaged: a message is compressed or has a negative size")
    return size


def _field(buffer: memoryview, table: int, number: int) -> int:
    """The position of field `number` of a FlatBuffers table, or 0 if the field is left at its default.

    (FlatBuffers internals: a table begins with the distance to its vtable, which has the fields' offsets.)
    """
    vtable = table - _number("<i", buffer, table)
    there = 4 + 2 * number < _number("<H", buffer, vtable)
    offset = _number("<H", buffer, vtable + 4 + 2 * number) if there else 0
    return table + offset if offset else 0


def _followed(buffer: memoryview, position: int) -> int:
    """The position to which the offset stored at `position` leads."""
    return position + _number("<I", buffer, position)


def _number(form: str, buffer: memoryview, position: int) -> int:
    if position < 0:
        raise struct.error
    number: int = struct.unpack_from(form, buffer, position)[0]
    return number
