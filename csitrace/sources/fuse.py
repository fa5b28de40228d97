"""FUSE connections on this node: the requests that wait for each daemon, and the daemon itself.

A mount's device number is the connection's name in fusectl, whose file `waiting` holds the number of requests that the kernel
took and the daemon has not answered (fs/fuse/control.c). Nothing wakes a reader of it, so it is sampled. A daemon's death is
told at once, by its pidfd.
"""

import asyncio
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from csitrace.model.events import FuseObserved
from csitrace.model.fuse import DaemonStatus
from csitrace.model.mounts import Mount, parse_mountinfo
from csitrace.sources.backoff import Backoff
from csitrace.sources.mountinfo.syscalls import open_detached
from csitrace.sources.processes import Daemon, DaemonSearch, find_daemons, in_unawaited_thread
from csitrace.sources.rooted import root_of

_FUSECTL = "/sys/fs/fuse/connections"

_STATUS_EVERY = 2.0
"""Seconds between looks at a daemon that has nothing waiting; one with waiting requests is looked at with every sample."""

_FIGURES_EVERY = 5.0
"""Seconds after which grown CPU time or memory alone is worth an observation."""
_CPU_NS_WORTH_TELLING = 10_000_000
_RSS_BYTES_WORTH_TELLING = 1 << 20

_NOTABLE_STATES = frozenset("TtZX")


class WaitingRequests:
    """Reads `waiting` of connections, where process `pid` has fusectl mounted. `unknown_because`: one line why it cannot be read,
    empty while it can."""

    def __init__(self, pid: str = "self") -> None:
        self._pid = pid
        self._directory: int | None = None
        self.unknown_because = ""
        self.open()

    def open(self) -> None:
        """Find fusectl where it is mounted, or mount it where nobody sees it. Tried again with every new connection, because the
        kernel's fuse module may come only with the first one."""
        if self._directory is not None:
            return
        is_mounted = any(
            mount.fs_type == "fusectl" and mount.mount_point == _FUSECTL for mount in _mounts_of(self._pid)
        )
        try:
            self._directory = (
                _open_directory(root_of(self._pid) + _FUSECTL) if is_mounted else open_detached("fusectl")
            )
            self.unknown_because = ""
        except OSError as error:
            tried = (
                f"reading {_FUSECTL}"
                if is_mounted
                else f"fusectl is not mounted at {_FUSECTL}, and mounting it aside"
            )
            self.unknown_because = f"{tried}: {error.strerror}"

    def read(self, connection: int) -> int | None:
        """Requests without an answer, or None where it cannot be told (gone, or not permitted)."""
        if self._directory is None:
            return None
        try:
            descriptor = os.open(f"{connection}/waiting", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
        except OSError as error:
            if isinstance(error, PermissionError):
                self.unknown_because = "they may be read only by root and by the user who mounted"
            return None
        try:
            return int(os.read(descriptor, 32))
        except (OSError, ValueError):  # gone between the two calls
            return None
        finally:
            os.close(descriptor)

    def close(self) -> None:
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None


@dataclass(slots=True)
class _Connection:
    """What we know of one connection, and what we told last."""

    number: int
    mount_points: dict[int, str] = field(default_factory=dict)
    daemon: Daemon | None = None
    status: DaemonStatus | None = None
    looks_in_disk_sleep: int = 0
    search_at: float = 0.0
    search_delays: Backoff = field(default_factory=lambda: Backoff(initial=1.0, maximum=60.0))
    status_at: float = 0.0
    aborted: bool = False
    told: FuseObserved | None = None
    told_essence: tuple[object, ...] = ()
    told_at: float = 0.0


class FuseWatch:
    """Follows the connections behind the mounts it is told of.

    `wake` is called from the event loop when there is something to `observe` before its time: a daemon died or was found.
    """

    def __init__(
        self,
        node_name: str,
        wake: Callable[[], None],
        *,
        interval: float = 0.5,
        waiting: WaitingRequests | None = None,
        find: Callable[[Mapping[int, Iterable[str]]], DaemonSearch] = find_daemons,
    ) -> None:
        self._node_name = node_name
        self._wake = wake
        self._interval = interval
        self._waiting = waiting or WaitingRequests()
        self._find = find
        self._loop = asyncio.get_running_loop()
        self._search: asyncio.Task[None] | None = None
        self._connections: dict[int, _Connection] = {}
        self._sample_at = 0.0

    @property
    def unknown_because(self) -> str:
        """Why waiting requests cannot be told, empty if they can."""
        return self._waiting.unknown_because

    @property
    def observe_at(self) -> float:
        """When to observe next at the latest, on the loop's clock; infinity while there is no connection."""
        return self._sample_at if self._connections else math.inf

    def appeared(self, mount: Mount) -> None:
        """Takes any mount; only those of FUSE matter."""
        if mount.is_fuse:
            number = connection_of(mount)
            connection = self._connections.get(number)
            if connection is None:
                connection = self._connections[number] = _Connection(number)
                self._waiting.open()
                self._sample_at = 0.0
            connection.mount_points[mount.mount_id] = mount.mount_point

    def vanished(self, mount: Mount) -> None:
        connection = self._connections.get(connection_of(mount)) if mount.is_fuse else None
        if connection is not None:
            connection.mount_points.pop(mount.mount_id, None)
            if not connection.mount_points:
                self._release(connection)
                del self._connections[connection.number]

    def observe(self) -> Iterator[FuseObserved]:
        """What changed since the last call, at most one observation of each connection."""
        now = self._loop.time()
        sample = now >= self._sample_at
        if sample:
            self._sample_at = now + self._interval
        for connection in self._connections.values():
            waiting = (
                self._waiting.read(connection.number)
                if sample or connection.told is None
                else connection.told.waiting
            )
            if sample:
                self._look_at_daemon(connection, waiting, now)
            seen = FuseObserved(
                node_name=self._node_name,
                connection=connection.number,
                waiting=waiting,
                aborted=connection.aborted,
                daemon=connection.status,
            )
            essence = _essence(seen, connection.looks_in_disk_sleep > 1)
            if essence != connection.told_essence or self._figures_are_due(connection, seen, now):
                connection.told, connection.told_essence, connection.told_at = seen, essence, now
                yield seen
        self._start_search(now)

    def _look_at_daemon(self, connection: _Connection, waiting: int | None, now: float) -> None:
        changed = connection.told is not None and waiting != connection.told.waiting
        if connection.daemon is not None and (waiting or changed or now >= connection.status_at):
            connection.status_at = now + _STATUS_EVERY
            connection.status = connection.daemon.status()
            connection.looks_in_disk_sleep = (
                connection.looks_in_disk_sleep + 1 if connection.status.state == "D" else 0
            )

    def _figures_are_due(self, connection: _Connection, seen: FuseObserved, now: float) -> bool:
        told = connection.told
        return (
            told is not None
            and now >= connection.told_at + _FIGURES_EVERY
            and _figures_moved(told.daemon, seen.daemon)
        )

    def _start_search(self, now: float) -> None:
        """One search through /proc for all connections whose daemon is not known and whose time has come."""
        if self._search is not None:
            return
        wanted = {
            connection.number: tuple(connection.mount_points.values())
            for connection in self._connections.values()
            if connection.daemon is None and now >= connection.search_at
        }
        if wanted:
            self._search = asyncio.create_task(self._search_for(wanted))

    async def _search_for(self, wanted: Mapping[int, Iterable[str]]) -> None:
        try:
            search = await in_unawaited_thread(lambda: self._find(wanted))
        except OSError:
            search = DaemonSearch({})
        finally:
            self._search = None
        now = self._loop.time()
        for number in wanted:
            connection = self._connections.get(number)
            if connection is not None:
                self._search_ended(connection, search, now)
        self._wake_to_sample()

    def _search_ended(self, connection: _Connection, search: DaemonSearch, now: float) -> None:
        pid = search.found.get(connection.number)
        try:
            daemon = Daemon(pid) if pid is not None else None
        except OSError:  # ended meanwhile
            daemon = None
        if daemon is None:
            connection.search_at = now + connection.search_delays.next()
            # Nobody can open a connection again that nobody holds. Where we may have overlooked a holder, believe it only of a
            # connection whose daemon we saw ending.
            nobody_holds_it = (
                pid is None and not search.unnamed and (search.all_seen or connection.status is not None)
            )
            connection.aborted = connection.aborted or nobody_holds_it
            return
        connection.search_delays.reset()
        connection.daemon, connection.status, connection.aborted = daemon, daemon.status(), False
        self._loop.add_reader(daemon.pidfd, self._daemon_ended, connection)

    def _daemon_ended(self, connection: _Connection) -> None:
        if connection.daemon is not None:
            connection.status = connection.daemon.ended()
            self._release(connection)
            connection.search_at = 0.0
            self._wake_to_sample()

    def _wake_to_sample(self) -> None:
        self._sample_at = 0.0  # what waited for a daemon changes with it
        self._wake()

    def _release(self, connection: _Connection) -> None:
        if connection.daemon is not None:
            self._loop.remove_reader(connection.daemon.pidfd)
            connection.daemon.close()
            connection.daemon = None

    def close(self) -> None:
        if self._search is not None:
            self._search.cancel()
        for connection in self._connections.values():
            self._release(connection)
        self._connections.clear()
        self._waiting.close()


def connection_of(mount: Mount) -> int:
    """The connection's name in fusectl and fdinfo: the device number, which for all but `fuseblk` is the minor."""
    return mount.major << 20 | mount.minor


def _essence(seen: FuseObserved, stays_in_disk_sleep: bool) -> tuple[object, ...]:
    """What is news as soon as it changes. Running, sleeping and a moment on the disk are all the same to us."""
    daemon = seen.daemon
    if daemon is None:
        return (seen.waiting, seen.aborted)
    notable = daemon.state if daemon.state in _NOTABLE_STATES or stays_in_disk_sleep else ""
    return (seen.waiting, seen.aborted, daemon.pid, daemon.exited, notable)


def _figures_moved(told: DaemonStatus | None, seen: DaemonStatus | None) -> bool:
    if told is None or seen is None:
        return False
    cpu = (seen.cpu_ns or 0) - (told.cpu_ns or 0)
    rss = (seen.rss_bytes or 0) - (told.rss_bytes or 0)
    return cpu >= _CPU_NS_WORTH_TELLING or abs(rss) >= _RSS_BYTES_WORTH_TELLING


def _open_directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _mounts_of(pid: str) -> Iterator[Mount]:
    return parse_mountinfo(Path(f"/proc/{pid}/mountinfo").read_text(errors="backslashreplace"))
