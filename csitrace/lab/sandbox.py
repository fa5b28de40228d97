"""A place where the lab may mount, and which ends with the program: a private mount namespace and a temporary directory.

`enter` forks. The caller goes on in the child, inside; the parent stays outside as its supervisor. Root enters a mount namespace,
anybody else a user and mount namespace, in which they are root over nothing but their own. Where neither is allowed the
lab still runs, without mounts, and `Sandbox.missing` says why.

Call it first, before any thread is started: a process with threads cannot enter a user namespace.
"""

import ctypes
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from csitrace.lab import supervisor

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_PR_SET_PDEATHSIG = 1

_SHORT_BASE = Path("/tmp")  # noqa: S108 - a path of a unix socket has 107 bytes, and TMPDIR may be long


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`directory`: the lab's own, removed at the end. `missing`: why nothing can be mounted; empty when it can."""

    directory: Path
    missing: str = ""


def enter() -> Sandbox:
    """Return inside. The process that called waits for the caller to end, removes what is left, and exits as it did."""
    base = _SHORT_BASE if os.access(_SHORT_BASE, os.W_OK | os.X_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="csitrace-", dir=base))
    inside, tell_inside = os.pipe()
    go, tell_go = os.pipe()
    worker = os.fork()
    if worker:
        os.close(tell_inside)
        os.close(go)
        supervisor.supervise(worker, inside, tell_go, directory)
    os.close(inside)
    os.close(tell_go)
    # SIGTERM, not SIGKILL: who draws on a terminal has to put it back.
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    missing = _isolate()
    os.close(tell_inside)
    if not os.read(go, 1):
        os._exit(1)  # the supervisor is gone already
    os.close(go)
    return Sandbox(directory, missing)


def _isolate() -> str:
    """Enter namespaces of our own; why not, where that is refused."""
    user, group = os.geteuid(), os.getegid()
    try:
        _unshare(_CLONE_NEWNS)
    except PermissionError:
        try:
            _unshare(_CLONE_NEWUSER | _CLONE_NEWNS)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        except OSError as error:
            return f"no mounts: a user and mount namespace is refused ({error.strerror}); run as root to see them"
    if _libc().mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) != 0:
        return f"no mounts: the mount namespace cannot be made private ({os.strerror(ctypes.get_errno())})"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"no mounts: /dev/fuse cannot be opened ({error.strerror}); run as root, or chmod 666 it"
    return ""


def _unshare(flags: int) -> None:
    if _libc().unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
