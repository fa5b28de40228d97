"""What is worth telling of a FUSE connection, and when its daemon is searched for."""

import asyncio
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest

from csitrace.model.events import FuseObserved
from csitrace.model.fuse import DaemonStatus
from csitrace.model.mounts import Mount
from csitrace.sources.fuse import FuseWatch, WaitingRequests, _essence, _figures_moved, connection_of
from csitrace.sources.processes import DaemonSearch


class Scripted(WaitingRequests):
    """Says what the test wrote into `values`."""

    def __init__(self) -> None:
        self.values: dict[int, int | None] = {}
        self.unknown_because = ""

    def open(self) -> None:
        pass

    def read(self, connection: int) -> int | None:
        return self.values.get(connection)

    def close(self) -> None:
        self.values.clear()


class Searched:
    """A search for daemons that finds what `answers` says, one answer after the other and the last one again and again."""

    def __init__(self, *answers: DaemonSearch) -> None:
        self.asked: list[dict[int, tuple[str, ...]]] = []
        self._answers = list(answers)

    def __call__(self, wanted: Mapping[int, Iterable[str]]) -> DaemonSearch:
        self.asked.append({connection: tuple(paths) for connection, paths in wanted.items()})
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


NOBODY = DaemonSearch({}, all_seen=True)


class Watched:
    """A watch that samples whenever it is asked."""

    def __init__(self, find: Callable[[Mapping[int, Iterable[str]]], DaemonSearch]) -> None:
        self.waiting = Scripted()
        self.woken = asyncio.Event()
        self.watch = FuseWatch("node-1", self.woken.set, interval=0.0, waiting=self.waiting, find=find)

    def observe(self) -> list[FuseObserved]:
        return list(self.watch.observe())

    async def settled(self) -> list[FuseObserved]:
        """What is told once the watch has woken us."""
        async with asyncio.timeout(10):
            await self.woken.wait()
        self.woken.clear()
        return self.observe()


def _fuse_mount(
    mount_id: int = 1, minor: int = 40, mount_point: str = "/k/m", fs_type: str = "fuse.x"
) -> Mount:
    return Mount(
        mount_id=mount_id,
        parent_id=0,
        major=0,
        minor=minor,
        root="/",
        mount_point=mount_point,
        fs_type=fs_type,
    )


@pytest.fixture
def programs() -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    """Starts processes that do nothing until they are killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def test_only_changes_of_waiting_requests_are_told() -> None:
    """The first sample, and each that differs from the one before."""
    watched = Watched(Searched(DaemonSearch({}, unnamed=True)))
    watched.watch.appeared(_fuse_mount())
    told = []
    for waiting in (0, 0, 3, 3, None, 0):
        watched.waiting.values[40] = waiting
        told += [observed.waiting for observed in watched.observe()]
    watched.watch.close()
    assert told == [0, 3, None, 0]


async def test_a_connection_is_one_whatever_the_number_of_its_mounts() -> None:
    """Staging and publish mounts share it, and it is followed until the last of them is gone; other file systems are not."""
    watched = Watched(Searched(NOBODY))
    watched.watch.appeared(_fuse_mount(1, mount_point="/k/staging"))
    watched.watch.appeared(_fuse_mount(2, mount_point="/k/target"))
    watched.watch.appeared(_fuse_mount(3, minor=50, fs_type="tmpfs"))
    assert [observed.connection for observed in watched.observe()] == [40]
    watched.watch.vanished(_fuse_mount(1))
    watched.watch.vanished(_fuse_mount(3, minor=50, fs_type="tmpfs"))
    assert watched.watch.observe_at < float("inf")
    watched.watch.vanished(_fuse_mount(2))
    assert watched.watch.observe_at == float("inf")
    assert watched.observe() == []
    watched.watch.close()


async def test_one_search_serves_all_connections_and_is_not_repeated_at_once() -> None:
    """Reading all of /proc is dear: new connections share a search, and one without a daemon waits for its turn."""
    searched = Searched(DaemonSearch({}, unnamed=True))
    watched = Watched(searched)
    watched.watch.appeared(_fuse_mount(1, 40, "/k/a"))
    watched.watch.appeared(_fuse_mount(2, 41, "/k/b"))
    watched.observe()
    watched.observe()
    await watched.settled()
    watched.observe()
    watched.watch.close()
    assert searched.asked == [{40: ("/k/a",), 41: ("/k/b",)}]


async def test_a_death_is_told_at_once_and_a_successor_taken_on(
    programs: Callable[[], "subprocess.Popen[bytes]"],
) -> None:
    """A daemon that handed its connection to another process before it ended leaves a connection that lives."""
    first, second = programs(), programs()
    watched = Watched(Searched(DaemonSearch({40: first.pid}), DaemonSearch({40: second.pid})))
    watched.watch.appeared(_fuse_mount())
    watched.observe()
    (found,) = await watched.settled()
    assert found.daemon is not None
    assert found.daemon.pid == first.pid
    first.kill()
    (ended,) = await watched.settled()
    assert ended.daemon is not None
    assert (ended.daemon.pid, ended.daemon.exited, ended.aborted) == (first.pid, "killed by SIGKILL", False)
    (taken_on,) = await watched.settled()
    assert taken_on.daemon is not None
    assert (taken_on.daemon.pid, taken_on.daemon.exited, taken_on.aborted) == (second.pid, "", False)
    watched.watch.close()


@pytest.mark.parametrize(
    ("search", "daemon_seen", "aborted"),
    [
        (DaemonSearch({}, all_seen=True), True, True),
        (DaemonSearch({}, all_seen=True), False, True),
        (DaemonSearch({}, all_seen=False), True, True),
        (DaemonSearch({}, all_seen=False), False, False),
        (DaemonSearch({}, unnamed=True, all_seen=True), True, False),
        (DaemonSearch({}, unnamed=True, all_seen=True), False, False),
    ],
)
async def test_a_connection_is_called_aborted_only_if_nobody_can_hold_it(
    programs: Callable[[], "subprocess.Popen[bytes]"], search: DaemonSearch, daemon_seen: bool, aborted: bool
) -> None:
    """Not if a holder may have been overlooked, unless the daemon was seen ending and no process holds an unnamed /dev/fuse."""
    program = programs()
    watched = Watched(Searched(DaemonSearch({40: program.pid}), search) if daemon_seen else Searched(search))
    watched.watch.appeared(_fuse_mount())
    told = watched.observe()
    if daemon_seen:
        told += await watched.settled()
        program.kill()
        told += await watched.settled()
    told += await watched.settled()
    watched.watch.close()
    assert told[-1].aborted is aborted


async def test_a_failed_search_is_no_finding() -> None:
    """/proc that cannot be read says nothing about anybody."""

    def fail(wanted: Mapping[int, Iterable[str]]) -> DaemonSearch:
        raise PermissionError(13, "Permission denied")

    watched = Watched(fail)
    watched.watch.appeared(_fuse_mount())
    (first,) = watched.observe()
    assert await watched.settled() == []
    watched.watch.close()
    assert (first.daemon, first.aborted) == (None, False)


def _seen(state: str) -> FuseObserved:
    return FuseObserved(node_name="n", connection=1, waiting=0, daemon=DaemonStatus(pid=7, state=state))


def test_running_and_sleeping_are_no_news_and_being_stopped_is() -> None:
    """Nor is a moment on the disk, but staying there is."""
    usual = _essence(_seen("S"), False)
    assert _essence(_seen("R"), False) == _essence(_seen("D"), False) == usual
    assert _essence(_seen("T"), False) != usual
    assert _essence(_seen("D"), True) != usual


def test_figures_are_worth_telling_only_when_they_moved() -> None:
    """10 ms of CPU time, or a mebibyte of memory either way."""
    before = DaemonStatus(cpu_ns=0, rss_bytes=8 << 20)
    assert not _figures_moved(before, DaemonStatus(cpu_ns=9_999_999, rss_bytes=(8 << 20) + 4096))
    assert _figures_moved(before, DaemonStatus(cpu_ns=10_000_000, rss_bytes=8 << 20))
    assert _figures_moved(before, DaemonStatus(cpu_ns=0, rss_bytes=7 << 20))
    assert not _figures_moved(None, before)


def test_a_block_device_with_fuse_has_its_whole_number_as_name() -> None:
    """fusectl's name is the kernel's device number; an anonymous device's is its minor."""
    assert connection_of(_fuse_mount(minor=40)) == 40
    block = Mount(mount_id=1, parent_id=0, major=8, minor=1, root="/", mount_point="/k", fs_type="fuseblk")
    assert connection_of(block) == (8 << 20) + 1
