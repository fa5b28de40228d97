"""A listener's end of the feed: batches in, observations out, whole again after loss, resumption and restarts of the publisher.

After a snapshot the reader tells only what is new to it, and makes good what it missed: mounts that are gone vanish, calls
whose answer was lost end, FUSE counts go on from where they were.

A driver's reader says itself how the driver is heard. An agent tells that of each of its sources, and what it tells outlives it:
a new run of an agent tells the same calls again.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from csitrace import __version__
from csitrace.feed import feed_pb2 as pb
from csitrace.feed import totals
from csitrace.feed.conversion import Agent, FeedBody, FeedEvent, Origin, decode, decode_origin
from csitrace.feed.memory import NodeKey
from csitrace.feed.relayed import RelayedSources
from csitrace.model.events import (
    FuseCounted,
    ListCompleted,
    MountAppeared,
    MountVanished,
    Observation,
    RpcFinished,
    RpcStarted,
    SourceDown,
    SourceGap,
    SourceUp,
    Stamp,
    Witness,
)
from csitrace.model.rpc import Code

_FINISHED_KEPT = 32_768
"""Calls whose end is remembered, so that it is not told again: as many as a publisher can have in a snapshot."""


class FeedReader:
    """Reads one publisher's subscriptions, one after the other. Pure; `read` never raises on what a batch contains.

    `name`: how people know the feed; `node_name`: the node of a driver that names none, where we know on which one it runs;
    `heartbeat_ms`: how often to ask for a sign of life, zero for the protocol's second.
    """

    def __init__(self, name: str = "", node_name: str = "", heartbeat_ms: int = 0) -> None:
        self.name = name
        self.origin: Origin | None = None
        self.skipped = 0
        self._node_name = node_name
        self._heartbeat_ms = heartbeat_ms
        self._through = 0
        self._snapshot: list[FeedEvent] = []
        self._in_flight: dict[tuple[str, int], RpcStarted] = {}
        self._finished: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._mounts: dict[NodeKey, MountAppeared] = {}
        self._counted: dict[NodeKey, FuseCounted] = {}
        self._relayed = RelayedSources()

    def request(self) -> pb.SubscribeRequest:
        """Asks for what follows the last batch read."""
        self._snapshot.clear()
        request = pb.SubscribeRequest(heartbeat_ms=self._heartbeat_ms)
        if self.origin is not None and self._through:
            request.resume.instance = self.origin.instance
            request.resume.after_sequence = self._through
        return request

    def opened(self, batch: pb.Batch) -> list[Observation]:
        """A subscription's first batch was read: that the publisher is heard (again). An agent's snapshot tells it itself."""
        origin = self.origin
        if origin is None:
            return []
        if origin.agent is None:
            up = SourceUp(
                witness=Witness.DRIVER,
                scope=origin.scope,
                detail=f"feed {self.name}",
                instance=origin.instance,
            )
            return [Observation(body=up)]
        if batch.kind == pb.Batch.SNAPSHOT:
            return []
        return [Observation(body=body) for body in self._relayed.again()]

    def silenced(self, reason: str, denied: bool = False) -> list[Observation]:
        """The publisher is not heard. Nothing, where it never was."""
        if self.origin is None:
            return []
        if self.origin.agent is None:
            down = SourceDown(witness=Witness.DRIVER, scope=self.origin.scope, reason=reason, denied=denied)
            return [Observation(body=down)]
        return [Observation(body=body) for body in self._relayed.silenced(reason, denied)]

    def read(self, batch: pb.Batch) -> list[Observation]:
        """What a batch tells, in order. The first batch of a subscription carries the origin; before one, nothing is told."""
        observations: list[Observation] = []
        if batch.HasField("origin"):
            observations += self._meet(self._placed(decode_origin(batch.origin)))
        if self.origin is None:
            return observations
        events = [event for event in self._decoded(batch, self.origin) if event is not None]
        if batch.kind == pb.Batch.SNAPSHOT:
            self._snapshot += events
            if batch.snapshot_complete:
                observations += self._complete(batch.through_sequence, batch.lost, self.origin)
        else:
            for event in events:
                observations += self._tell(event)
            self._through = max(self._through, batch.through_sequence)
        return observations

    def _decoded(self, batch: pb.Batch, origin: Origin) -> Iterator[FeedEvent | None]:
        for message in batch.events:
            event = decode(message, origin)
            self.skipped += event is None
            yield event

    def _placed(self, origin: Origin) -> Origin:
        """A driver that names no node is on ours, where we know it."""
        if origin.agent is not None or origin.node_name:
            return origin
        return replace(origin, node_name=self._node_name)

    def _meet(self, origin: Origin) -> Iterator[Observation]:
        """A subscription begins: with the instance we know, or with another, which means that the publisher was restarted."""
        known, self.origin = self.origin, origin
        if origin.agent is not None:
            self._relayed.heard_through = (
                f"heard through {self.name or 'an agent'}, {version_words(origin.agent)}"
            )
        if known is None or known.instance == origin.instance:
            return
        self._through = 0
        gaps: Iterable[SourceGap]
        if origin.agent is None:
            self._in_flight.clear()  # SourceUp names the new instance, which says that these will never be answered
            reason = "the driver was restarted; what it did meanwhile is not known"
            gaps = [SourceGap(witness=Witness.DRIVER, scope=origin.scope, reason=reason)]
        else:
            gaps = self._relayed.gap("the agent was restarted; what happened meanwhile is not known")
        for gap in gaps:
            yield Observation(body=gap, occurred_at=origin.started_at or None, stamp=Stamp.ORIGIN)

    def _complete(self, through: int, lost: int, origin: Origin) -> Iterator[Observation]:
        """A snapshot is whole: tell what of it is new, and make good what was missed."""
        snapshot, self._snapshot = self._snapshot, []
        told_before, self._through = self._through, through
        if lost:
            yield from self._lost(lost, origin)
        at = max((event.occurred_at for event in snapshot), default=0)
        yield from self._vanish_all_but(snapshot, at)
        if origin.agent is not None:
            told = [e.body for e in snapshot if isinstance(e.body, SourceUp | SourceDown)]
            identities = [(body.witness, body.scope) for body in told]
            for body in self._relayed.only(identities, f"{self.name or 'its agent'} does not find it"):
                yield Observation(body=body)
        for event in snapshot:
            again = event.total or isinstance(event.body, SourceUp | SourceDown | ListCompleted)
            if (event.sequence > told_before or again) and not self._is_known(event.body):
                yield from self._tell(event)
        yield from self._end_calls_but(_calls_in(snapshot), at)
        if origin.agent is None:
            yield Observation(
                body=ListCompleted(witness=Witness.DRIVER, scope=origin.scope, count=len(snapshot))
            )

    def _lost(self, lost: int, origin: Origin) -> Iterator[Observation]:
        reason = f"{lost} events were lost: this reader was away too long or too slow"
        if origin.agent is None:
            gap = SourceGap(witness=Witness.DRIVER, scope=origin.scope, reason=reason, lost=lost)
            yield Observation(body=gap)
        else:
            for relayed in self._relayed.gap(reason, lost):
                yield Observation(body=relayed)

    def _is_known(self, body: FeedBody) -> bool:
        """Whether a snapshot repeats what we know: a restarted publisher numbers its events anew."""
        match body:
            case RpcStarted():
                call = (body.instance, body.call_id)
                return call in self._in_flight or call in self._finished
            case RpcFinished():
                return (body.instance, body.call_id) in self._finished
            case MountAppeared():
                return self._mounts.get((body.node_name, body.mount.mount_id)) == body
            case MountVanished():
                return (body.node_name, body.mount.mount_id) not in self._mounts
        return False

    def _tell(self, event: FeedEvent) -> Iterator[Observation]:
        body = event.body
        match body:
            case RpcStarted():
                self._in_flight[body.instance, body.call_id] = body
            case RpcFinished():
                call = (body.instance, body.call_id)
                self._in_flight.pop(call, None)
                self._finished[call] = None
                if len(self._finished) > _FINISHED_KEPT:
                    self._finished.popitem(last=False)
            case MountAppeared():
                self._mounts[body.node_name, body.mount.mount_id] = body
            case MountVanished():
                self._mounts.pop((body.node_name, body.mount.mount_id), None)
            case FuseCounted():
                body = self._count(body, event.total)
                if not body.ops:
                    return
            case SourceUp() | SourceDown() | SourceGap() | ListCompleted():
                body = self._relayed.take(body)
                self._forget_calls(body)
        yield Observation(body=body, occurred_at=event.occurred_at, stamp=event.stamp)

    def _forget_calls(self, body: FeedBody) -> None:
        """A driver that was restarted does not answer what it was asked before: `SourceUp` says so, by its instance."""
        if isinstance(body, SourceUp) and body.instance:
            for call, started in list(self._in_flight.items()):
                scope = f"{started.driver}@{started.node_name}"
                if scope == body.scope and started.instance != body.instance:
                    del self._in_flight[call]

    def _count(self, counted: FuseCounted, total: bool) -> FuseCounted:
        """What is new in `counted`; its totals are kept."""
        connection = (counted.node_name, counted.connection)
        known = self._counted.get(connection)
        if not total:
            self._counted[connection] = counted if known is None else totals.joined(known, counted)
            return counted
        self._counted[connection] = counted
        moved = None if known is None else totals.moved(known, counted)
        return counted if moved is None else moved

    def _vanish_all_but(self, snapshot: list[FeedEvent], at: int) -> Iterator[Observation]:
        present = {
            (event.body.node_name, event.body.mount.mount_id): event.body.mount
            for event in snapshot
            if isinstance(event.body, MountAppeared)
        }
        for key, known in list(self._mounts.items()):
            if present.get(key) != known.mount:
                del self._mounts[key]
                vanished = MountVanished(node_name=known.node_name, mount=known.mount)
                yield Observation(body=vanished, occurred_at=at or None, stamp=Stamp.INFERRED)

    def _end_calls_but(self, told: frozenset[tuple[str, int]], at: int) -> Iterator[Observation]:
        """End the calls in flight that a snapshot no longer knows. Their code is one that leaves open how a call ended."""
        for key, started in list(self._in_flight.items()):
            if key in told:
                continue
            del self._in_flight[key]
            finished = RpcFinished(
                driver=started.driver,
                instance=started.instance,
                call_id=started.call_id,
                method=started.method,
                code=Code.UNAVAILABLE,
                message="the answer was lost with other events of the feed",
                node_name=started.node_name,
                volume_id=started.volume_id,
                volume_name=started.volume_name,
                attempt=started.attempt,
            )
            yield Observation(body=finished, occurred_at=at or None, stamp=Stamp.INFERRED)


def _calls_in(snapshot: list[FeedEvent]) -> frozenset[tuple[str, int]]:
    return frozenset(
        (event.body.instance, event.body.call_id) for event in snapshot if isinstance(event.body, RpcStarted)
    )


def version_words(agent: Agent) -> str:
    """The agent's version, and how it compares with ours: what an older one does not tell yet is unknown."""
    theirs, ours = _numbers(agent.version), _numbers(__version__)
    if theirs == ours:
        return f"csitrace {agent.version}"
    return f"csitrace {agent.version}, {'older' if theirs < ours else 'newer'} than this one ({__version__})"


def _numbers(version: str) -> tuple[int, ...]:
    """`1.10.2` as numbers; what follows them (a suffix) does not count."""
    return tuple(int(part) for part in version.split("+")[0].split("-")[0].split(".") if part.isdecimal())
