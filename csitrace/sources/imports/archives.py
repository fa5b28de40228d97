"""Archives read in place: nothing is extracted, so that no name in one leads anywhere; what one may unpack to is bounded
beforehand."""

import gzip
import io
import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from csitrace.model.times import SECOND
from csitrace.sources.imports.report import printable

MAX_FILES = 200_000
MAX_UNPACKED = 8 << 30
"""Bytes that all of one archive may unpack to: what is above is a bomb, or should be unpacked by hand."""

MAX_RATIO = 200
FREE = 256 << 20
"""Bytes that anything may unpack to; above it at most `MAX_RATIO` times its size. Logs and objects pack to a tenth or less,
seldom to a hundredth; a bomb of zeros to a thousandth."""

BROKEN = (
    OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError,
    RuntimeError, ValueError, OverflowError, MemoryError,
)  # fmt: skip
"""Whatever comes of reading a file that is none, or is damaged, encrypted or gone."""

_UNREAD = {
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
}
_IN_MEMORY = 4 << 20
_BUFFER = 1 << 17
_SINCE = 1_400_000_000 * SECOND
"""In 2014: a file's time before it, such as the 1970 or 1980 of archives made to be reproducible, tells nothing."""

_EXTENDED_TIME = 0x5455  # Info-ZIP's extra field with Unix times; zip's own time has no zone


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive, valid until the next is asked for; `open` may be called more than once."""

    name: str
    modified_at: int
    open: Callable[[], BinaryIO]


def kind_of(head: bytes) -> str:
    """`gzip`, `zip`, `tar`, or "" for what is none of them, by its first 512 bytes."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    return "tar" if head[257:262] == b"ustar" else ""


def unread_packing(head: bytes) -> str:
    """The name of the packing that bytes begin with and that is not read here, or ""."""
    return next((name for magic, name in _UNREAD.items() if head.startswith(magic)), "")


def holds_tar(path: Path) -> bool:
    """Whether a gzip file has a tar archive in it. Raises one of `BROKEN`."""
    with gzip.open(path) as unpacked:
        return kind_of(unpacked.read(512)) == "tar"


def open_gzip(path: Path, notes: list[str]) -> BinaryIO:
    """A gzip file's content, which ends with a note where it is damaged, and raises `OSError` once it unpacks to too much."""
    return cast("BinaryIO", io.BufferedReader(_Unpacked(path, notes), _BUFFER))


def members(path: Path, modified_at: int, kind: str, notes: list[str]) -> Iterator[Member]:
    """The files of an archive (`kind`: tar, also a packed one, or zip), as far as the bounds go. Raises one of `BROKEN`."""
    left, limit = MAX_FILES, _limit(path)
    for size, member in (_zip if kind == "zip" else _tar)(path, modified_at):
        left, limit = left - 1, limit - size
        if left < 0 or limit < 0:
            what = f"more than {MAX_FILES} files" if left < 0 else _too_much(_limit(path))
            notes.append(
                f"{printable(str(path))}: {what}; the rest was not looked at: unpack it, and import what it holds"
            )
            return
        if member is not None:
            yield member


def file_time(stated: int, other: int) -> int:
    """A file's time, in ns, where it can be one; else the other."""
    return stated if stated >= _SINCE else other


def _limit(path: Path) -> int:
    return min(MAX_UNPACKED, max(FREE, MAX_RATIO * path.stat().st_size))


def _too_much(limit: int) -> str:
    return f"unpacks to more than {limit >> 20} MiB"


def _tar(path: Path, modified_at: int) -> Iterator[tuple[int, Member | None]]:
    """(its size as stated, which is what it is read as, and the file)."""
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            at = file_time(int(member.mtime) * SECOND, modified_at)
            if stream is None:
                yield member.size, None
                continue
            with _Copy(cast("BinaryIO", stream)) as copy:
                yield member.size, Member(member.name, at, copy.open)


def _zip(path: Path, modified_at: int) -> Iterator[tuple[int, Member | None]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            is_file = not member.filename.endswith("/") and not stat.S_ISLNK(member.external_attr >> 16)
            opening = lambda member=member: cast("BinaryIO", archive.open(member))  # noqa: E731 - of this member
            at = file_time(_unix_time(member.extra), modified_at)
            yield member.file_size, Member(member.filename, at, opening) if is_file else None


def _unix_time(extra: bytes) -> int:
    """When a member of a zip archive was changed, in ns; 0 where only zip's own time says it."""
    while len(extra) >= 4:
        code, size = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if code == _EXTENDED_TIME and len(field) >= 5 and field[0] & 1:
            return int.from_bytes(field[1:5], "little") * SECOND
    return 0


class _Copy:
    """What has been read of a stream that can be read once: a file that nobody wants is not unpacked beyond its beginning."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._kept = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the copy
        self._size = 0

    def __enter__(self) -> "_Copy":
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def open(self) -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(_FromCopy(self), _BUFFER))

    def read_at(self, start: int, size: int) -> bytes:
        while start >= self._size and (chunk := self._stream.read(_BUFFER)):
            self._kept.seek(0, io.SEEK_END)
            self._kept.write(chunk)
            self._size += len(chunk)
        self._kept.seek(start)
        return self._kept.read(size)


class _FromCopy(io.RawIOBase):
    def __init__(self, copy: _Copy) -> None:
        self._copy = copy
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        chunk = self._copy.read_at(self._at, len(buffer))
        buffer[: len(chunk)] = chunk
        self._at += len(chunk)
        return len(chunk)


class _Unpacked(io.RawIOBase):
    def __init__(self, path: Path, notes: list[str]) -> None:
        self._path = path
        self._notes = notes
        self._stream = gzip.open(path)  # noqa: SIM115 - closed with this
        self._limit = _limit(path)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        try:
            chunk = self._stream.read1(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            note = f"{printable(str(self._path))}: is damaged or cut off: read as far as it goes"
            if not self._size:
                raise
            if note not in self._notes:
                self._notes.append(note)
            return 0
        self._size += len(chunk)
        if self._size > self._limit:
            raise OSError(_too_much(self._limit))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._stream.close()
        super().close()
