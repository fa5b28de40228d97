"""Mounting and unmounting by system call, and the kernel's own list of mounts.

Nothing here looks at what a mount point shows: a dead or hung FUSE file system hangs whoever does. The mount table tells
what is mounted, and unmounting detaches (MNT_DETACH) what is busy.
"""

import ctypes
import errno
import os
from pathlib import Path

from csitrace.model.mounts import Mount, parse_mountinfo

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_RELATIME = 0x200000
MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

# Mount options that are per mount, not per file system: what a bind mount can have of its own.
FLAGS = {
    "ro": MS_RDONLY,
    "rw": 0,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "relatime": MS_RELATIME,
}

_libc = ctypes.CDLL(None, use_errno=True)


def canonical(path: str) -> str:
    """`path` as the mount table has it: symbolic links resolved, except that the last part is not looked at."""
    parent, name = os.path.split(os.path.normpath(path))
    return os.path.join(os.path.realpath(parent), name)


def mounted_at(path: str) -> list[Mount]:
    """The mounts at exactly this path, lowest first; the last one is what a process sees there."""
    return [mount for mount in mount_table() if mount.mount_point == path]


def mount_table() -> list[Mount]:
    """All mounts of our mount namespace, in the order they were made."""
    return list(parse_mountinfo(Path("/proc/self/mountinfo").read_text(errors="surrogateescape")))


def bind(source: str, target: str, options: tuple[str, ...]) -> None:
    """Show `source` at `target` with mount options from `FLAGS`.

    The kernel ignores options on the bind itself, so they take a second call; when that fails, or we die in between,
    the caller must unmount `target`. Options that the source has (nosuid, nodev) are kept: in a user namespace they may
    not be dropped.
    """
    _mount(source, target, MS_BIND)
    flags = _combined(options)
    if flags:
        inherited = _combined(tuple(mounted_at(target)[-1].options.split(",")))
        _mount("none", target, MS_REMOUNT | MS_BIND | inherited | flags)


def unmount(path: str) -> bool:
    """Take away every mount at `path`, busy or dead. True when there was one; raises OSError when one is left.

    The first try is a plain unmount, so that what is written is flushed; a mount in use is detached.
    """
    count = len(mounted_at(path))
    for _ in range(count):
        if _umount(path, UMOUNT_NOFOLLOW) in (0, errno.EINVAL):
            continue
        failed = _umount(path, UMOUNT_NOFOLLOW | MNT_DETACH)
        if failed not in (0, errno.EINVAL):
            raise OSError(failed, os.strerror(failed), path)
    return count > 0


def unmount_lazily(path: str) -> bool:
    """Detach every mount at `path` at once, without waiting for anybody. True when there was one."""
    count = len(mounted_at(path))
    for _ in range(count):
        failed = _umount(path, UMOUNT_NOFOLLOW | MNT_DETACH)
        if failed not in (0, errno.EINVAL):
            raise OSError(failed, os.strerror(failed), path)
    return count > 0


def _combined(options: tuple[str, ...]) -> int:
    flags = 0
    for option in options:
        flags |= FLAGS.get(option, 0)
    return flags


def _mount(source: str, target: str, flags: int) -> None:
    arguments = (os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)
    if _libc.mount(*arguments) != 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed), target)


def _umount(path: str, flags: int) -> int:
    """The errno, 0 for success. EINVAL: nothing is mounted there (any more)."""
    return 0 if _libc.umount2(os.fsencode(path), flags) == 0 else ctypes.get_errno()
