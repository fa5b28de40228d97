"""The parts of a trace file: blocks, each an index frame and a data frame. See docs/trace-format.md.

file  = block*            the first block holds the header alone
block = index frame       a zstd skippable frame of INDEX.size bytes: what is in the block, without decompressing it
        data frame        one independent zstd frame with a checksum: JSON lines, one event each
"""

import struct
import zlib
from typing import Any

import msgspec

from csitrace.model.events import TraceEvent

FORMAT = "csitrace"
MAJOR, MINOR = 1, 0
"""A reader refuses a newer major version. A minor one adds kinds of facts and fields, which older readers skip."""

INDEX_MAGIC = 0x184D2A5C
DATA_MAGIC = 0xFD2FB528
SKIPPABLE = range(0x184D2A50, 0x184D2A60)

INDEX_MAGIC_BYTES = struct.pack("<I", INDEX_MAGIC)
DATA_MAGIC_BYTES = struct.pack("<I", DATA_MAGIC)

HEADER_BLOCK, SNAPSHOT_BLOCK = 1, 2
"""Flags of a block: it holds the header; it holds what was known, not what happened."""

MAX_LINE = 4 << 20
MAX_BLOCK = 8 << 20
"""Bytes of one line and of one block, uncompressed. No writer makes larger ones, no reader takes them."""

MAX_WINDOW = 8 << 20
"""Bytes of history that a zstd frame may ask a reader to keep."""

MAX_TIME = (1 << 63) - 1
"""The last nanosecond that a time may be: in the year 2262."""

_TAG = b"csit"
_INDEX = struct.Struct("<II4sBBHIIIQQQQ")
_CRC = struct.Struct("<I")
INDEX_BYTES = _INDEX.size + _CRC.size
INDEX_CONTENT = INDEX_BYTES - 8


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a file.

    `writer`: the program and its version; `created_at`: ns since the epoch; `recording`: the same for all files into which one
    recording was rotated, and `part`, from 1, their order; `first_seq`: of the first fact after the snapshot, if there is one.
    """

    format: str
    version: tuple[int, int]
    writer: str = ""
    title: str = ""
    created_at: int = 0
    recording: str = ""
    part: int = 1
    first_seq: int = 1


class Index(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What an index frame says of the data frame behind it. `size`, `raw`: its bytes, compressed and not; times: `observed_at`.

    In a snapshot's block the seqs are those of the last fact before it.
    """

    flags: int
    count: int
    size: int
    raw: int
    first_seq: int
    last_seq: int
    first_at: int
    last_at: int
    major: int = MAJOR


def pack_index(index: Index) -> bytes:
    """The whole index frame."""
    head = _INDEX.pack(
        INDEX_MAGIC, INDEX_CONTENT, _TAG, index.major, index.flags, 0, index.count, index.size, index.raw,
        *(min(max(number, 0), MAX_TIME) for number in (index.first_seq, index.last_seq, index.first_at, index.last_at)),
    )  # fmt: skip
    return head + _CRC.pack(zlib.crc32(head))


def unpack_index(data: bytes) -> Index | None:
    """What `INDEX_BYTES` bytes say; None where they are no index frame, or a damaged one."""
    if len(data) < INDEX_BYTES or data[:4] != INDEX_MAGIC_BYTES:
        return None
    head = data[: _INDEX.size]
    _, content, tag, major, flags, _, *numbers = _INDEX.unpack(head)
    (crc,) = _CRC.unpack(data[_INDEX.size : INDEX_BYTES])
    if (content, tag, crc) != (INDEX_CONTENT, _TAG, zlib.crc32(head)):
        return None
    count, size, raw, first_seq, last_seq, first_at, last_at = numbers
    return Index(
        flags=flags, count=count, size=size, raw=raw, first_seq=first_seq, last_seq=last_seq, first_at=first_at,
        last_at=last_at, major=major,
    )  # fmt: skip


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line whose body is not understood: the rest of it."""

    seq: int
    observed_at: int
    occurred_at: int
    body: dict[str, Any]


def encode(event: TraceEvent) -> bytes:
    """One line, without its end. Names that are no UTF-8 (the kernel's may be anything) lose what is not."""
    try:
        return _encoder.encode(event)
    except UnicodeEncodeError:
        return _encoder.encode(_as_text(msgspec.to_builtins(event)))


def _as_text(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_as_text(name): _as_text(each) for name, each in value.items()}
        case list() | tuple():
            return [_as_text(each) for each in value]
    return value


_encoder = msgspec.json.Encoder()
header_encoder = _encoder
event_decoder = msgspec.json.Decoder(TraceEvent)
header_decoder = msgspec.json.Decoder(Header)
line_decoder = msgspec.json.Decoder(Line)
