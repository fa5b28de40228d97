"""Unix sockets at paths longer than an address may be (107 bytes): those in pods' emptyDirs are, on every node.

The directory is opened, which a path of any length may be, and the socket named through the descriptor. The descriptor keeps the
directory's file system busy, so it is held only until the connection is made.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from csitrace.errors import UsageError
from csitrace.feed.address import UNIX_PATH_MAX, grpc_target, socket_path


def checked(address: str) -> str:
    """An address that can be connected to, in one form. UsageError as `grpc_target`, but for the length of a path."""
    path = socket_path(address)
    if path is None or not _is_long(path):
        return grpc_target(address)
    if not path.startswith("/"):
        raise UsageError(f"feed address {address!r}: a unix socket needs an absolute path")
    return f"unix:{path}"


@contextmanager
def connectable(target: str) -> Iterator[str]:
    """For the time of connecting, a gRPC target that is short enough. OSError where the directory cannot be opened."""
    path = socket_path(target)
    if path is None or not _is_long(path):
        yield target
        return
    directory, _, name = path.rpartition("/")
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"unix:/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def _is_long(path: str) -> bool:
    return len(os.fsencode(path)) > UNIX_PATH_MAX
