"""Mounts of a cluster: read from mountinfo and detached without ever touching what is mounted.

A path on a FUSE file system whose daemon hangs must not be looked at; detaching needs only the mount table.
"""

import ctypes
import os
import re
from pathlib import Path

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_libc = ctypes.CDLL(None, use_errno=True)


def below(directory: Path) -> list[Path]:
    """Mount points at or below ``directory``, in the order they were mounted."""
    points = [Path(_unescape(line.split()[4])) for line in _mountinfo()]
    return [point for point in points if point == directory or directory in point.parents]


def detach_below(directory: Path) -> None:
    """Lazily unmount everything at or below ``directory``, deepest first."""
    for point in sorted(below(directory), key=lambda point: len(point.parts), reverse=True):
        if _libc.umount2(os.fsencode(point), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
            number = ctypes.get_errno()
            # Gone with its parent in the meantime: what was wanted.
            if point in below(directory):
                raise OSError(number, os.strerror(number), str(point))


def share(directory: Path) -> None:
    """Make mounts below ``directory`` travel between the host and pods, as kubelet's root needs.

    Where the host already shares them (systemd does) nothing is done; otherwise the directory becomes a shared mount
    of its own, so that the host's other mounts stay as they are.
    """
    if not _is_shared(directory):
        _mount(directory, 0x1000)  # MS_BIND
        _mount(directory, 0x100000)  # MS_SHARED


def _mount(directory: Path, flags: int) -> None:
    path = os.fsencode(directory)
    if _libc.mount(path, path, None, ctypes.c_ulong(flags), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(directory))


def _is_shared(directory: Path) -> bool:
    holders = [
        (len(point.parts), index, "shared:" in line.partition(" - ")[0])
        for index, line in enumerate(_mountinfo())
        for point in [Path(_unescape(line.split()[4]))]
        if point == directory or point in directory.parents
    ]
    return max(holders)[2]


def _mountinfo() -> list[str]:
    return Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()


def _unescape(field: str) -> str:
    """mountinfo writes blank, tab, newline and backslash as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
