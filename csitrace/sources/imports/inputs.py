"""The files behind paths: files, directories, and archives read in place. Nothing is extracted: no name in one leads anywhere."""

import gzip
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from csitrace.errors import TraceError
from csitrace.model.times import SECOND

MAX_FILES = 200_000
MAX_UNPACKED = 8 << 30
"""Bytes that all of one archive may unpack to: what is above is a bomb, or should be unpacked by hand."""

_IN_MEMORY = 4 << 20
_SEVERAL = ("tar", "zip")
_BROKEN = (
    OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError,
    RuntimeError, ValueError, OverflowError,
)  # fmt: skip


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
        raise TraceError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISDIR(mode):
        yield from _file(path, str(path), notes)
        return
    found = 0
    for directory, names, files in os.walk(path):
        names.sort()
        for name in sorted(files):
            found += 1
            if found > MAX_FILES:
                notes.append(f"{path}: more than {MAX_FILES} files; the rest was not looked at")
                return
            child = Path(directory) / name
            if child.is_file() and not child.is_symlink():
                yield from _file(child, str(path), notes)


def _file(path: Path, group: str, notes: list[str]) -> Iterator[Input]:
    try:
        modified_at = path.stat().st_mtime_ns
        with path.open("rb") as stream:
            form = _archive(stream.read(512))
        if form in _SEVERAL or (form == "gzip" and _holds_tar(path)):
            yield from _members(path, group, "zip" if form == "zip" else "tar", notes)
        elif form == "gzip":
            yield Input(
                str(path),
                group,
                modified_at,
                lambda: cast("BinaryIO", _Bounded(cast("BinaryIO", gzip.open(path)))),  # noqa: SIM115 - whoever opens it
            )
        else:
            yield Input(str(path), group, modified_at, lambda: path.open("rb"))
    except _BROKEN as error:
        notes.append(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}")


def _archive(head: bytes) -> str:
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    return "tar" if head[257:262] == b"ustar" else ""


def _holds_tar(path: Path) -> bool:
    with gzip.open(path) as unpacked:
        return _archive(unpacked.read(512)) == "tar"


def _members(path: Path, group: str, form: str, notes: list[str]) -> Iterator[Input]:
    unpacked = 0
    walk = _zip_members if form == "zip" else _tar_members
    for count, (name, modified_at, stream) in enumerate(walk(path)):
        if count >= MAX_FILES:
            notes.append(f"{path}: more than {MAX_FILES} files; the rest was not looked at")
            return
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
            while chunk := stream.read(1 << 20):
                unpacked += len(chunk)
                if unpacked > MAX_UNPACKED:
                    notes.append(f"{path}: unpacks to more than 8 GiB; the rest was not looked at")
                    return
                copy.write(chunk)
            yield Input(f"{path}/{name}", group, modified_at, lambda copy=copy: _again(copy))  # type: ignore[misc]


def _again(copy: "tempfile.SpooledTemporaryFile[bytes]") -> BinaryIO:
    """The copy from its beginning; closing it leaves the copy."""
    copy.seek(0)
    return cast("BinaryIO", _Unclosed(copy))


class _Unclosed:
    def __init__(self, stream: "tempfile.SpooledTemporaryFile[bytes]") -> None:
        self.read = stream.read
        self.readline = stream.readline

    def close(self) -> None:
        """Leave it open."""


class _Bounded:
    """A stream that ends with an error once it has unpacked to too much."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = MAX_UNPACKED

    def read(self, size: int = -1) -> bytes:
        return self._count(self._stream.read(size if size >= 0 else 1 << 20))

    def readline(self, size: int = -1) -> bytes:
        return self._count(self._stream.readline(size))

    def close(self) -> None:
        self._stream.close()

    def _count(self, chunk: bytes) -> bytes:
        self._left -= len(chunk)
        if self._left < 0:
            raise OSError("unpacks to more than 8 GiB")
        return chunk


def _tar_members(path: Path) -> Iterator[tuple[str, int, BinaryIO]]:
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is not None:
                yield member.name, int(member.mtime) * SECOND, cast("BinaryIO", stream)


def _zip_members(path: Path) -> Iterator[tuple[str, int, BinaryIO]]:
    modified_at = path.stat().st_mtime_ns  # a member's own is in nobody knows whose time zone
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                with closing(archive.open(member)) as stream:
                    yield member.filename, modified_at, cast("BinaryIO", stream)
