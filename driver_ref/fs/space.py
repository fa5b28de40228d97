"""How much of the volume is used: counted once over the tree, then kept by what each operation changed.

The unit on disk is st_blocks, 512 bytes whatever the block size (stat(2)), so holes are free and hard links count once.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

BLOCK_BYTES: Final = 512
"""Unit of st_blocks."""

_ALLOCATION: Final = 4096
"""Space is taken in units of this many bytes: the block size of the file systems that back a volume."""


@dataclass
class Space:
    """A volume's size and use. ``used_bytes`` may exceed ``size_bytes`` after a shrink or a backing file system's own
    overhead; the volume is full then."""

    size_bytes: int
    used_bytes: int = 0
    used_inodes: int = 0

    @property
    def free_bytes(self) -> int:
        """What is left, never negative."""
        return max(0, self.size_bytes - self.used_bytes)

    def blocks_changed(self, before: int, after: int) -> None:
        """A file that took ``before`` st_blocks now takes ``after``."""
        self.used_bytes += (after - before) * BLOCK_BYTES

    def inode_added(self, blocks: int) -> None:
        """A new file, directory or link target exists."""
        self.used_inodes += 1
        self.used_bytes += blocks * BLOCK_BYTES

    def inode_removed(self, blocks: int) -> None:
        """A file's last link and last user are gone."""
        self.used_inodes -= 1
        self.used_bytes -= blocks * BLOCK_BYTES

    def require(self, size: int) -> None:
        """Raise ENOSPC unless ``size`` more bytes fit."""
        if size > self.size_bytes - self.used_bytes:
            raise OSError(errno.ENOSPC, "the volume is full")

    def require_for_write(self, fd: int, offset: int, size: int) -> None:
        """Raise ENOSPC unless writing this range fits: only what is not allocated yet counts.

        Far from full this is one comparison. Near the end the range's holes are asked for, so that a program can still
        overwrite what it has (a database in a full volume must be able to).
        """
        if size + 2 * _ALLOCATION > self.size_bytes - self.used_bytes:
            self.require(sum(end - start for start, end in _holes(fd, offset, size)))


def _holes(fd: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a range, widened to allocation units, that hold no data yet (lseek(2), SEEK_HOLE)."""
    position = offset - offset % _ALLOCATION
    end = -(-(offset + size) // _ALLOCATION) * _ALLOCATION
    while position < end:
        try:
            data = min(os.lseek(fd, position, os.SEEK_DATA), end)
        except OSError as error:
            if error.errno != errno.ENXIO:  # ENXIO: no data from here to the end of the file
                raise
            data = end
        if data > position:
            yield position, data
        if data == end:
            return
        position = os.lseek(fd, data, os.SEEK_HOLE)
        position += -position % _ALLOCATION  # the unit in which the file ends is allocated


def measure(source_fd: int) -> tuple[int, int]:
    """(bytes, inodes) of everything below a directory, itself included, on its device only; each inode once."""
    top = os.fstat(source_fd)
    blocks, inodes = top.st_blocks, 1
    several_links: set[int] = set()
    pending = [b"."]
    while pending:
        directory = pending.pop()
        try:
            fd = os.open(
                directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source_fd
            )
        except (FileNotFoundError, NotADirectoryError):
            continue  # it went away while we looked
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    found = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
                    if found.st_dev != top.st_dev or found.st_ino in several_links:
                        continue
                    blocks += found.st_blocks
                    inodes += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(directory + b"/" + os.fsencode(entry.name))
                    elif found.st_nlink > 1:
                        several_links.add(found.st_ino)
        finally:
            os.close(fd)
    return blocks * BLOCK_BYTES, inodes
