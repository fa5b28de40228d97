"""What a publisher remembers for subscribers that come late: the state so far, told as the events that made it.

Bounded whatever happens: the least recently touched entries go first.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, TypeVar

from csitrace.feed import totals
from csitrace.feed.conversion import FeedEvent
from csitrace.model.events import (
    FuseCounted,
    FuseObserved,
    ListCompleted,
    MountAppeared,
    MountVanished,
    RpcFinished,
    RpcStarted,
    SourceDown,
    SourceUp,
    Witness,
)

CALLS_PER_OPERATION = 4
MAX_OPERATIONS = 8192
MAX_PER_KIND = 8192

_Key = TypeVar("_Key")
_Kept = TypeVar("_Kept")

Call = tuple[FeedEvent, FeedEvent]
"""The start and the end of a finished call."""

NodeKey = tuple[str, int]
"""Node, and the number of a FUSE connection or the id of a mount on it."""


class Operation(NamedTuple):
    """What repeated calls are attempts of: the same method for the same volume, node and target."""

    method: str
    volume: str
    node_id: str
    target_path: str


def operation_of(started: RpcStarted) -> Operation:
    """The operation a call is an attempt of. CreateVolume knows its volume by name only."""
    volume = started.volume_id or started.volume_name
    return Operation(started.method, volume, started.node_id, started.target_path)


class Memory:
    """Calls in flight, the last calls of each operation, mounts, daemons, totals of FUSE operations, and how sources are heard.

    Mounts that went are remembered for readers who knew them from an earlier run of the driver; a call that a driver never
    answered before it was restarted, the last of each operation, for those who hear of both from an agent.
    """

    def __init__(self) -> None:
        self._in_flight: dict[tuple[str, int], FeedEvent] = {}
        self._calls: OrderedDict[Operation, deque[Call]] = OrderedDict()
        self._mounts: dict[NodeKey, FeedEvent] = {}
        self._unmounted: OrderedDict[NodeKey, FeedEvent] = OrderedDict()
        self._observed: OrderedDict[NodeKey, FeedEvent] = OrderedDict()
        self._counted: OrderedDict[NodeKey, FeedEvent] = OrderedDict()
        self._abandoned: OrderedDict[Operation, FeedEvent] = OrderedDict()
        self._sources: OrderedDict[tuple[Witness, str], tuple[FeedEvent, ...]] = OrderedDict()

    def totals(self, connection: NodeKey) -> FuseCounted | None:
        """What was counted on a connection so far; None where nothing was."""
        event = self._counted.get(connection)
        return event.body if event is not None and isinstance(event.body, FuseCounted) else None

    def apply(self, event: FeedEvent) -> None:
        """Remember one event; they come in order of sequence."""
        match event.body:
            case RpcStarted() as started:
                self._in_flight[started.instance, started.call_id] = event
            case RpcFinished() as finished:
                self._finish(finished, event)
            case MountAppeared() as appeared:
                key = appeared.node_name, appeared.mount.mount_id
                self._mounts[key] = event
                self._unmounted.pop(key, None)
            case MountVanished() as vanished:
                key = vanished.node_name, vanished.mount.mount_id
                self._mounts.pop(key, None)
                _put(self._unmounted, key, event)
            case FuseObserved() as observed:
                _put(self._observed, (observed.node_name, observed.connection), event)
            case FuseCounted() as counted:
                _put(self._counted, (counted.node_name, counted.connection), self._total(counted, event))
            case SourceUp() as up:
                self._sources.pop((up.witness, up.formerly), None)
                _put(self._sources, (up.witness, up.scope), (event,))
                if up.instance:
                    self._abandon(up)
            case SourceDown() as down:
                _put(self._sources, (down.witness, down.scope), (event,))
            case ListCompleted() as completed:
                told = self._sources.get((completed.witness, completed.scope))
                if told is not None and isinstance(told[0].body, SourceUp):
                    _put(self._sources, (completed.witness, completed.scope), (told[0], event))

    def snapshot(self) -> list[FeedEvent]:
        """The state as events, in order of their original sequence."""
        return sorted(self._remembered(), key=lambda event: event.sequence)

    def _remembered(self) -> Iterator[FeedEvent]:
        yield from self._in_flight.values()
        for calls in self._calls.values():
            for call in calls:
                yield from call
        yield from self._mounts.values()
        yield from self._unmounted.values()
        yield from self._observed.values()
        yield from self._counted.values()
        yield from self._abandoned.values()
        for told in self._sources.values():
            yield from told

    def _abandon(self, up: SourceUp) -> None:
        """Another run of a driver speaks: what the former had in flight will never be answered."""
        for key, event in list(self._in_flight.items()):
            started = event.body
            if not isinstance(started, RpcStarted) or started.instance == up.instance:
                continue
            if f"{started.driver}@{started.node_name}" == up.scope:
                del self._in_flight[key]
                _put(self._abandoned, operation_of(started), event)

    def _finish(self, finished: RpcFinished, event: FeedEvent) -> None:
        start = self._in_flight.pop((finished.instance, finished.call_id), None)
        if start is None or not isinstance(start.body, RpcStarted):
            return
        operation = operation_of(start.body)
        calls = self._calls.setdefault(operation, deque(maxlen=CALLS_PER_OPERATION))
        calls.append((start, event))
        self._calls.move_to_end(operation)
        if len(self._calls) > MAX_OPERATIONS:
            self._calls.popitem(last=False)

    def _total(self, counted: FuseCounted, event: FeedEvent) -> FeedEvent:
        """The event that tells all that was counted on this connection."""
        before = self.totals((counted.node_name, counted.connection))
        if not event.total and before is not None:
            counted = totals.joined(before, counted)
        return replace(event, body=counted, total=True)


def _put(kept: OrderedDict[_Key, _Kept], key: _Key, event: _Kept) -> None:
    kept[key] = event
    kept.move_to_end(key)
    if len(kept) > MAX_PER_KIND:
        kept.popitem(last=False)
