"""Who stays outside the sandbox: waits for the end of the program inside, however it comes, and leaves nothing behind.

Two processes watch over the one inside. The supervisor is the process that the user started: it passes signals on and, when the
program has ended, kills what still runs in its mount namespace (FUSE daemons outlive their driver on purpose), removes the
directory and puts the terminal back. The keeper does the same should the supervisor itself be killed.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ENVIRONMENT_MARK = "CSITRACE_LAB"
"""Set to the lab's directory for all its programs: by it they are known where there is no namespace to know them by."""

_PR_SET_CHILD_SUBREAPER = 36
_SI_USER = 0
_PASSED_ON = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.02

_LEAVE_SCREEN = (
    b"\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[<u\x1b[0m"
)
"""Main screen, cursor, no mouse, focus or paste reports, ordinary keys: what a killed full-screen program leaves switched."""


def supervise(worker: int, inside: int, tell_go: int, directory: Path) -> NoReturn:
    """Wait for `worker`; then clean up and exit as it did (128 + n when signal n ended it).

    `inside`: a pipe that ends once the worker has entered its namespace. `tell_go`: a byte there lets it begin, when
    all is watched.
    """
    # Before anything is begun: a terminal that goes away this early must not take the one who cleans up along.
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON | {signal.SIGCHLD})
    terminal = _Terminal()
    os.read(inside, 1)
    members = _Members(worker, directory)
    done, tell_done = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(tell_done)
        os.close(tell_go)
        _keep(done, worker, members, directory, terminal)
    with contextlib.suppress(BrokenPipeError):
        os.write(tell_go, b"x")
    os.close(tell_go)
    os.close(done)
    ctypes.CDLL(None).prctl(
        _PR_SET_CHILD_SUBREAPER, 1
    )  # orphans from inside come to us and are not left as zombies
    status = _wait(worker)
    members.kill()
    shutil.rmtree(directory, ignore_errors=True)
    os.write(tell_done, b"x")
    if os.WIFSIGNALED(status):
        terminal.restore()
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _wait(worker: int) -> int:
    """The worker's wait status. Signals sent to us alone are passed on; those of the terminal's keys reach the worker anyway.

    That a terminal is gone (SIGHUP by the kernel) is told to its session's leader alone, which we may be.
    """
    while True:
        # Asked before each wait: a SIGCHLD from before it was blocked would be missed otherwise.
        for pid, status in _ended_children():
            if pid == worker:
                return status
        received = signal.sigtimedwait(_PASSED_ON | {signal.SIGCHLD}, 1.0)
        if received is None or received.si_signo not in _PASSED_ON:
            continue
        if received.si_code == _SI_USER or received.si_signo == signal.SIGHUP:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, received.si_signo)


def _ended_children() -> Iterator[tuple[int, int]]:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def _keep(done: int, worker: int, members: "_Members", directory: Path, terminal: "_Terminal") -> NoReturn:
    """Sleep until the supervisor is done, or gone; in the latter case do its work."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON | {signal.SIGCHLD})
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        if not os.isatty(descriptor):
            os.dup2(null, descriptor)  # who reads our pipes must see their end
    if not os.read(done, 1):
        deadline = time.monotonic() + _GRACE_SECONDS
        while _is_alive(worker) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)  # it was told by the kernel (PR_SET_PDEATHSIG) and may still draw
        members.kill()
        shutil.rmtree(directory, ignore_errors=True)
        terminal.restore()
    os._exit(0)


class _Members:
    """All processes of the lab: those in the worker's mount namespace; where it has none of its own, those with the mark."""

    def __init__(self, worker: int, directory: Path) -> None:
        self._worker = worker
        self._namespace = _mount_namespace(worker)
        # Held for as long as we live: the kernel gives the identity of a namespace that is gone to the next one made,
        # and that one's processes are not ours to kill.
        self._held = _hold_namespace(worker)
        self._is_isolated = self._namespace not in ("", _mount_namespace(os.getpid()))
        self._mark = f"{ENVIRONMENT_MARK}={directory}".encode()

    def kill(self) -> None:
        """SIGKILL until none is left: one that is killed may just have started another."""
        deadline = time.monotonic() + _GRACE_SECONDS
        while (found := list(self._find())) and time.monotonic() < deadline:
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            for _ in _ended_children():
                pass
            time.sleep(_LOOK_SECONDS)

    def _find(self) -> Iterator[int]:
        for entry in os.listdir("/proc"):
            if entry.isdecimal() and int(entry) != os.getpid() and self._has(int(entry)):
                yield int(entry)

    def _has(self, pid: int) -> bool:
        if self._is_isolated:
            return _mount_namespace(pid) == self._namespace
        if pid == self._worker:
            return _is_alive(pid)
        try:
            return self._mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False


def _mount_namespace(pid: int) -> str:
    """Its identity, e.g. `mnt:[4026531841]`; empty for a process that is gone, a zombie, or not ours to look at."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def _hold_namespace(pid: int) -> int | None:
    try:
        return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class _Terminal:
    """The terminal's settings as they were before the program inside touched them."""

    def __init__(self) -> None:
        self._settings = None
        if sys.stdin is not None and os.isatty(0):
            self._settings = termios.tcgetattr(0)

    def restore(self) -> None:
        if self._settings is None:
            return
        # Whoever writes to its terminal from the background is stopped, unless it ignores that.
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        with contextlib.suppress(OSError, termios.error):
            if os.isatty(1):
                os.write(1, _LEAVE_SCREEN)
            termios.tcsetattr(0, termios.TCSADRAIN, self._settings)
