"""The files behind paths: files, directories, and archives read in place."""

import codecs
import io
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from csitrace.errors import TraceError
from csitrace.sources.imports.archives import (
    BROKEN,
    MAX_FILES,
    file_time,
    holds_tar,
    kind_of,
    members,
    open_gzip,
    unread_packing,
)
from csitrace.sources.imports.report import printable
from csitrace.trace.format import INDEX_MAGIC_BYTES

_BUFFER = 1 << 17
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Input:
    """One file. `name`: its path as people gave it, within an archive behind it; `group`: the path that was given;
    `modified_at`: ns; `open` may be called more than once."""

    name: str
    group: str
    modified_at: int
    open: Callable[[], BinaryIO]

    @property
    def parts(self) -> tuple[str, ...]:
        return Path(self.name).parts


def inputs(path: Path, notes: list[str]) -> Iterator[Input]:
    """The files of one path, each valid until the next is asked for. Raises `TraceError` when the path itself cannot be read."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise TraceError(
            f"{printable(str(path))}: cannot be imported: {getattr(error, 'strerror', None) or error}"
        ) from error
    if stat.S_ISREG(mode):
        yield from _file(path, str(path), notes)
    elif stat.S_ISDIR(mode):
        yield from _tree(path, notes)
    else:
        raise TraceError(
            f"{path}: is neither a file nor a directory: write what comes out of it to a file, and import that"
        )


def in_utf8(source: Input, head: bytes) -> Input:
    """The file, without what a shell has put first to say its encoding; UTF-16, as PowerShell writes, becomes UTF-8."""
    if head.startswith(_UTF16):
        return replace(source, open=lambda: _buffered(_FromUtf16(source.open())))
    if head.startswith(codecs.BOM_UTF8):
        return replace(source, open=lambda: _behind(source.open(), len(codecs.BOM_UTF8)))
    return source


def _tree(path: Path, notes: list[str]) -> Iterator[Input]:
    def unread(error: OSError) -> None:
        notes.append(f"{printable(str(error.filename))}: cannot be read: {error.strerror or error}")

    found = links = others = 0
    for directory, names, files in os.walk(path, onerror=unread):
        names.sort()
        links += sum((Path(directory) / name).is_symlink() for name in names)
        for name in sorted(files):
            found += 1
            if found > MAX_FILES:
                notes.append(f"{path}: more than {MAX_FILES} files; the rest was not looked at")
                return
            child = Path(directory) / name
            if child.is_symlink():
                links += 1
            elif child.is_file():
                yield from _file(child, str(path), notes)
            else:  # a pipe would never end, a device might not
                others += 1
    if links:
        notes.append(f"{printable(str(path))}: {links} symbolic links, which are not followed")
    if others:
        notes.append(f"{printable(str(path))}: {others} pipes, sockets or devices, which are not read")


def _file(path: Path, group: str, notes: list[str]) -> Iterator[Input]:
    name = printable(str(path))
    try:
        told = path.stat()
        modified_at = file_time(told.st_mtime_ns, told.st_ctime_ns)
        with path.open("rb") as stream:
            head = stream.read(512)
        kind = kind_of(head)
        if head.startswith(INDEX_MAGIC_BYTES):
            notes.append(f"{name}: is a trace already, which every command reads as it is")
        elif packing := unread_packing(head):
            notes.append(f"{name}: is packed with {packing}, which is not read here: unpack it first")
        elif kind in ("tar", "zip") or (kind == "gzip" and holds_tar(path)):
            for member in members(path, modified_at, "zip" if kind == "zip" else "tar", notes):
                yield Input(f"{name}/{printable(member.name)}", group, member.modified_at, member.open)
        elif kind == "gzip":
            yield Input(name, group, modified_at, lambda: open_gzip(path, notes))
        else:
            size = told.st_size
            yield Input(name, group, modified_at, lambda: _as_it_was(path, size))
    except BROKEN as error:
        notes.append(f"{name}: cannot be read: {fault_of(error)}")


def fault_of(error: BaseException) -> str:
    """Why a file cannot be read, in one line."""
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)[:160]


def _as_it_was(path: Path, size: int) -> BinaryIO:
    """A file without what is appended to it meanwhile, so that it ends, and is the same each time. /proc says no sizes."""
    stream = path.open("rb")  # closed by whoever reads it
    return _buffered(_Beginning(stream, size)) if size else stream


def _buffered(raw: io.RawIOBase) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(raw, _BUFFER))


def _behind(stream: BinaryIO, size: int) -> BinaryIO:
    stream.read(size)
    return stream


class _Beginning(io.RawIOBase):
    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        chunk = self._stream.read(min(self._left, len(buffer)))
        self._left -= len(chunk)
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _FromUtf16(io.RawIOBase):
    """Half a character becomes the character that stands for one."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")
        self._pending = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        while not self._pending and not self._ended:
            chunk = self._stream.read(_BUFFER)
            self._ended = not chunk
            self._pending = self._decoder.decode(chunk, self._ended).encode()
        size = min(len(buffer), len(self._pending))
        buffer[:size], self._pending = self._pending[:size], self._pending[size:]
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()
