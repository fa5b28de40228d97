"""System calls that Python does not offer, or offers without the loop that a correct use needs."""

import ctypes
import os
import stat

_libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old_fd: int, old_name: bytes, new_fd: int, new_name: bytes, flags: int) -> None:
    """renameat2(2), which Python does not offer."""
    if _libc.renameat2(old_fd, old_name, new_fd, new_name, flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def drop_privilege_bits(target: int | str) -> None:
    """What the kernel does to set-id bits when somebody without CAP_FSETID changes a file's contents."""
    mode = os.stat(target).st_mode
    dropped = stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0)
    if mode & dropped:
        os.chmod(target, stat.S_IMODE(mode & ~dropped))


def read_all(fd: int, offset: int, size: int) -> bytes:
    """pread(2) until ``size`` bytes or the end of the file."""
    data = os.pread(fd, size, offset)
    while 0 < len(data) < size and (more := os.pread(fd, size - len(data), offset + len(data))):
        data += more
    return data


def write_all(fd: int, offset: int, data: bytes) -> None:
    """pwrite(2) until all is written."""
    done = os.pwrite(fd, data, offset)
    while done < len(data):
        done += os.pwrite(fd, memoryview(data)[done:], offset + done)
