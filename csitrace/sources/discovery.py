"""The feeds of a node's drivers, found by their sockets below the kubelet's root as drivers come and go.

| where | whose |
|---|---|
| `plugins/<driver>/csitrace-feed.sock` | a node plugin's, beside its CSI socket |
| `pods/<uid>/volumes/kubernetes.io~empty-dir/<name>/csitrace-feed.sock` | a controller's, in the emptyDir of its pod |

Of a pod's volumes only emptyDirs are looked into, and those not where a FUSE file system is mounted on them: no path that a
volume's daemon answers for is looked at. All looking is done in a thread that nobody waits for.
"""

import asyncio
import os
import stat
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from pathlib import Path

from csitrace.model.events import Observation, Witness
from csitrace.model.mounts import parse_mountinfo
from csitrace.sources.feed import FeedSource
from csitrace.sources.processes import in_unawaited_thread
from csitrace.sources.rooted import resolved, root_of
from csitrace.sources.sockets import checked

SOCKET_NAME = "csitrace-feed.sock"
RESCAN_S = 1.0

_EMPTY_DIRS = "volumes/kubernetes.io~empty-dir"
_QUEUE_SIZE = 1024
_GONE_KEPT = 64
"""Feeds whose socket is gone of which the place is kept, for when they return: pods come and go for ever."""


def discover(kubelet_root: str | os.PathLike[str], pid: str = "self", *, in_pods: bool = True) -> list[str]:
    """Addresses of the feeds there are now below a kubelet's root as process `pid` sees it, sorted. Not `in_pods`: only those in
    the plugins' directories, where nobody but a node's administrator can put one."""
    root = root_of(pid)
    below = root + resolved(os.fspath(kubelet_root), root)
    plugins = (f"{below}/plugins/{name}" for name in _names(f"{below}/plugins"))
    directories = (*plugins, *(_empty_dirs(below, pid) if in_pods else ()))
    sockets = [f"{directory}/{SOCKET_NAME}" for directory in directories]
    return [f"unix://{socket}" for socket in sockets if _is_socket(socket)]


def _empty_dirs(below: str, pid: str) -> Iterator[str]:
    served = _served_empty_dirs(pid)
    for uid in _names(f"{below}/pods"):
        parent = f"{below}/pods/{uid}/{_EMPTY_DIRS}"
        for name in _names(parent):
            if f"{parent}/{name}".removeprefix(root_of(pid)) not in served:
                yield f"{parent}/{name}"


def _served_empty_dirs(pid: str) -> frozenset[str]:
    """Mount points of FUSE at emptyDirs."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_bytes().split(b"\n")
    except OSError:
        return frozenset()
    mark = f"/{_EMPTY_DIRS}/".encode()
    text = b"\n".join(line for line in lines if mark in line).decode(errors="backslashreplace")
    return frozenset(mount.mount_point for mount in parse_mountinfo(text) if mount.is_fuse)


def _names(directory: str) -> list[str]:
    """What is in a directory, sorted; nothing where it cannot be read."""
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _is_socket(path: str) -> bool:
    """A socket itself: a link might lead to anybody's."""
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


class DiscoveredFeeds:
    """Every feed that appears below a kubelet's root, for as long as its socket is there.

    `pid`: whose view of the path counts; `in_pods`: whether pods are believed, too (see `discover`); `besides`: addresses that
    another source listens to already, as hearing them twice would count everything twice; `node_name`: where this is, for those
    who hear of several nodes: it is then part of each feed's name, and the node of drivers that name none; `rescan_s`: how often
    to look.
    """

    witness = Witness.DRIVER

    def __init__(
        self,
        kubelet_root: str | os.PathLike[str],
        *,
        pid: str = "self",
        in_pods: bool = True,
        besides: Iterable[str] = (),
        node_name: str = "",
        rescan_s: float = RESCAN_S,
    ) -> None:
        self.name = f"{os.fspath(kubelet_root)}/plugins/*/{SOCKET_NAME}"
        self.scanned = asyncio.Event()
        self._kubelet_root = kubelet_root
        self._pid = pid
        self._in_pods = in_pods
        self._besides = frozenset(checked(address) for address in besides)
        self._node_name = node_name
        self._rescan_s = rescan_s
        self._sources: OrderedDict[str, FeedSource] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def found(self) -> int:
        """How many feeds are there now."""
        return len(self._tasks)

    async def observe(self) -> AsyncGenerator[Observation, None]:
        queue: asyncio.Queue[Observation] = asyncio.Queue(_QUEUE_SIZE)
        scanner = asyncio.create_task(self._follow(queue))
        try:
            while True:
                yield await _next_or_failure(queue, scanner)
        finally:
            ending = [scanner, *self._tasks.values()]
            self._tasks.clear()
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def _follow(self, queue: asyncio.Queue[Observation]) -> None:
        """Start listening to sockets that came, stop where they went; each keeps its place in the feed for when it returns."""
        while True:
            for task in self._tasks.values():
                if task.done():
                    task.result()  # a source ends by an error only
            present = set(await in_unawaited_thread(self._discover))
            for address in sorted(present - self._tasks.keys()):
                self._start(address, queue)
            for address in sorted(self._tasks.keys() - present):
                task = self._tasks.pop(address)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                for observation in self._sources[address].silenced(
                    f"the driver's socket {self._path(address)} is gone"
                ):
                    await queue.put(observation)
            self.scanned.set()
            await asyncio.sleep(self._rescan_s)

    def _discover(self) -> list[str]:
        return discover(self._kubelet_root, self._pid, in_pods=self._in_pods)

    def _path(self, address: str) -> str:
        """For people: as the node knows it."""
        return address.removeprefix("unix://").removeprefix(root_of(self._pid))

    def _start(self, address: str, queue: asyncio.Queue[Observation]) -> None:
        if checked(address) in self._besides:
            return
        if address not in self._sources:
            self._sources[address] = self._source(address)
        self._sources.move_to_end(address)
        while len(self._sources) > len(self._tasks) + _GONE_KEPT:
            gone = next(known for known in self._sources if known not in self._tasks)
            del self._sources[gone]
        self._tasks[address] = asyncio.create_task(_pour(self._sources[address], queue))

    def _source(self, address: str) -> FeedSource:
        if not self._node_name:
            return FeedSource(address)
        called = f"unix://{self._path(address)} on {self._node_name}"
        return FeedSource(address, name=called, missed_as=(Witness.DRIVER, called), node_name=self._node_name)


async def _pour(source: FeedSource, queue: asyncio.Queue[Observation]) -> None:
    async with aclosing(source.observe()) as observations:
        async for observation in observations:
            await queue.put(observation)


async def _next_or_failure(queue: asyncio.Queue[Observation], scanner: asyncio.Task[None]) -> Observation:
    """The next observation, or the scanner's error, should it ever have one."""
    waiting = asyncio.ensure_future(queue.get())
    try:
        await asyncio.wait({waiting, scanner}, return_when=asyncio.FIRST_COMPLETED)
        if scanner.done():
            scanner.result()
        return await waiting
    finally:
        waiting.cancel()
