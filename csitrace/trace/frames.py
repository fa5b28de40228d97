"""Finding the blocks of a trace file, whatever happened to it: cut off anywhere, bytes changed, indexes lost.

A block is found by its index frame, else by walking the zstd frame (RFC 8878, section 3.1.1), else by searching for the next of
either; all of it without decompressing, and in memory and steps that the file's size bounds.
"""

import os
import struct
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import zstandard

from csitrace.trace.format import (
    DATA_MAGIC,
    DATA_MAGIC_BYTES,
    INDEX_BYTES,
    INDEX_MAGIC_BYTES,
    SKIPPABLE,
    Index,
    unpack_index,
)

_HEADER_MAX = 18
_CHUNK = 1 << 20
_CACHED = 1 << 16
_RLE = 1


class Bytes(Protocol):
    """Where bytes are read from. `read` gives fewer at the end, none beyond it."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, count: int) -> bytes: ...


class FileBytes:
    """An open file; its size is what it was when it was opened. Closed when it is forgotten, at the latest."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.close = weakref.finalize(self, os.close, descriptor)
        self.size = os.fstat(descriptor).st_size
        self._at, self._cached = 0, b""

    def read(self, offset: int, count: int) -> bytes:
        count = min(count, self.size - offset)
        if count <= 0:
            return b""
        if count >= _CACHED:
            return os.pread(self.descriptor, count, offset)
        start = offset - self._at
        if start < 0 or start + count > len(self._cached):
            self._at, start = offset, 0
            self._cached = os.pread(self.descriptor, _CACHED, offset)
        return self._cached[start : start + count]


class MemoryBytes:
    """Bytes at hand."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = len(content)

    def read(self, offset: int, count: int) -> bytes:
        return self.content[offset : offset + count]


@dataclass(frozen=True, slots=True)
class Frame:
    """A data frame at [start, end), and what its index says. `index` None: it has none that can be read."""

    start: int
    end: int
    index: Index | None


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes [start, end) that are no block. `tail`: the file ends with them; `index`: of a block whose data is cut off."""

    start: int
    end: int
    tail: bool = False
    index: Index | None = None


def frames(source: Bytes, position: int = 0) -> Iterator[Frame | Damage]:
    """Every block from a position on, in the file's order, and what lies between them and is none."""
    walk = _Walk(source)
    while position < source.size:
        found = walk.at(position)
        if found is None:
            following = walk.search(position + 1)
            end = source.size if following is None else following
            yield Damage(position, end, tail=following is None)
            position = end
            continue
        if isinstance(found, Damage):
            yield found
            return
        if found.start < found.end:
            yield found
        position = found.end


class _Walk:
    """`steps`: how many zstd blocks may still be walked over, so that no file takes more than its size allows."""

    def __init__(self, source: Bytes) -> None:
        self._source = source
        self._steps = 100_000 + source.size // 16

    def at(self, position: int) -> Frame | Damage | None:
        """What begins here; an empty frame for what is to be passed over; None where nothing does."""
        size, head = self._source.size, self._source.read(position, INDEX_BYTES)
        if len(head) < 8:
            return None
        index = unpack_index(head)
        if index is not None:
            start = position + INDEX_BYTES
            if start + index.size > size:
                return Damage(position, size, tail=True, index=index)
            return Frame(start, start + index.size, index)
        magic, length = struct.unpack_from("<II", head)
        if magic == DATA_MAGIC:
            end = self._data_end(position)
            return Frame(position, end, None) if end is not None else None
        end = position + 8 + length
        usual = position + INDEX_BYTES
        if head[:4] == INDEX_MAGIC_BYTES and self._source.read(usual, 4) == DATA_MAGIC_BYTES:
            end = usual  # of a damaged index the length may be what is damaged, and lead to another block, past some
        if magic in SKIPPABLE and (end == size or self._is_frame(end)):
            return Frame(end, end, None)
        return None

    def search(self, position: int) -> int | None:
        """Where the next block begins, at or after a position."""
        size = self._source.size
        while position < size:
            chunk = self._source.read(position, _CHUNK)
            offset = 0
            while (offset := _next_magic(chunk, offset)) >= 0:
                if self._begins_block(position + offset):
                    return position + offset
                offset += 1
            if position + len(chunk) >= size or len(chunk) < 8:
                return None
            position += len(chunk) - 3
        return None

    def _begins_block(self, position: int) -> bool:
        if unpack_index(self._source.read(position, INDEX_BYTES)) is not None:
            return True
        if self._source.read(position, 4) != DATA_MAGIC_BYTES:
            return False
        end = self._data_end(position)
        return end is not None and (end == self._source.size or self._is_frame(end))

    def _is_frame(self, position: int) -> bool:
        head = self._source.read(position, 4)
        return len(head) == 4 and (head == DATA_MAGIC_BYTES or struct.unpack("<I", head)[0] in SKIPPABLE)

    def _data_end(self, position: int) -> int | None:
        """Where the zstd frame that begins here ends; None where it does not, or is none."""
        head = self._source.read(position, _HEADER_MAX)
        try:
            position += zstandard.frame_header_size(head)
            has_checksum = zstandard.get_frame_parameters(head).has_checksum
        except (zstandard.ZstdError, ValueError):
            return None
        last = 0
        while not last:
            self._steps -= 1
            raw = self._source.read(position, 3)
            if len(raw) < 3 or self._steps < 0:
                return None
            block = int.from_bytes(raw, "little")
            last, kind = block & 1, block >> 1 & 3
            position += 3 + (1 if kind == _RLE else block >> 3)
        position += 4 if has_checksum else 0
        return position if position <= self._source.size else None


def _next_magic(chunk: bytes, offset: int) -> int:
    found = [at for magic in (INDEX_MAGIC_BYTES, DATA_MAGIC_BYTES) if (at := chunk.find(magic, offset)) >= 0]
    return min(found, default=-1)
