"""What the FUSE process and its driver say to each other: one JSON object per line over a unix stream socket.

The daemon speaks first (:class:`Hello`, as soon as the kernel's INIT has been answered, so a received ``Hello`` *means*
that the mount serves requests), then sends :class:`Counters` whenever they changed and :class:`SlowOp` for the operations
worth a look. The client sends commands; each is answered, in order, by :class:`Ok` or :class:`Error`; other messages may
come in between. End of file on the socket means that the daemon is gone.

Pure: no I/O, no event loop, so that a trio program and an asyncio program can both import it. Operation names are the
kernel's FUSE opcodes without prefix (``READ``, ``READDIRPLUS``), errors are errno names (``ENOSPC``). Instants (``at``,
``*_at``) are integer nanoseconds since the Unix epoch; durations are integer nanoseconds unless the name says otherwise.
"""

import errno as errno_numbers
from collections.abc import Iterator
from typing import Final

import msgspec

PROTOCOL_VERSION: Final = 1
"""Sent in :class:`Hello`. A client refuses a version it does not know; new optional fields do not raise it."""

MAX_LINE_BYTES: Final = 1 << 20
"""No message is longer. A peer that sends more without a newline is not speaking this protocol."""

BUCKET_COUNT: Final = 24
"""Latency buckets: bucket ``i`` counts operations of less than ``2**i`` microseconds, the last one all slower ones too."""


class ChannelError(ValueError):
    """A line that is not a message of this protocol. The text says what is wrong and is fit to be sent back."""


class OpCount(msgspec.Struct, frozen=True, gc=False):
    """One operation's totals since the daemon started.

    ``bytes`` is data read or written, zero for operations that carry none. ``errors`` maps an errno name to its count,
    and is part of ``count``. ``buckets`` is the latency histogram (see :data:`BUCKET_COUNT`).
    """

    count: int
    errors: dict[str, int]
    bytes: int
    latency_ns_sum: int
    buckets: list[int]


class Hello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """First message of every connection. ``connection`` is the FUSE connection: the minor of the mount's device."""

    version: int
    pid: int
    volume_id: str
    connection: int
    started_at: int
    init_at: int


class Counters(msgspec.Struct, frozen=True, tag_field="type", tag="counters"):
    """Cumulative since ``Hello.started_at``; a reader makes deltas, and a lost message costs nothing.

    ``size_bytes``, ``used_bytes`` and ``used_inodes`` are what statfs on the mount would say, without touching it.
    ``slow_dropped`` counts the :class:`SlowOp` messages this connection was too slow to take.
    """

    at: int
    ops: dict[str, OpCount]
    size_bytes: int
    used_bytes: int
    used_inodes: int
    slow_dropped: int = 0


class SlowOp(msgspec.Struct, frozen=True, tag_field="type", tag="slow"):
    """One operation that took longer than the daemon's threshold, or that was picked as a sample.

    ``at`` is when it started. ``ino`` is the inode it was asked for (for a name in a directory: the directory), null
    where the kernel names only an open file.
    """

    op: str
    at: int
    duration_ns: int
    errno: str | None = None
    ino: int | None = None
    bytes: int = 0


class Ok(msgspec.Struct, frozen=True, tag_field="type", tag="ok"):
    """The command was carried out."""


class Error(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """The command was refused and nothing was changed."""

    message: str


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong, on purpose, when ``op`` (or ``*``, any operation) is asked for.

    First the delay, then the hang (until the faults are replaced or the daemon stops), then the errno instead of the
    operation. ``count`` is how many operations it still applies to, null for all.
    """

    op: str
    errno: str | None = None
    delay_ms: int | None = None
    hang: bool = False
    count: int | None = None

    def __post_init__(self) -> None:
        if self.errno is not None and self.errno not in ERRNO_NUMBERS:
            raise ValueError(f"unknown errno {self.errno!r}, expected a name such as EIO")
        if self.op != "*" and self.op not in FAULTABLE_OPS:
            raise ValueError(
                f"unknown operation {self.op!r}, expected * or one of {', '.join(FAULTABLE_OPS)}"
            )
        if self.delay_ms is not None and self.delay_ms < 0:
            raise ValueError(f"delay_ms is {self.delay_ms}, expected 0 or more")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count is {self.count}, expected 1 or more")
        if self.errno is None and self.delay_ms is None and not self.hang:
            raise ValueError("a fault needs errno, delay_ms or hang")


class SetFaults(msgspec.Struct, frozen=True, tag_field="type", tag="set_faults", forbid_unknown_fields=True):
    """Replace all faults; operations that a former fault held are let go. An empty list clears them."""

    faults: list[Fault]


class SetSize(msgspec.Struct, frozen=True, tag_field="type", tag="set_size", forbid_unknown_fields=True):
    """The volume's new size. A size below what is used is allowed: the volume is then full until data is removed."""

    bytes: int

    def __post_init__(self) -> None:
        if self.bytes < 1:
            raise ValueError(f"bytes is {self.bytes}, expected 1 or more")


class Stop(msgspec.Struct, frozen=True, tag_field="type", tag="stop", forbid_unknown_fields=True):
    """Unmount (lazily if busy) and exit 0. Answered before it is done: its completion is the end of the connection."""


FAULTABLE_OPS: Final = (
    "LOOKUP", "GETATTR", "SETATTR", "READLINK", "SYMLINK", "MKNOD", "MKDIR", "UNLINK", "RMDIR", "RENAME", "LINK",
    "OPEN", "READ", "WRITE", "STATFS", "RELEASE", "FSYNC", "SETXATTR", "GETXATTR", "LISTXATTR", "REMOVEXATTR", "FLUSH",
    "OPENDIR", "READDIRPLUS", "RELEASEDIR", "FSYNCDIR", "CREATE",
)  # fmt: skip
"""Every operation the daemon is asked for, except FORGET: the kernel waits for no answer to it, so it cannot fail."""

ERRNO_NUMBERS: Final = {name: number for number, name in errno_numbers.errorcode.items()}
"""errno name to number on this machine."""

FromDaemon = Hello | Counters | SlowOp | Ok | Error
ToDaemon = SetFaults | SetSize | Stop
Message = FromDaemon | ToDaemon

_encoder = msgspec.json.Encoder()
_from_daemon: msgspec.json.Decoder[FromDaemon] = msgspec.json.Decoder(FromDaemon)
_to_daemon: msgspec.json.Decoder[ToDaemon] = msgspec.json.Decoder(ToDaemon)


def encode(message: Message) -> bytes:
    """The message as one line, newline included (JSON escapes newlines, so a line is always a whole message)."""
    return _encoder.encode(message) + b"\n"


def decode_from_daemon(line: bytes) -> FromDaemon:
    """A line the daemon sent. Raises :class:`ChannelError`."""
    try:
        return _from_daemon.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ChannelError(f"not a message of the FUSE process: {error}") from None


def decode_to_daemon(line: bytes) -> ToDaemon:
    """A line the client sent. Raises :class:`ChannelError`."""
    try:
        return _to_daemon.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ChannelError(f"not a command: {error}") from None


class LineBuffer:
    """Cuts a byte stream into lines, whatever the sizes in which it arrives."""

    def __init__(self) -> None:
        self._partial = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that ``chunk`` completes, without newline; empty ones are skipped.

        Raises :class:`ChannelError` when a line grows beyond :data:`MAX_LINE_BYTES`; the stream is of no use then.
        """
        self._partial += chunk
        *lines, rest = self._partial.split(b"\n")
        self._partial = rest
        for line in lines:
            if line:
                yield bytes(line)
        if len(rest) > MAX_LINE_BYTES:
            raise ChannelError(f"a line of more than {MAX_LINE_BYTES} bytes")
