"""The three ways to follow a mount table. The kernel wakes each; they differ in what a change costs.

| way | kernel | what it does when woken |
|---|---|---|
| `fanotify` | 6.15, CAP_SYS_ADMIN | is told which mount was attached or detached, and looks at those alone |
| `listmount` | 6.13 | lists the ids of all mounts and looks at the new ones |
| `mountinfo` | any | reads the whole table again and parses the lines that are new |

All give the same mounts in the same words. A mount that came and went between two looks is known to none of them: fanotify
tells its id, but nobody can say any more where it was.

Two facts of the kernel shape the code. poll(2) on mountinfo tells a change once, to whoever polls first (fs/namespace.c,
mounts_poll), so a wake-up says only "look", and the first look comes after the descriptor was armed. And a remount changes no id
and makes no fanotify event, so a wake-up without news of attached or detached mounts means that known ones must be looked at
again, and one with such news may hide another.
"""

import errno
import math
import os
import select
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from csitrace.model.mounts import Mount, parse_mountinfo_line
from csitrace.sources.mountinfo import statmount
from csitrace.sources.mountinfo.interest import Interest
from csitrace.sources.mountinfo.syscalls import (
    FAN_MNT_ATTACH,
    FAN_MNT_DETACH,
    FAN_Q_OVERFLOW,
    MountCalls,
    mount_namespace_id,
    open_mount_events,
)

_AFTER_UNEXPLAINED_WAKE = 0.05
"""Seconds until known mounts are looked at again after a wake-up without news. The kernel wakes pollers of mountinfo before it
queues the fanotify events of the same change, so news mostly follow at once and explain it."""

_LOOKS_PER_COST = 100
"""After news, which may hide a remount, known mounts are looked at again when this many times the duration of such a look has
passed: the more mounts there are, the rarer, so that it takes a hundredth of one CPU at most."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of the mounts of interest since the last look: first what `vanished`, then what `appeared`.

    A mount that moved, or whose id was used again, is in both; one whose options changed in place is only in `appeared`.
    `gap`: why something may be missing, empty if nothing is.
    """

    vanished: tuple[Mount, ...] = ()
    appeared: tuple[Mount, ...] = ()
    gap: str = ""


class _Wake:
    """mountinfo of a process, and one epoll descriptor over it (and more) that an event loop can wait for.

    An event loop could not wait for mountinfo's POLLPRI itself, because mountinfo is always readable. Edge-triggered, so that a
    change that was acknowledged and not yet looked at does not wake again.
    """

    def __init__(self, pid: str, resources: ExitStack) -> None:
        self.mountinfo = resources.enter_context(Path(f"/proc/{pid}/mountinfo").open("rb", buffering=0))  # noqa: SIM115 - entered
        self._epoll = resources.enter_context(select.epoll())
        self._epoll.register(self.mountinfo.fileno(), select.EPOLLPRI | select.EPOLLET)

    @property
    def fd(self) -> int:
        return self._epoll.fileno()

    def also_on_readable(self, descriptor: int) -> None:
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)

    def acknowledge(self) -> None:
        self._epoll.poll(0)


class MountWatcher(ABC):
    """Follows the mount table that one process sees. `name` is the way it goes."""

    name: ClassVar[str]

    def __init__(self, pid: str, interest: Interest) -> None:
        """`pid`: "self" or a number. OSError where the kernel or a permission does not allow this way."""
        self._look_at = math.inf
        with ExitStack() as resources:
            self._wake = _Wake(pid, resources)
            self._open(pid, interest, resources)
            self._resources = resources.pop_all()

    @abstractmethod
    def _open(self, pid: str, interest: Interest, resources: ExitStack) -> None:
        """Open what this way needs besides mountinfo."""

    @property
    def wake_fd(self) -> int:
        """Readable when it is time to `acknowledge` and `read`."""
        return self._wake.fd

    def acknowledge(self) -> None:
        """Make `wake_fd` unreadable until the next change."""
        self._wake.acknowledge()

    @property
    def look_at(self) -> float:
        """When (on the clock given to `read`) to read at the latest; infinity: not before the kernel wakes us."""
        return self._look_at

    @abstractmethod
    def read(self, now: float) -> Changes:
        """What changed since the last call. The first one, in which every mount of interest appears, must come after `wake_fd`
        was handed to whatever polls it; the others when that woke or `look_at` has come. `now`: seconds of a monotonic clock."""

    def close(self) -> None:
        self._resources.close()


class MountinfoWatcher(MountWatcher):
    """Reads all of mountinfo at every wake-up, and parses the lines that were not there before."""

    name = "mountinfo"

    def _open(self, pid: str, interest: Interest, resources: ExitStack) -> None:
        self._marks = interest.line_marks()
        self._interest = interest
        self._mounts: dict[bytes, Mount] = {}

    def read(self, now: float) -> Changes:
        self._wake.mountinfo.seek(0)
        marks = self._marks
        lines = {
            line
            for line in self._wake.mountinfo.readall().split(b"\n")
            if any(mark in line for mark in marks)
        }
        gone = [self._mounts.pop(line) for line in self._mounts.keys() - lines]
        new = dict(self._accepted(line for line in lines if line not in self._mounts))
        self._mounts.update(new)
        return _difference(
            {mount.mount_id: mount for mount in gone}, {mount.mount_id: mount for mount in new.values()}
        )

    def _accepted(self, lines: Iterable[bytes]) -> Iterator[tuple[bytes, Mount]]:
        for line in lines:
            mount = parse_mountinfo_line(line.decode("utf-8", "backslashreplace"))
            if mount is not None and self._interest.mount(mount):
                yield line, mount


class _KnownMounts:
    """The mounts of interest of a namespace by their unique ids, as statmount told them last."""

    def __init__(self, calls: MountCalls, interest: Interest) -> None:
        self._calls = calls
        self._interest = interest
        self._replies: dict[int, bytes] = {}
        self._mounts: dict[int, Mount] = {}
        self.rest = _AFTER_UNEXPLAINED_WAKE

    def ids(self) -> Iterable[int]:
        return tuple(self._mounts)

    def look(self, looked_at: Iterable[int], gone: Iterable[int] = ()) -> Changes:
        """What is new about the mounts `looked_at`; those `gone` are forgotten."""
        old: dict[int, Mount] = {}
        new: dict[int, Mount] = {}
        for unique_id in gone:
            self._forget(unique_id, old)
        for unique_id in looked_at:
            try:
                reply = self._calls.stat(unique_id, statmount.ALL_OF_MOUNTINFO)
            except FileNotFoundError:
                self._forget(unique_id, old)
                continue
            if self._replies.get(unique_id) == reply:
                continue
            self._forget(unique_id, old)
            if self._interest.path(statmount.mount_point_of(reply)):
                mount = statmount.decode(reply)
                if self._interest.mount(mount):
                    self._replies[unique_id] = reply
                    self._mounts[unique_id] = new[unique_id] = mount
        return _difference(old, new)

    def look_again(self, looked_at: Iterable[int], gone: Iterable[int]) -> Changes:
        """As `look`, at all there is; `rest` is then how many seconds to leave it at that."""
        began = time.perf_counter()
        changes = self.look(looked_at, gone)
        self.rest = max(_AFTER_UNEXPLAINED_WAKE, _LOOKS_PER_COST * (time.perf_counter() - began))
        return changes

    def _forget(self, unique_id: int, forgotten: dict[int, Mount]) -> None:
        mount = self._mounts.pop(unique_id, None)
        if mount is not None:
            del self._replies[unique_id]
            forgotten[unique_id] = mount


class ListmountWatcher(MountWatcher):
    """Compares the ids of all mounts with those before: ids are never used again, so only new ones need a look."""

    name = "listmount"

    def _open(self, pid: str, interest: Interest, resources: ExitStack) -> None:
        self._calls = _calls_on(pid)
        self._known = _KnownMounts(self._calls, interest)
        self._ids: set[int] = set()

    def read(self, now: float) -> Changes:
        ids = set(self._calls.list_ids())
        new, gone = ids - self._ids, self._ids - ids
        self._ids = ids
        unexplained = not new and not gone
        if unexplained or self._look_at <= now:
            # All of them, not only the mounts of interest: one may have been moved here from elsewhere.
            self._look_at = math.inf
            return self._known.look_again(sorted(ids), gone)
        self._look_at = min(self._look_at, now + self._known.rest)
        return self._known.look(sorted(new), gone)


class FanotifyWatcher(MountWatcher):
    """Is told each mount that was attached or detached, by its unique id."""

    name = "fanotify"

    def _open(self, pid: str, interest: Interest, resources: ExitStack) -> None:
        self._calls = _calls_on(pid)
        self._known = _KnownMounts(self._calls, interest)
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._events = open_mount_events(namespace)
        finally:
            os.close(namespace)
        resources.callback(os.close, self._events)
        self._wake.also_on_readable(self._events)
        self._listed = False
        self._explained_by = math.inf

    @property
    def look_at(self) -> float:
        return min(self._look_at, self._explained_by)

    def read(self, now: float) -> Changes:
        attached, detached, overflowed = _last_word(_mount_events(self._events))
        if overflowed or not self._listed:
            return self._resync(
                "the kernel dropped mount events; the table was read again" if overflowed else ""
            )
        if self.look_at <= now:
            self._look_at = self._explained_by = math.inf
            return self._known.look_again([*self._known.ids(), *attached], detached)
        if attached or detached:
            self._explained_by = math.inf
            self._look_at = min(self._look_at, now + self._known.rest)
        else:
            self._explained_by = min(self._explained_by, now + _AFTER_UNEXPLAINED_WAKE)
        return self._known.look(attached, detached)

    def _resync(self, gap: str) -> Changes:
        self._listed = True
        self._look_at = self._explained_by = math.inf
        listed = self._calls.list_ids()
        changes = self._known.look_again(listed, set(self._known.ids()).difference(listed))
        return Changes(changes.vanished, changes.appeared, gap)


WAYS: Mapping[str, type[MountWatcher]] = {
    way.name: way for way in (FanotifyWatcher, ListmountWatcher, MountinfoWatcher)
}
"""From the cheapest to the one that always works."""


def open_watcher(pid: str, interest: Interest, ways: Sequence[str] = tuple(WAYS)) -> tuple[MountWatcher, str]:
    """A watcher of the mount table that process `pid` sees ("self" or a number), by the first of `ways` that works here, and in
    words why the ways before it did not. Raises the OSError of the last one if none does."""
    refusals: list[str] = []
    for name in ways[:-1]:
        try:
            return WAYS[name](pid, interest), "; ".join(refusals)
        except OSError as error:
            refusals.append(f"{name}: {error.strerror}")
    return WAYS[ways[-1]](pid, interest), "; ".join(refusals)


_EVENT = struct.Struct("=IBBHQii")  # event_len, vers, reserved, metadata_len, mask, fd, pid
_EVENT_INFO = struct.Struct("=BBHIQ")  # info_type, pad, len, (alignment), mnt_id
_EVENT_INFO_MOUNT = 7
_READ_EVENTS = 64 * 1024


def _mount_events(descriptor: int) -> Iterator[tuple[int, int]]:
    """(mask, unique mount id) of all events that wait; the id is 0 for an overflow."""
    while True:
        try:
            chunk = os.read(descriptor, _READ_EVENTS)
        except BlockingIOError:
            return
        at = 0
        while at < len(chunk):
            length, _version, _reserved, metadata_length, mask, _fd, _pid = _EVENT.unpack_from(chunk, at)
            mount_id = 0
            if length >= metadata_length + _EVENT_INFO.size:
                info_type, _pad, _length, _alignment, told = _EVENT_INFO.unpack_from(
                    chunk, at + metadata_length
                )
                mount_id = told if info_type == _EVENT_INFO_MOUNT else 0
            yield mask, mount_id
            at += length


def _last_word(events: Iterable[tuple[int, int]]) -> tuple[list[int], list[int], bool]:
    """Which mounts were attached and which detached in the end, each in the order of the events, and whether events were dropped.
    A move is told as both in one event, and leaves the mount attached."""
    attached: dict[int, None] = {}
    detached: dict[int, None] = {}
    overflowed = False
    for mask, mount_id in events:
        overflowed |= bool(mask & FAN_Q_OVERFLOW)
        now, before = (attached, detached) if mask & FAN_MNT_ATTACH else (detached, attached)
        if mask & (FAN_MNT_ATTACH | FAN_MNT_DETACH):
            before.pop(mount_id, None)
            now[mount_id] = None
    return list(attached), list(detached), overflowed


def _calls_on(pid: str) -> MountCalls:
    """listmount and statmount on the namespace of a process; OSError where they do not tell all that mountinfo does."""
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        calls = MountCalls(mount_namespace_id(namespace))
    finally:
        os.close(namespace)
    if not any(
        statmount.tells_enough(calls.stat(unique_id, statmount.ALL_OF_MOUNTINFO))
        for unique_id in calls.list_ids()[:8]
    ):
        raise OSError(errno.ENOSYS, "this kernel's statmount tells no sources (Linux 6.13 does)")
    return calls


def _difference(old: Mapping[int, Mount], new: Mapping[int, Mount]) -> Changes:
    """From the mounts that are no longer as they were to those that are new, both by an id."""
    changed_in_place = {key for key in old.keys() & new.keys() if _place(old[key]) == _place(new[key])}
    return Changes(
        vanished=tuple(old[key] for key in sorted(old.keys() - changed_in_place, reverse=True)),
        appeared=tuple(new[key] for key in sorted(new)),
    )


def _place(mount: Mount) -> tuple[object, ...]:
    """What makes it the same mount for people; the rest are its options."""
    return (mount.device, mount.root, mount.mount_point, mount.fs_type, mount.source)
