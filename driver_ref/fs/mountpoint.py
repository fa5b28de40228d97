"""The mount in the kernel's table: looked up and taken away without touching it (a look at a hung mount hangs)."""

import ctypes
import os
import re
import subprocess
from typing import Final

import trio

_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8

_libc = ctypes.CDLL(None, use_errno=True)


def connection_at(mountpoint: str, mountinfo: str | None = None) -> int | None:
    """The FUSE connection number (minor of the device) of what is mounted on top at ``mountpoint``; None: no mount.

    ``mountinfo`` is the text of /proc/self/mountinfo (proc_pid_mountinfo(5)), read if not given. The last line for a
    path is the mount on top.
    """
    if mountinfo is None:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            mountinfo = table.read()
    found = None
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and _unescape(fields[4]) == mountpoint:
            found = int(fields[2].partition(":")[2])
    return found


def _unescape(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


async def unmount(mountpoint: str, patience_seconds: float) -> bool:
    """Unmount as umount(8) does, data written back first; False when it is busy or takes too long.

    By a program of its own: unmounting waits for the file system's answers, and a thread of this process that waits
    for this process cannot be killed. One that got stuck is left behind; it wakes up when we are gone.
    """
    return await _run(
        ["umount", "-i"] if os.geteuid() == 0 else ["fusermount3", "-u", "-q"], mountpoint, patience_seconds
    )


async def write_back(mountpoint: str, patience_seconds: float) -> bool:
    """Have the kernel hand over what shared mappings have changed (syncfs(2)); False when that failed or took too long."""
    return await _run(["sync", "-f"], mountpoint, patience_seconds)


def detach(mountpoint: str) -> None:
    """Take the mount out of the tree at once, used or not. The connection must be closed before.

    Raises :class:`OSError`.
    """
    if os.geteuid() != 0:
        subprocess.run(["fusermount3", "-u", "-q", "-z", mountpoint], check=False, stdin=subprocess.DEVNULL)
    elif _libc.umount2(os.fsencode(mountpoint), _MNT_DETACH | _UMOUNT_NOFOLLOW):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), mountpoint)


async def _run(command: list[str], mountpoint: str, patience_seconds: float) -> bool:
    try:
        process = await trio.lowlevel.open_process([*command, mountpoint], stdin=subprocess.DEVNULL)
    except OSError:
        return False  # the program is not installed
    with trio.move_on_after(patience_seconds):
        return await process.wait() == 0
    return False
