"""The Linux calls that tell of mounts, by number where the C library has no name for them.

Numbers and layouts: include/uapi/linux/{mount,fanotify,nsfs}.h; fanotify(7), listmount(2), statmount(2). The numbers from 424 on
are the same on every architecture but alpha. Every function raises OSError with the kernel's errno.
"""

import ctypes
import errno
import fcntl
import os
import sys

_libc = ctypes.CDLL(None, use_errno=True)

_SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 430, 431, 432
_SYS_LISTMOUNT = 458
_STATMOUNT, _NO_FLAGS = ctypes.c_long(457), ctypes.c_int(0)

_FSOPEN_CLOEXEC, _FSCONFIG_CMD_CREATE, _FSMOUNT_CLOEXEC = 1, 6, 1
_MOUNT_ATTR_RDONLY_NOSUID_NODEV_NOEXEC = 0xF

_FAN_CLOEXEC, _FAN_NONBLOCK, _FAN_REPORT_MNT = 0x1, 0x2, 0x4000
_FAN_MARK_ADD, _FAN_MARK_MNTNS = 0x1, 0x110
FAN_MNT_ATTACH, FAN_MNT_DETACH, FAN_Q_OVERFLOW = 0x0100_0000, 0x0200_0000, 0x4000

_NS_GET_MNTNS_ID = 0x8008_B705
_LSMT_ROOT = 0xFFFF_FFFF_FFFF_FFFF
_REQUEST_WORDS = 4  # struct mnt_id_req: size (and an unused half), mount id, mask or last id, namespace id
_REQUEST_ID, _REQUEST_PARAMETER = 1, 2
_LIST_AT_ONCE = 4096


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *arguments)
    return _checked(result)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def mount_namespace_id(namespace_fd: int) -> int:
    """The 64-bit id of the mount namespace that /proc/PID/ns/mnt was opened of (Linux 6.11)."""
    answer = bytearray(8)
    fcntl.ioctl(namespace_fd, _NS_GET_MNTNS_ID, answer)
    return int.from_bytes(answer, sys.byteorder)


def open_mount_events(namespace_fd: int) -> int:
    """A non-blocking fanotify descriptor that tells each mount attached to and detached from a namespace (Linux 6.15)."""
    descriptor = _checked(_libc.fanotify_init(_FAN_CLOEXEC | _FAN_NONBLOCK | _FAN_REPORT_MNT, 0))
    try:
        _checked(
            _libc.fanotify_mark(
                descriptor,
                _FAN_MARK_ADD | _FAN_MARK_MNTNS,
                ctypes.c_uint64(FAN_MNT_ATTACH | FAN_MNT_DETACH),
                namespace_fd,
                None,
            )
        )
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_detached(fs_type: str) -> int:
    """A directory descriptor on a fresh, read-only mount of `fs_type` that is attached nowhere: no path leads to it and it is
    gone when the descriptor is closed. Needs CAP_SYS_ADMIN."""
    context = _call(_SYS_FSOPEN, fs_type.encode(), _FSOPEN_CLOEXEC)
    try:
        _call(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        mounted = _call(_SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, _MOUNT_ATTR_RDONLY_NOSUID_NODEV_NOEXEC)
    finally:
        os.close(context)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mounted)
    finally:
        os.close(mounted)


class MountCalls:
    """listmount(2) and statmount(2) on one mount namespace. Arguments and buffers are used again, since preparing them costs as
    much as the calls; so not for two threads at once."""

    def __init__(self, namespace_id: int) -> None:
        self._request = (ctypes.c_uint64 * _REQUEST_WORDS)(_REQUEST_WORDS * 8, 0, 0, namespace_id)
        self._request_at = ctypes.byref(self._request)
        self._ids = (ctypes.c_uint64 * _LIST_AT_ONCE)()
        self._resize(4096)

    def _resize(self, size: int) -> None:
        self._reply = ctypes.create_string_buffer(size)
        self._reply_size = ctypes.c_size_t(size)

    def list_ids(self) -> list[int]:
        """The unique ids of all mounts of the namespace, ascending: the order in which they were made."""
        ids: list[int] = []
        self._request[_REQUEST_ID] = _LSMT_ROOT
        while True:
            self._request[_REQUEST_PARAMETER] = ids[-1] if ids else 0
            count = _call(_SYS_LISTMOUNT, self._request_at, self._ids, ctypes.c_size_t(_LIST_AT_ONCE), 0)
            ids += self._ids[:count]
            if count < _LIST_AT_ONCE:
                return ids

    def stat(self, unique_id: int, mask: int) -> bytes:
        """`struct statmount` with its strings. FileNotFoundError (ENOENT) for a mount that is gone."""
        self._request[_REQUEST_ID] = unique_id
        self._request[_REQUEST_PARAMETER] = mask
        while _libc.syscall(_STATMOUNT, self._request_at, self._reply, self._reply_size, _NO_FLAGS) < 0:
            code = ctypes.get_errno()
            if code != errno.EOVERFLOW:
                raise OSError(code, os.strerror(code))
            self._resize(2 * len(self._reply))
        size = int.from_bytes(ctypes.string_at(self._reply, 4), sys.byteorder)
        return ctypes.string_at(self._reply, size)
