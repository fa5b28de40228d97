"""Writing a trace file: events are gathered into a block, and a block is written at once or not at all.

Knows no clock: who writes says when a block has waited long enough (`flush`). What is flushed is with the operating system, so
that it outlives the process.
"""

import os
import stat
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import zstandard

from csitrace import __version__
from csitrace.errors import TraceError
from csitrace.model.events import TraceEvent
from csitrace.trace.format import (
    FORMAT,
    HEADER_BLOCK,
    MAJOR,
    MAX_LINE,
    MINOR,
    SNAPSHOT_BLOCK,
    Header,
    Index,
    encode,
    header_encoder,
    pack_index,
)

BLOCK_EVENTS = 2_000
BLOCK_BYTES = 1 << 20
LEVEL = 3


def create(path: Path, *, overwrite: bool = False) -> int:
    """A new, empty file that only its owner may read, as a file descriptor. Never follows a symbolic link.

    Raises `TraceError`: it exists and may not be overwritten, is no regular file, or cannot be made.
    """
    try:
        known = os.lstat(path)
    except FileNotFoundError:
        known = None
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from error
    if known is not None and not stat.S_ISREG(known.st_mode):
        raise TraceError(f"{path} is there and is no regular file: name another file")
    if known is not None and not overwrite:
        raise TraceError(f"{path} is there already: name another file, or say --overwrite")
    try:
        if known is not None:
            os.unlink(path)  # a new file: nobody who has the old one open, or a link to it, gets to read this
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
    except OSError as error:
        raise TraceError(f"cannot make {path}: {error.strerror}") from error
    return descriptor


def new_header(title: str, created_at: int, first_seq: int, recording: str = "", part: int = 1) -> Header:
    """The header of a file that this version writes."""
    return Header(
        format=FORMAT, version=(MAJOR, MINOR), writer=f"csitrace {__version__}", title=title, created_at=created_at,
        recording=recording or os.urandom(8).hex(), part=part, first_seq=first_seq,
    )  # fmt: skip


def write_trace(path: Path, title: str, events: Iterable[TraceEvent], *, overwrite: bool = False) -> int:
    """A whole recording as one file; the answer is how many events it has. Raises `TraceError`."""
    rest = iter(events)
    first = next(rest, None)
    if first is None:
        raise TraceError(f"{title} holds no event: nothing is written")
    writer = TraceWriter(path, new_header(title, first.observed_at, first.seq), overwrite=overwrite)
    try:
        writer.write(chain((first,), rest))
        writer.flush()
    except OSError as error:
        raise TraceError(
            f"cannot write {path}: {error.strerror or error}; name another file with -o"
        ) from error
    finally:
        writer.close()
    return writer.events


class TraceWriter:
    """Appends to one file. Not shared between threads. What `OSError` it raises leaves the file as it was before the block, which
    is lost. `events`: written to the operating system; `facts`: those of them that are no snapshot's."""

    def __init__(self, path: Path, header: Header, *, overwrite: bool = False) -> None:
        self.path = path
        self.header = header
        self.events = 0
        self.facts = 0
        self.bytes = 0
        self._descriptor = create(path, overwrite=overwrite)
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._lines: list[bytes] = []
        self._size = 0
        self._pending: list[TraceEvent] = []
        self._last_seq = header.first_seq - 1
        try:
            raw = header_encoder.encode(header) + b"\n"
            at = header.created_at
            self._append([raw], HEADER_BLOCK, 0, (header.first_seq, header.first_seq), (at, at))
        except OSError:
            self.close()
            raise

    @property
    def waiting(self) -> int:
        """Events that are not with the operating system yet."""
        return len(self._pending)

    def write(self, events: Iterable[TraceEvent]) -> None:
        """Take in facts, in `seq` order. Writes blocks that are full."""
        for event in events:
            self._gather(event)
            if len(self._pending) >= BLOCK_EVENTS or self._size >= BLOCK_BYTES:
                self.flush()

    def write_snapshot(self, events: Iterable[TraceEvent]) -> None:
        """Write what was known before the next fact (`lifecycle.snapshot`), in blocks of its own."""
        self.flush()
        for event in events:
            self._gather(event)
            if len(self._pending) >= BLOCK_EVENTS or self._size >= BLOCK_BYTES:
                self._close_block(SNAPSHOT_BLOCK)
        self._close_block(SNAPSHOT_BLOCK)

    def flush(self) -> None:
        """Write what waits, as a block."""
        self._close_block(0)

    def close(self) -> None:
        """Let go of the file; what waits and was not flushed is not written."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def sync(self) -> None:
        """See that what was written outlives the machine, too."""
        os.fsync(self._descriptor)

    def _gather(self, event: TraceEvent) -> None:
        line = encode(event)
        if (
            len(line) >= MAX_LINE
        ):  # no object of an API server is as large; the reader tells that it is missing
            return
        self._lines.append(line)
        self._size += len(line) + 1
        self._pending.append(event)

    def _close_block(self, flags: int) -> None:
        if not self._pending:
            return
        pending, lines = self._pending, self._lines
        self._pending, self._lines, self._size = [], [], 0
        lines.append(b"")
        first, last = pending[0], pending[-1]
        seqs = (self._last_seq, self._last_seq) if flags & SNAPSHOT_BLOCK else (first.seq, last.seq)
        self._append(lines, flags, len(pending), seqs, (first.observed_at, last.observed_at))
        self._last_seq = seqs[1]
        self.events += len(pending)
        self.facts += 0 if flags & SNAPSHOT_BLOCK else len(pending)

    def _append(
        self, lines: list[bytes], flags: int, count: int, seqs: tuple[int, int], times: tuple[int, int]
    ) -> None:
        raw = b"\n".join(lines)
        data = self._compressor.compress(raw)
        index = Index(
            flags=flags, count=count, size=len(data), raw=len(raw), first_seq=seqs[0], last_seq=seqs[1],
            first_at=times[0], last_at=times[1],
        )  # fmt: skip
        block = memoryview(pack_index(index) + data)
        written = 0
        try:
            while written < len(block):
                written += os.write(self._descriptor, block[written:])
        except OSError:
            os.ftruncate(self._descriptor, self.bytes)
            os.lseek(self._descriptor, self.bytes, os.SEEK_SET)
            raise
        self.bytes += len(block)
