"""Facts on their way from files to their order in time: kept compactly on disk, so that memory does not grow with the files.

What is kept has already passed the allow-list; the file has no name and is gone with the process.
"""

import os
import tempfile
from collections.abc import Iterator

import msgspec

from csitrace.errors import TraceError
from csitrace.model.events import Body, Stamp

_LENGTH = 4
_READ = 1 << 14


class Told(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One fact of a file. `at`: where it belongs among the facts of other files, in ns since the epoch; `occurred_at`: when it
    happened, None where nothing tells."""

    at: int
    body: Body
    occurred_at: int | None = None
    stamp: Stamp = Stamp.OBSERVED


class Segment:
    """Facts of one origin, in its own order; read as often as needed."""

    def __init__(self, spool: "Spool") -> None:
        self._spool = spool
        self._pieces: list[tuple[int, int]] = []
        self._pending = bytearray()
        self._last = 0
        self.count = 0
        self.dropped = 0

    def add(self, told: Told) -> None:
        """The next one. A time before that of the last is moved up to it: a file's own order stands. What no
        trace could hold (a number of more than 64 bits, half a character) is dropped and counted."""
        if told.at < self._last:
            told = msgspec.structs.replace(told, at=self._last)
        try:
            raw = _ENCODER.encode(told)
        except (OverflowError, ValueError):
            self.dropped += 1
            return
        self._last = told.at
        self._pending += len(raw).to_bytes(_LENGTH, "big") + raw
        self.count += 1
        if len(self._pending) > _READ:
            self._flush()

    @property
    def last_at(self) -> int:
        """The time of the last one; 0 without any."""
        return self._last

    def __iter__(self) -> Iterator[Told]:
        self._flush()
        rest = b""
        for start, length in self._pieces:
            at = 0
            while at < length:
                rest += os.pread(self._spool.fileno, min(_READ, length - at), start + at)
                at += min(_READ, length - at)
                begin = 0
                while len(rest) - begin >= _LENGTH:
                    size = int.from_bytes(rest[begin : begin + _LENGTH], "big")
                    if len(rest) - begin - _LENGTH < size:
                        break
                    begin += _LENGTH + size
                    yield _DECODER.decode(rest[begin - size : begin])
                rest = rest[begin:]

    def _flush(self) -> None:
        if self._pending:
            self._pieces.append(self._spool.append(bytes(self._pending)))
            self._pending = bytearray()


class Spool:
    """One temporary file for all segments of an import."""

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(prefix="csitrace-import-")  # noqa: SIM115 - as long as the events are read
        except OSError as error:
            raise _no_room(error) from error
        self._size = 0

    @property
    def fileno(self) -> int:
        return self._file.fileno()

    def append(self, raw: bytes) -> tuple[int, int]:
        """(where it is, how long it is). Raises `TraceError` when there is no room for it."""
        start = self._size
        view = memoryview(raw)
        while view:
            try:
                written = os.pwrite(self.fileno, view, self._size)
            except OSError as error:
                raise _no_room(error) from error
            self._size += written
            view = view[written:]
        return start, len(raw)

    def segment(self) -> Segment:
        """A new one, empty."""
        return Segment(self)


def _no_room(error: OSError) -> TraceError:
    return TraceError(
        f"cannot keep what was read in a temporary file: {error.strerror or error}; name a directory with room in TMPDIR"
    )


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Told)
