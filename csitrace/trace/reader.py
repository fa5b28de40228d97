"""Reading a trace file, whatever happened to it: what is whole is read, what is not is noted.

Nothing but `TraceError` is raised, on any bytes. Memory is bounded by one block (`format.MAX_BLOCK`), whatever the bytes ask for.
"""

import os
import stat
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, cast

import msgspec
import zstandard

from csitrace.errors import TraceError
from csitrace.model.events import RecordingGap, Stamp, TraceEvent, Unrecognised
from csitrace.trace.format import (
    DATA_MAGIC_BYTES,
    FORMAT,
    HEADER_BLOCK,
    MAJOR,
    MAX_BLOCK,
    MAX_LINE,
    MAX_TIME,
    MAX_WINDOW,
    SKIPPABLE,
    SNAPSHOT_BLOCK,
    Header,
    event_decoder,
    header_decoder,
    line_decoder,
)
from csitrace.trace.frames import Bytes, Damage, FileBytes, Frame, MemoryBytes, frames

_READ = 1 << 18
_SEEKING = 1 << 16
"""How many blocks are remembered for seeking, at the most: of larger files, every second, fourth, … is."""

_NOTES = 100
_EXPANSION = 1_000
"""How many times its size a frame without an index may become."""

_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class Extent:
    """What the indexes tell of a file: how many facts, in which places and times. Blocks without an index are not in it."""

    count: int
    first_seq: int
    last_seq: int
    first_at: int
    last_at: int


class TraceReader:
    """One file. `notes`: what could not be read, and where; it grows while events are read. A context manager."""

    def __init__(self, source: Bytes, name: str, notes: list[str] | None = None) -> None:
        """Raises `TraceError`: it is no trace, or one of a newer major version."""
        self.name = name
        self.notes: list[str] = notes if notes is not None else []
        self._source = source
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        self._seeking: list[tuple[int, int, int]] | None = None
        self._bad_lines = 0
        self.header = self._read_header()

    @classmethod
    def open(cls, path: Path, notes: list[str] | None = None) -> "TraceReader":
        """`notes`: where to note what cannot be read. Raises `TraceError`: no such file, it may not be read, or is no trace."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise TraceError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
        source = FileBytes(descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise TraceError(f"{path} is no regular file: name a recording")
            return cls(source, str(path), notes)
        except BaseException:
            source.close()
            raise

    @classmethod
    def of(cls, content: bytes, name: str = "recording") -> "TraceReader":
        """The same of bytes at hand."""
        return cls(MemoryBytes(content), name)

    def close(self) -> None:
        if isinstance(self._source, FileBytes):
            self._source.close()

    def __enter__(self) -> "TraceReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def events(self, first: int = 0, *, since: int = 0) -> Iterator[TraceEvent]:
        """The events in the file's order: what was known before (`seq` 0) and then what was heard. Where facts are missing, a
        `RecordingGap` (`seq` 0, too) says so.

        `first`, `since`: only facts from this seq, this time (`observed_at`, ns) on, and nothing of what was known before.
        Raises `TraceError` when the file cannot be read any more.
        """
        sought = bool(first or since)
        expected = 0 if sought or self.header is None else self.header.first_seq
        position = self._sought(first, since) if sought else 0
        try:
            for frame in frames(self._source, position):
                if isinstance(frame, Damage):
                    self._note_damage(frame)
                    continue
                for event in self._events_of(frame, sought, first, since):
                    if event.seq and expected and event.seq > expected:
                        yield _missing(event, event.seq - expected)
                    if event.seq:
                        expected = event.seq + 1
                    elif isinstance(event.body, RecordingGap):
                        expected = 0  # the recorder says itself what is missing
                    yield event
        except OSError as error:
            raise TraceError(f"{self.name}: {error.strerror}: cannot read on") from error
        if self._bad_lines:
            self._note(f"{self._bad_lines} lines are no events")
            self._bad_lines = 0

    def extent(self) -> Extent | None:
        """What the indexes tell; None where there are no facts, or no indexes."""
        count, known = 0, None
        for frame in self._frames():
            index = frame.index
            if index is None or index.flags & (HEADER_BLOCK | SNAPSHOT_BLOCK):
                continue
            count += index.count
            first = known or Extent(0, index.first_seq, 0, index.first_at, 0)
            known = Extent(count, first.first_seq, index.last_seq, first.first_at, index.last_at)
        return known

    def _frames(self) -> Iterator[Frame]:
        try:
            yield from (frame for frame in frames(self._source) if isinstance(frame, Frame))
        except OSError as error:
            raise TraceError(f"{self.name}: {error.strerror}: cannot read on") from error

    def _sought(self, first: int, since: int) -> int:
        """Where to begin to read: no fact before it is wanted."""
        if self._seeking is None:
            self._seeking = list(self._indexed())
        by_seq = bisect_left(self._seeking, first, key=lambda each: each[0])
        by_time = bisect_left(self._seeking, since, key=lambda each: each[1])
        place = max(by_seq, by_time)
        return self._seeking[place - 1][2] if place else 0

    def _indexed(self) -> Iterable[tuple[int, int, int]]:
        """(last seq, last time, where the next one begins) of blocks, as many as there is room for."""
        kept: list[tuple[int, int, int]] = []
        every, seq, at = 1, 0, 0
        for number, frame in enumerate(self._frames()):
            if frame.index is None or number % every:
                continue
            seq, at = max(seq, frame.index.last_seq), max(at, frame.index.last_at)
            kept.append((seq, at, frame.end))
            if len(kept) == _SEEKING:
                kept, every = kept[::2], every * 2
        return kept

    def _read_header(self) -> Header | None:
        """The header; None where it is damaged and what follows is a trace all the same."""
        head = self._source.read(0, 4)
        begins = head == DATA_MAGIC_BYTES or (len(head) == 4 and int.from_bytes(head, "little") in SKIPPABLE)
        try:
            for frame in frames(self._source):
                if isinstance(frame, Damage):
                    continue
                if frame.index is not None and frame.index.major > MAJOR:
                    raise self._newer(f"{frame.index.major}")
                header = self._header_of(frame)
                if header is not None:
                    if header.version[0] > MAJOR:
                        raise self._newer(".".join(map(str, header.version)))
                    return header
                if frame.index is not None:
                    self._note("its header cannot be read")
                    return None
                break
        except OSError as error:
            raise TraceError(f"cannot read {self.name}: {error.strerror}") from error
        why = "nothing of it can be read" if begins else "it does not begin like one"
        raise TraceError(
            f"{self.name} is no csitrace recording: {why if self._source.size else 'it is empty'}"
        )

    def _newer(self, version: str) -> TraceError:
        return TraceError(
            f"{self.name} is of format version {version}, and this csitrace reads up to {MAJOR}: use a newer csitrace"
        )

    def _header_of(self, frame: Frame) -> Header | None:
        chunk = next(self._chunks(frame), b"")
        line = chunk[: MAX_LINE + 1].partition(b"\n")[0]
        try:
            header = header_decoder.decode(line)
        except _UNREADABLE:
            return None
        return header if header.format == FORMAT else None

    def _events_of(self, frame: Frame, sought: bool, first: int, since: int) -> Iterator[TraceEvent]:
        index = frame.index
        if index is not None:
            if index.major > MAJOR:
                raise self._newer(str(index.major))
            unwanted = index.flags & SNAPSHOT_BLOCK or index.last_seq < first or index.last_at < since
            if index.flags & HEADER_BLOCK or (sought and unwanted):
                return
        for chunk in self._chunks(frame):
            for event in self._parsed(chunk):
                if not sought or (event.seq >= max(first, 1) and event.observed_at >= since):
                    yield event

    def _chunks(self, frame: Frame) -> Iterator[bytes]:
        """The uncompressed lines of a frame, whole ones: at once and checked where there is an index, else as they come."""
        if frame.index is None:
            yield from self._streamed(frame)
            return
        raw = frame.index.raw
        if raw > MAX_BLOCK or frame.index.size > MAX_BLOCK:
            self._note_block(frame, "it is larger than any that csitrace writes")
            return
        data = self._source.read(frame.start, frame.index.size)
        try:
            told = zstandard.get_frame_parameters(data).content_size
            if told not in (raw, zstandard.CONTENTSIZE_UNKNOWN):
                raise zstandard.ZstdError("its size is not the one that its index tells")
            yield self._decompressor.decompress(data, max_output_size=raw)
        except (zstandard.ZstdError, ValueError, MemoryError) as error:
            self._note_block(frame, str(error).removeprefix("decompression error: "))

    def _streamed(self, frame: Frame) -> Iterator[bytes]:
        stream = self._decompressor.stream_reader(
            cast(IO[bytes], _Window(self._source, frame.start, frame.end))
        )
        left, rest = MAX_BLOCK + _EXPANSION * (frame.end - frame.start), b""
        try:
            while chunk := stream.read(_READ):
                left -= len(chunk)
                whole, newline, rest = (rest + chunk).rpartition(b"\n")
                if len(rest) > MAX_LINE or left < 0:
                    self._note_block(frame, "it grows beyond all measure")
                    return
                if newline:
                    yield whole
        except (zstandard.ZstdError, ValueError, MemoryError) as error:
            self._note_block(frame, str(error))
        if rest:
            yield rest

    def _parsed(self, lines: bytes) -> Iterator[TraceEvent]:
        try:
            events = event_decoder.decode_lines(lines)
        except _UNREADABLE:
            for line in _lines(lines):
                event = self._parsed_line(line)
                if event is not None:
                    yield event
            return
        for event in events:
            if _is_sound(event.seq, event.observed_at, event.occurred_at):
                yield event
            else:
                self._bad_lines += 1

    def _parsed_line(self, line: bytes) -> TraceEvent | None:
        """One event; its body as it is told, where this version does not understand it."""
        try:
            event = event_decoder.decode(line)
            if _is_sound(event.seq, event.observed_at, event.occurred_at):
                return event
        except _UNREADABLE:
            pass
        try:
            told = line_decoder.decode(line)
            if _is_sound(told.seq, told.observed_at, told.occurred_at):
                return TraceEvent(
                    seq=told.seq, observed_at=told.observed_at, occurred_at=told.occurred_at, stamp=Stamp.OBSERVED,
                    body=Unrecognised(told=told.body),
                )  # fmt: skip
        except _UNREADABLE:
            pass
        if not line.startswith(b'{"format":'):
            self._bad_lines += 1
        return None

    def _note_block(self, frame: Frame, why: str) -> None:
        index = frame.index
        which = f" (facts {index.first_seq} to {index.last_seq})" if index is not None and index.count else ""
        self._note(f"the block at byte {frame.start}{which} cannot be read: {why}")

    def _note_damage(self, damage: Damage) -> None:
        if damage.index is not None:
            self._note(
                f"its end is torn off: the last block, of {damage.index.count} events, is not all there"
            )
        elif damage.tail:
            self._note(f"its end is torn off: the last {damage.end - damage.start} bytes are no whole block")
        else:
            self._note(f"bytes {damage.start} to {damage.end} are damaged")

    def _note(self, text: str) -> None:
        note = f"{self.name}: {text}"
        if note not in self.notes and len(self.notes) < _NOTES:
            self.notes.append(note)


class _Window:
    """A part of the source, read from its beginning to its end."""

    def __init__(self, source: Bytes, start: int, end: int) -> None:
        self._source, self._position, self._end = source, start, end

    def read(self, count: int = -1) -> bytes:
        left = self._end - self._position
        data = self._source.read(self._position, min(count, left) if count >= 0 else left)
        self._position += len(data)
        return data


def _lines(lines: bytes) -> Iterator[bytes]:
    """The lines that are not empty, one at a time: there may be as many as bytes."""
    start = 0
    while start < len(lines):
        end = lines.find(b"\n", start)
        end = len(lines) if end < 0 else end
        if end > start:
            yield lines[start:end]
        start = end + 1


def _is_sound(seq: int, observed_at: int, occurred_at: int) -> bool:
    return 0 <= seq <= MAX_TIME and 0 <= observed_at <= MAX_TIME and 0 <= occurred_at <= MAX_TIME


def _missing(event: TraceEvent, lost: int) -> TraceEvent:
    body = RecordingGap(reason="a part of the file cannot be read", lost=lost)
    return TraceEvent(seq=0, observed_at=event.observed_at, occurred_at=event.observed_at, body=body)
