"""Streams of JSON or YAML cut into single objects, without reading them: memory is bounded by the largest object.

JSON is cut at its brackets, YAML (block style, as kubectl writes it) at its documents and at the items of its lists.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

MAX_OBJECT = 16 << 20
"""Bytes. etcd keeps nothing above 1.5 MiB unless told to, and indentation makes that a few times more."""

_CHUNK = 1 << 20


class Cut(Enum):
    """What a piece is: an object by itself, an item of a list, a list without its items, or where the stream broke off."""

    OBJECT = "object"
    ITEM = "item"
    LIST = "list"
    TORN = "torn"


@dataclass(frozen=True, slots=True)
class Piece:
    """`raw`: the bytes of one JSON or YAML value; of a torn piece what is to be said of it."""

    cut: Cut
    raw: bytes


_RUN = re.compile(rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+', re.DOTALL)
_ITEMS = re.compile(rb'"items"\s*:\s*\Z')
_SPACE = re.compile(rb"[\s,]*")
_LOG_BEGINS, _LOG_ENDS = b"==== START logs", b"==== END logs"
_OPEN, _CLOSE = b"{[", b"}]"


def split_json(stream: BinaryIO) -> Iterator[Piece]:
    """The objects of concatenated JSON, whatever stands between them (`kubectl cluster-info dump` puts logs there)."""
    return _JsonSplitter(stream).pieces()


class _JsonSplitter:
    """`_buffer` from `_at` on is not yet looked at; `_start` is where the value begins that is being read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = b""
        self._at = 0
        self._start = 0
        self._ended = False

    def pieces(self) -> Iterator[Piece]:
        while self._find_value():
            yield from self._value()
            if self._ended and self._at >= len(self._buffer):
                return

    def _more(self) -> bool:
        """One more chunk behind the buffer, and what lies before the value forgotten; False at the end."""
        chunk = self._stream.read(_CHUNK)
        if not chunk:
            self._ended = True
            return False
        self._buffer = self._buffer[self._start :] + chunk
        self._at -= self._start
        self._start = 0
        return True

    def _find_value(self) -> bool:
        """Go to the next bracket that begins a line, or follows a value; False when there is none."""
        in_log = False
        while True:
            match = _SPACE.match(self._buffer, self._at)
            self._start = self._at = match.end() if match else self._at
            if self._at >= len(self._buffer):
                if not self._more():
                    return False
                continue
            if not in_log and self._buffer[self._at] in _OPEN:
                return True
            end = self._buffer.find(b"\n", self._at)
            if end < 0:
                if len(self._buffer) - self._at > MAX_OBJECT:  # one endless line that is no JSON
                    self._start = self._at = len(self._buffer) - 1
                if not self._more():
                    return False
                continue
            line = self._buffer[self._at : end]
            in_log = line.startswith(_LOG_BEGINS) or (in_log and not line.startswith(_LOG_ENDS))
            self._start = self._at = end + 1

    def _value(self) -> Iterator[Piece]:
        depth, list_depth, head = 0, -1, b""
        while True:
            run = _RUN.match(self._buffer, self._at)
            end = run.end() if run else self._at
            if end >= len(self._buffer) or self._buffer[end] == 0x22:
                too_long = len(self._buffer) - self._start > MAX_OBJECT
                if too_long or not self._more():
                    where = "an object of more than 16 MiB" if too_long else "it ends within an object"
                    self._start = self._at = len(self._buffer)
                    yield Piece(Cut.TORN, where.encode())
                    self._ended = True
                    return
                continue
            bracket = self._buffer[end]
            opens = bracket in _OPEN
            before = self._buffer[self._at : end]
            self._at = end + 1
            if opens and list_depth < 0 and bracket == 0x5B and (depth == 0 or _is_items(depth, before)):
                head = self._buffer[self._start : self._at]
                list_depth, self._start = depth + 1, self._at
            elif opens and depth == list_depth:
                self._start = end
            depth += 1 if opens else -1
            if opens:
                continue
            if depth == list_depth and bracket == 0x7D:
                yield Piece(Cut.ITEM, self._buffer[self._start : self._at])
                self._start = self._at
            elif depth == list_depth - 1 and list_depth > 0:
                self._start, list_depth = end, -2  # the rest of the head follows
            if depth == 0:
                rest = self._buffer[self._start : self._at]
                cut = Cut.OBJECT if not head else Cut.LIST
                yield Piece(cut, head + rest)
                self._start = self._at
                return


def _is_items(depth: int, before: bytes) -> bool:
    return depth == 1 and _ITEMS.search(before[-64:]) is not None


_SEPARATOR = re.compile(rb"(?:---|\.\.\.)(?:\s|\Z)")
_ITEM = re.compile(rb"( *)-(?= |\r?\n|\Z)")
_UNREAD = re.compile(
    rb"( *)(- )?(?:fieldsV1|env|envFrom|volumeMounts|args|command|livenessProbe|readinessProbe|startupProbe|securityContext"
    rb"|affinity|tolerations|images):\s*$"
)
"""Keys of blocks that nobody reads, and that are most of a dump."""
_WITHOUT_TEXT = re.compile(rb"\s*(?:#.*)?\Z", re.DOTALL)


def split_yaml(stream: BinaryIO) -> Iterator[Piece]:
    """The documents of a YAML stream, of lists each item by itself, re-indented to stand alone.

    Large blocks that nobody reads (`fieldsV1` of managed fields, environments) are left out, since YAML is slow to read.
    """
    splitter = _YamlSplitter()
    while line := stream.readline(MAX_OBJECT):
        yield from splitter.take(line)
        if splitter.size > MAX_OBJECT:
            yield Piece(Cut.TORN, b"an object of more than 16 MiB")
            return
    yield from splitter.end_document()


class _YamlSplitter:
    """`_head`: the document's lines but its items; `_item`: those of the item that is being read."""

    def __init__(self) -> None:
        self.size = 0
        self._head: list[bytes] = []
        self._item: list[bytes] = []
        self._indent: int | None = None  # of the items, once one was seen
        self._in_items = False
        self._is_list = False
        self._skip_below: int | None = None

    def take(self, line: bytes) -> Iterator[Piece]:
        if _SEPARATOR.match(line):
            yield from self.end_document()
            return
        if self._is_skipped(line):
            return
        if not self._in_items:
            if line.rstrip() == b"items:":
                self._in_items = self._is_list = True
                return
            self._keep(self._head, line)
            return
        match = _ITEM.match(line)
        if match and (self._indent is None or len(match[1]) == self._indent):
            self._indent = len(match[1])
            yield from self._end_item()
            self._keep(self._item, match[1] + b" " + line[match.end() :])
        elif line[:1] not in (b" ", b"\t", b"#", b"\n", b"\r"):
            yield from self._end_item()
            self._in_items = False
            self._keep(self._head, line)
        else:
            self._keep(self._item, line)

    def end_document(self) -> Iterator[Piece]:
        if self._in_items and not any(line.startswith(b"kind:") for line in self._head):
            self.__init__()  # type: ignore[misc]
            yield Piece(Cut.TORN, b"it ends within a list, whose last object is left out")
            return
        yield from self._end_item()
        if any(not _WITHOUT_TEXT.match(line) for line in self._head) or self._is_list:
            yield Piece(Cut.LIST if self._is_list else Cut.OBJECT, b"".join(self._head))
        self.__init__()  # type: ignore[misc]

    def _end_item(self) -> Iterator[Piece]:
        if self._item:
            yield Piece(Cut.ITEM, b"".join(self._item))
            self.size -= sum(map(len, self._item))
            self._item = []

    def _keep(self, lines: list[bytes], line: bytes) -> None:
        lines.append(line)
        self.size += len(line)

    def _is_skipped(self, line: bytes) -> bool:
        if self._skip_below is not None:
            content = line.lstrip(b" ")
            indent = len(line) - len(content)
            if (
                indent > self._skip_below
                or not content.strip()
                or (indent == self._skip_below and content.startswith(b"- "))
            ):
                return True
            self._skip_below = None
        unread = _UNREAD.match(line)
        if unread is None:
            return False
        self._skip_below = len(unread[1]) + len(unread[2] or b"")
        return unread[2] is None
