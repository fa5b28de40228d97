"""A listener's end of the feed: batches in, observations out, whole again after loss, resumption and restarts of the driver.

After a snapshot the reader tells only what is new to it, and makes good what it missed: mounts that are gone vanish, calls
whose answer was lost end, FUSE counts go on from where they were.
"""

from collections.abc import Iterator

from csitrace.feed import feed_pb2 as pb
from csitrace.feed import totals
from csitrace.feed.conversion import FeedBody, FeedEvent, Origin, decode, decode_origin
from csitrace.feed.memory import NodeKey
from csitrace.model.events import (
    FuseCounted,
    ListCompleted,
    MountAppeared,
    MountVanished,
    Observation,
    RpcFinished,
    RpcStarted,
    SourceGap,
    Stamp,
    Witness,
)
from csitrace.model.rpc import Code


class FeedReader:
    """Reads one driver's subscriptions, one after the other. Pure; `read` never raises on what a batch contains."""

    def __init__(self) -> None:
        self.origin: Origin | None = None
        self.skipped = 0
        self._through = 0
        self._snapshot: list[FeedEvent] = []
        self._in_flight: dict[tuple[str, int], RpcStarted] = {}
        self._mounts: dict[NodeKey, MountAppeared] = {}
        self._counted: dict[NodeKey, FuseCounted] = {}

    def request(self) -> pb.SubscribeRequest:
        """Asks for what follows the last batch read."""
        self._snapshot.clear()
        if self.origin is None or not self._through:
            return pb.SubscribeRequest()
        resume = pb.SubscribeRequest.Resume(instance=self.origin.instance, after_sequence=self._through)
        return pb.SubscribeRequest(resume=resume)

    def read(self, batch: pb.Batch) -> list[Observation]:
        """What a batch tells, in order. The first batch of a subscription carries the origin; before one, nothing is told."""
        observations: list[Observation] = []
        if batch.HasField("origin"):
            observations += self._meet(decode_origin(batch.origin))
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

    def _meet(self, origin: Origin) -> Iterator[Observation]:
        """A subscription begins: with the instance we know, or with another, which means that the driver was restarted."""
        known, self.origin = self.origin, origin
        if known is None or known.instance == origin.instance:
            return
        self._through = 0
        self._in_flight.clear()  # SourceUp names the new instance, which says that these will never be answered
        yield Observation(
            body=SourceGap(
                witness=Witness.DRIVER,
                scope=origin.scope,
                reason="the driver was restarted; what it did meanwhile is not known",
            ),
            occurred_at=origin.started_at or None,
            stamp=Stamp.ORIGIN,
        )

    def _complete(self, through: int, lost: int, origin: Origin) -> Iterator[Observation]:
        """A snapshot is whole: tell what of it is new, and make good what was missed."""
        snapshot, self._snapshot = self._snapshot, []
        told_before, self._through = self._through, through
        if lost:
            reason = f"{lost} events were lost: this reader was away too long or too slow"
            gap = SourceGap(witness=Witness.DRIVER, scope=origin.scope, reason=reason, lost=lost)
            yield Observation(body=gap)
        at = max((event.occurred_at for event in snapshot), default=0)
        yield from self._vanish_all_but(snapshot, at)
        for event in snapshot:
            if (event.sequence > told_before or event.total) and not self._is_known(event.body):
                yield from self._tell(event)
        yield from self._end_calls_but(_calls_in(snapshot), at)
        yield Observation(
            body=ListCompleted(witness=Witness.DRIVER, scope=origin.scope, count=len(snapshot)),
        )

    def _is_known(self, body: FeedBody) -> bool:
        """Whether a snapshot speaks of a mount as we know it already: a restarted driver numbers its events anew."""
        match body:
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
                self._in_flight.pop((body.instance, body.call_id), None)
            case MountAppeared():
                self._mounts[body.node_name, body.mount.mount_id] = body
            case MountVanished():
                self._mounts.pop((body.node_name, body.mount.mount_id), None)
            case FuseCounted():
                body = self._count(body, event.total)
                if not body.ops:
                    return
        yield Observation(body=body, occurred_at=event.occurred_at, stamp=Stamp.ORIGIN)

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
