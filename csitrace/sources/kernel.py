"""The kernel's word on a node: which volumes are mounted, and how their FUSE daemons fare.

Scope: the node's name. The mounts come first, then `ListCompleted`, then each change as the kernel tells it. Nothing here looks
at a mounted path, since whoever looks at a hung or dead FUSE mount hangs with it.
"""

import asyncio
import contextlib
import errno
import math
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field

from csitrace.model.events import (
    Body,
    ListCompleted,
    MountAppeared,
    MountVanished,
    Observation,
    SourceDown,
    SourceGap,
    SourceUp,
    Witness,
)
from csitrace.model.mounts import Mount
from csitrace.sources.backoff import Backoff
from csitrace.sources.fuse import FuseWatch, WaitingRequests
from csitrace.sources.mountinfo.interest import Interest
from csitrace.sources.mountinfo.watchers import WAYS, Changes, open_watcher
from csitrace.sources.processes import privileged_over_processes

_REST_PER_WORK = 4
"""After reading the mount table, rest this many times as long: a storm of mounts takes a fifth of one CPU at most."""

_DENIED_AGAIN_AFTER = 60.0
"""Seconds until asking again for what was not permitted."""


@dataclass(kw_only=True)
class KernelSource:
    """The mounts below a kubelet's root and the FUSE connections behind them, as process `pid` sees them.

    `pid`: "self", or the number of a process in the mount namespace to watch (1 for the host's). `ways`: the ways to follow the
    mount table to try, in this order. `fuse_interval`: seconds between samples of waiting requests.
    """

    node_name: str
    kubelet_root: str = "/var/lib/kubelet"
    pid: str = "self"
    ways: Sequence[str] = tuple(WAYS)
    fuse_interval: float = 0.5
    _known: dict[int, Mount] = field(default_factory=dict, init=False)

    @property
    def witness(self) -> Witness:
        return Witness.KERNEL

    @property
    def name(self) -> str:
        return self.node_name

    async def observe(self) -> AsyncGenerator[Observation, None]:
        """Until closed. What the kernel refuses is told once as `SourceDown`, and tried again."""
        backoff = Backoff()
        told: SourceDown | None = None
        while True:
            try:
                with contextlib.closing(_Listening(self, self._known)) as listening:
                    for body in listening.begin():
                        yield Observation(body=body)
                    backoff.reset()
                    told = None
                    while True:
                        await listening.until_due()
                        for body in listening.look():
                            yield Observation(body=body)
            except OSError as error:
                denied = isinstance(error, PermissionError)
                reason = f"cannot follow the mounts that process {self.pid} sees: {error.strerror or error}"
                down = SourceDown(witness=Witness.KERNEL, scope=self.node_name, reason=reason, denied=denied)
                if down != told:
                    told = down
                    yield Observation(body=down)
                await asyncio.sleep(_DENIED_AGAIN_AFTER if denied else backoff.next())


class _Listening:
    """One stretch of following the mount table. `known`, by mount id, outlives it: the next one tells what vanished between."""

    def __init__(self, source: KernelSource, known: dict[int, Mount]) -> None:
        self._node_name = source.node_name
        self._known = known
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._process_ended = self._mounts_changed = self._fuse_changed = False
        self._rest_until = 0.0
        with contextlib.ExitStack() as resources:
            self._watcher, self._refusals = open_watcher(
                source.pid, Interest.below(source.kubelet_root, source.pid), source.ways
            )
            resources.callback(self._watcher.close)
            self._fuse = FuseWatch(
                source.node_name,
                self._on_fuse_change,
                interval=source.fuse_interval,
                waiting=WaitingRequests(source.pid),
            )
            resources.callback(self._fuse.close)
            if source.pid != "self":
                pidfd = os.pidfd_open(int(source.pid))
                resources.callback(os.close, pidfd)
                self._loop.add_reader(pidfd, self._on_process_end, pidfd)
                resources.callback(self._loop.remove_reader, pidfd)
            self._loop.add_reader(self._watcher.wake_fd, self._on_mount_change)
            resources.callback(self._loop.remove_reader, self._watcher.wake_fd)
            self._resources = resources.pop_all()

    def close(self) -> None:
        self._resources.close()

    def begin(self) -> Iterator[Body]:
        """That we listen, all that is mounted now, and that this is all."""
        changes = self._read()
        yield SourceUp(witness=Witness.KERNEL, scope=self._node_name, detail=self._detail())
        present = set(changes.appeared)
        missed = tuple(mount for mount in self._known.values() if mount not in present)
        yield from self._tell(Changes(missed, changes.appeared))
        yield ListCompleted(witness=Witness.KERNEL, scope=self._node_name, count=len(changes.appeared))
        yield from self._fuse.observe()

    async def until_due(self) -> None:
        """Until there is, or may be, something new to look at."""
        while (delay := self._due_at() - self._loop.time()) > 0:
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay if delay < math.inf else None):
                    await self._woken.wait()

    def look(self) -> Iterator[Body]:
        if self._process_ended:
            raise ProcessLookupError(errno.ESRCH, "it has ended")
        if self._mounts_due_at() <= self._loop.time():
            yield from self._tell(self._read())
        self._fuse_changed = False
        yield from self._fuse.observe()

    def _due_at(self) -> float:
        if self._process_ended or self._fuse_changed:
            return 0.0
        return min(self._mounts_due_at(), self._fuse.observe_at)

    def _mounts_due_at(self) -> float:
        return max(0.0 if self._mounts_changed else self._watcher.look_at, self._rest_until)

    def _read(self) -> Changes:
        began = self._loop.time()
        self._mounts_changed = False
        changes = self._watcher.read(began)
        ended = self._loop.time()
        self._rest_until = ended + _REST_PER_WORK * (ended - began)
        return changes

    def _tell(self, changes: Changes) -> Iterator[Body]:
        if changes.gap:
            yield SourceGap(witness=Witness.KERNEL, scope=self._node_name, reason=changes.gap)
        for mount in changes.vanished:
            self._known.pop(mount.mount_id, None)
            self._fuse.vanished(mount)
            yield MountVanished(node_name=self._node_name, mount=mount)
        for mount in changes.appeared:
            self._known[mount.mount_id] = mount
            self._fuse.appeared(mount)
            yield MountAppeared(node_name=self._node_name, mount=mount)

    def _detail(self) -> str:
        mounts = f"mounts by {self._watcher.name}" + (f" ({self._refusals})" if self._refusals else "")
        because = self._fuse.unknown_because
        waiting = f"unknown: {because}" if because else "by fusectl"
        daemons = (
            ""
            if privileged_over_processes()
            else "; FUSE daemons of others unknown: no CAP_SYS_PTRACE over this machine's processes"
        )
        return f"{mounts}; waiting FUSE requests {waiting}{daemons}"

    def _on_mount_change(self) -> None:
        self._watcher.acknowledge()
        self._mounts_changed = True
        self._woken.set()

    def _on_fuse_change(self) -> None:
        self._fuse_changed = True
        self._woken.set()

    def _on_process_end(self, pidfd: int) -> None:
        self._loop.remove_reader(pidfd)  # it stays readable
        self._process_ended = True
        self._woken.set()
