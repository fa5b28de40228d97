"""Protocol Buffers' wire format, as much of it as is written here (protobuf.dev, "Encoding"): each function is one field."""

import struct

_VARINT, _FIXED64, _BYTES = 0, 1, 2


def varint(number: int, value: int) -> bytes:
    """An integer, bool or enum field; negative ones as int64."""
    return _varint(number << 3 | _VARINT) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def fixed64(number: int, value: int) -> bytes:
    return _varint(number << 3 | _FIXED64) + struct.pack("<Q", value & 0xFFFF_FFFF_FFFF_FFFF)


def data(number: int, value: bytes) -> bytes:
    """A field of bytes, or a message that is already written."""
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def text(number: int, value: str) -> bytes:
    """A string; what is no text at all (a lone surrogate) is replaced."""
    return data(number, value.encode("utf-8", "replace"))


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
