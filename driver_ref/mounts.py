"""Mounting and unmounting by system call, and the kernel's own list of mounts.

Nothing here looks at what a mount point shows: a dead or hung FUSE file system hangs whoever does. The mount table tells
what is mounted, and unmounting detaches (MNT_DETACH) what is busy.
"""

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Callable, Collection
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

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE = 428  # the numbers of newer system calls are the same on every architecture
_OPEN_TREE_CLONE = 0x1
_MOVE_MOUNT = 429
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MOUNT_SETATTR = 442
# mount_setattr(2): the same words in its own bits.
_ATTRIBUTES = {"ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8, "noatime": 0x10, "nodiratime": 0x80}
_MOUNT_ATTR_ATIME = 0x70

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


def cover(source: str, target: str, options: tuple[str, ...]) -> None:
    """Lay a bind mount of `source`, with options from `FLAGS`, over the mount at `target`, which stays below it.

    For a mount that is dead but used: a mount on top of it propagates to whoever has the lower one as a slave or peer (containers
    with mountPropagation HostToContainer), a mount in place of it does not. What lies on it from an earlier time goes. The
    options are there before the mount is, so nobody ever sees it writable that may not.
    """
    for _ in mounted_at(target)[1:]:
        failed = _umount(target, UMOUNT_NOFOLLOW | MNT_DETACH)
        if failed not in (0, errno.EINVAL):
            raise OSError(failed, os.strerror(failed), target)
    tree = _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | os.O_CLOEXEC, path=source)
    try:
        wanted = sum({_ATTRIBUTES[option] for option in options if option in _ATTRIBUTES})
        cleared = _MOUNT_ATTR_ATIME if wanted & _MOUNT_ATTR_ATIME else 0
        attributes = struct.pack("4Q", wanted, cleared, 0, 0)
        _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, len(attributes), path=target)
        _call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH, path=target)
    finally:
        os.close(tree)


def seen(is_meant: Callable[[Mount], bool], besides: Collection[str]) -> bool:
    """Whether some mount namespace of this machine has such a mount, with no other on top, at other paths than `besides`.

    Those are paths of the host; who has all of the host below a directory of his own (a monitoring agent) has them there, and
    that is not counted. As far as our PID namespace shows processes: one of each mount namespace is asked.
    """
    asked = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it ends, or is a kernel thread
            namespace = os.readlink(process / "ns" / "mnt")
            if namespace in asked:
                continue
            table = list(parse_mountinfo((process / "mountinfo").read_text(errors="surrogateescape")))
            asked.add(namespace)
            covered = {(mount.parent_id, mount.mount_point) for mount in table}
            if any(
                is_meant(mount)
                and (mount.mount_id, mount.mount_point) not in covered
                and not mount.mount_point.endswith(tuple(besides))
                for mount in table
            ):
                return True
    return False


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


def _call(number: int, *arguments: int | bytes, path: str) -> int:
    """A system call that libc has no function for. Raises OSError about `path`."""
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        failed = ctypes.get_errno()
        raise OSError(failed, os.strerror(failed), path)
    return result


def _umount(path: str, flags: int) -> int:
    """The errno, 0 for success. EINVAL: nothing is mounted there (any more)."""
    return 0 if _libc.umount2(os.fsencode(path), flags) == 0 else ctypes.get_errno()
