"""The processes that serve FUSE connections: which they are, how they fare, and how they end.

Which process serves a connection: since Linux 6.18 the fdinfo of an open /dev/fuse names the connection. Before that the kernel
tells only who holds *some* /dev/fuse; then the one whose command line names a mount point of the connection is taken. Where
neither tells, nothing is claimed.

/proc/PID/fd, fdinfo, stat, statm and status can be read whatever state the process is in. /proc/PID/cmdline cannot (it needs the
process's memory map, which a hung process may hold locked), so it is read only where fdinfo does not suffice, and all searching
is done in a thread that nobody waits for.
"""

import array
import asyncio
import contextlib
import errno
import fcntl
import os
import select
import signal
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from csitrace.model.fuse import DaemonStatus
from csitrace.sources.pods import pod_uid_of

_T = TypeVar("_T")

_FUSE_DEVICE = "/dev/fuse"
_FDINFO_FIELD = "fuse_connection:"
_INITIAL_NAMESPACES = {
    "pid": 0xEFFF_FFFC,
    "user": 0xEFFF_FFFD,
}  # inode numbers, fixed by include/linux/proc_ns.h


_CAP_SYS_PTRACE = 19


@dataclass(frozen=True, slots=True)
class FuseHolder:
    """A process with an open /dev/fuse. `connections`: which, as far as the kernel tells; `started`: clock ticks since boot."""

    pid: int
    connections: frozenset[int]
    started: int


@dataclass(frozen=True, slots=True)
class FuseHolders:
    """All holders that we may see, the youngest last. `all_seen`: there are no others, hidden by permission or PID namespace."""

    holders: tuple[FuseHolder, ...] = ()
    all_seen: bool = False


@dataclass(frozen=True, slots=True)
class DaemonSearch:
    """`found`: the daemon's pid by connection. `unnamed`: some process holds a /dev/fuse of which the kernel does not say which
    connection it is, so that what was not found may still be served."""

    found: Mapping[int, int]
    unnamed: bool = False
    all_seen: bool = False


def privileged_over_processes() -> bool:
    """Whether we see every process's descriptors: a capability, and the machine's own PID and user namespaces to use it in."""
    return _may_trace() and _in_initial("pid") and _in_initial("user")


def _may_trace() -> bool:
    """CAP_SYS_PTRACE: /proc/PID/fd is for whoever may trace PID, ptrace(2); being root is not enough in a container."""
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _CAP_SYS_PTRACE & 1)


def _in_initial(kind: str) -> bool:
    return os.stat(f"/proc/self/ns/{kind}").st_ino == _INITIAL_NAMESPACES[kind]


def fuse_holders() -> FuseHolders:
    """Reads the descriptors of every process once."""
    holders: list[FuseHolder] = []
    all_seen = _in_initial("pid")
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                holder = _holder(int(name))
            except PermissionError:
                # A sandbox may hide its init even from root, and init serves no file system.
                all_seen = all_seen and name == "1"
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended meanwhile
            else:
                holders += [holder] if holder is not None else []
    return FuseHolders(tuple(sorted(holders, key=lambda holder: holder.started)), all_seen)


def command_line_of(pid: int) -> list[str]:
    """The words of its command line, empty if it cannot be read. May hang with the process."""
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).rstrip("\0").split("\0")
    except OSError:
        return []


def find_daemons(
    wanted: Mapping[int, Iterable[str]],
    *,
    holders: Callable[[], FuseHolders] = fuse_holders,
    command_line: Callable[[int], list[str]] = command_line_of,
) -> DaemonSearch:
    """The daemons of the `wanted` connections (each with its mount points), where they can be told.

    Of several holders of one connection the youngest is taken: a daemon is given its descriptor by the older process that
    mounted. One search reads /proc once, whatever the number of connections.
    """
    held = holders()
    found: dict[int, int] = {}
    for holder in held.holders:
        found.update(dict.fromkeys(holder.connections & wanted.keys(), holder.pid))
    missing = {
        connection: frozenset(paths) for connection, paths in wanted.items() if connection not in found
    }
    unnamed = [holder.pid for holder in held.holders if not holder.connections]
    for pid in unnamed if missing else ():
        words = {value for word in command_line(pid) for value in (word, word.partition("=")[2])}
        found.update(
            {connection: pid for connection, paths in missing.items() if not paths.isdisjoint(words)}
        )
    return DaemonSearch(found, unnamed=bool(unnamed), all_seen=held.all_seen)


def _holder(pid: int) -> FuseHolder | None:
    directory = f"/proc/{pid}/fd"
    held = False
    connections: set[int] = set()
    for descriptor in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(f"{directory}/{descriptor}") == _FUSE_DEVICE:
                held = True
                connections.update(_connections_in(Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text()))
    return FuseHolder(pid, frozenset(connections), _started(pid)) if held else None


def _connections_in(fdinfo: str) -> Iterable[int]:
    for line in fdinfo.splitlines():
        if line.startswith(_FDINFO_FIELD):
            yield int(line[len(_FDINFO_FIELD) :])


def _stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on: the second, the name, may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


_STATE, _STARTED, _EXIT_CODE = 0, 19, 49  # indices into _stat_fields; proc_pid_stat(5) fields 3, 22 and 52


def _started(pid: int) -> int:
    return int(_stat_fields(pid)[_STARTED])


class Daemon:
    """One run of a process: its status from time to time, and its end at once, through a pidfd that outlives it."""

    def __init__(self, pid: int) -> None:
        """ProcessLookupError if it has ended already; OSError if the kernel has no pidfd (before 5.3)."""
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        try:
            self._process = psutil.Process(pid)
            self._name = Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n")
            self._started_at = round(self._process.create_time() * 1e9)
            self._pod_uid = pod_uid_of(pid)
            if _has_ended(self.pidfd):  # what was read may be of a later process with the same pid
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        except (psutil.Error, OSError) as error:
            os.close(self.pidfd)
            raise ProcessLookupError(errno.ESRCH, f"process {pid} has ended") from error

    def status(self) -> DaemonStatus:
        """How it fares now; without figures if it has just ended (`ended` then tells how)."""
        try:
            with self._process.oneshot():
                times = self._process.cpu_times()
                state = _STATE_LETTERS.get(self._process.status(), "")
                return self._told(
                    state=state,
                    cpu_ns=round((times.user + times.system) * 1e9),
                    rss_bytes=self._process.memory_info().rss,
                )
        except (psutil.Error, OSError):
            return self._told()

    def ended(self) -> DaemonStatus:
        """To be called when `pidfd` turned readable: the last word on it."""
        return self._told(exited=how_it_ended(self.pidfd, self.pid))

    def _told(self, **figures: Any) -> DaemonStatus:
        return DaemonStatus(
            pid=self.pid,
            name=self._name,
            started_at=self._started_at,
            pod_uid=self._pod_uid,
            **figures,
        )

    def close(self) -> None:
        os.close(self.pidfd)


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


_STATE_LETTERS = {
    psutil.STATUS_RUNNING: "R",
    psutil.STATUS_SLEEPING: "S",
    psutil.STATUS_DISK_SLEEP: "D",
    psutil.STATUS_STOPPED: "T",
    psutil.STATUS_TRACING_STOP: "t",
    psutil.STATUS_ZOMBIE: "Z",
    psutil.STATUS_DEAD: "X",
    psutil.STATUS_IDLE: "I",
}

_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct(
    "=QQ11Ii"
)  # mask, cgroup id, pids and user ids, exit code; struct pidfd_info, first version
_PIDFD_GET_INFO = (3 << 30) | (_PIDFD_INFO.size << 16) | (0xFF << 8) | 11


def how_it_ended(pidfd: int, pid: int) -> str:
    """In words, of a process that has. Its parent may not have asked yet (then /proc tells) or have (then Linux 6.15's pidfd)."""
    for ask in (_exit_code_by_pidfd, lambda _: _exit_code_of_zombie(pid), _exit_code_by_pidfd):
        try:
            code = ask(pidfd)
        except (OSError, ValueError, IndexError):
            continue
        if code is not None:
            return _in_words(code)
    return "ended; how is not known"


def _exit_code_by_pidfd(pidfd: int) -> int | None:
    answer = array.array("B", _PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 13))
    fcntl.ioctl(pidfd, _PIDFD_GET_INFO, answer)
    mask, *_ids, code = _PIDFD_INFO.unpack(answer)
    return int(code) if mask & _PIDFD_INFO_EXIT else None


def _exit_code_of_zombie(pid: int) -> int | None:
    fields = _stat_fields(pid)
    if fields[_STATE] not in "ZX":
        return None
    code = int(fields[_EXIT_CODE])
    return code if code or os.geteuid() == 0 else None  # 0 is also what those who may not know are told


def _in_words(wait_status: int) -> str:
    if os.WIFSIGNALED(wait_status):
        try:
            return f"killed by {signal.Signals(os.WTERMSIG(wait_status)).name}"
        except ValueError:
            return f"killed by signal {os.WTERMSIG(wait_status)}"
    return f"exited with status {os.WEXITSTATUS(wait_status)}"


async def in_unawaited_thread(work: Callable[[], _T]) -> _T:
    """The result of `work`, done in a thread that may hang: neither cancellation nor the end of the program waits for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def deliver(settle: Callable[[Any], None], outcome: object) -> None:
        def unless_cancelled() -> None:
            if not done.done():
                settle(outcome)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(unless_cancelled)

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - raised again where it is awaited
            deliver(done.set_exception, error)
        else:
            deliver(done.set_result, result)

    threading.Thread(target=run, name="csitrace-processes", daemon=True).start()
    return await done
