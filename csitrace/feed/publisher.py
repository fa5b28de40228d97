"""A driver's or an agent's end of the feed: it remembers what happened and tells every subscriber, each at its own speed.

Events stand in one ring; a subscriber is a position in it. Who falls behind the ring's tail, by reading too slowly or by
coming back too late, gets the same as a newcomer, a snapshot, and is told how many events it missed.
"""

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable

import grpc.aio

from csitrace.feed import feed_pb2 as pb
from csitrace.feed import feed_pb2_grpc, totals
from csitrace.feed.conversion import Agent, FeedBody, FeedEvent, Origin, encode, encode_origin
from csitrace.feed.memory import Memory
from csitrace.model.events import (
    FuseCounted,
    FuseObserved,
    FuseOpSampled,
    ListCompleted,
    MountAppeared,
    MountVanished,
    RpcFinished,
    RpcStarted,
    SourceDown,
    SourceGap,
    SourceUp,
    Stamp,
)

RING_SIZE = 8192
BATCH_EVENTS = 100
BATCH_BYTES = 1 << 20
LINGER_S = 0.05
"""At most one batch that is not full in this time: a lone event is told at once, a burst in batches."""
HEARTBEAT_S = 0.5
"""Silence after which a heartbeat is sent: twice as often as the protocol, or the subscriber, asks for."""

_NEVER = 1 << 63
_Write = Callable[[pb.Batch], Awaitable[None]]

_TOPICS: dict[type, "pb.Topic.ValueType"] = {
    RpcStarted: pb.TOPIC_RPC,
    RpcFinished: pb.TOPIC_RPC,
    MountAppeared: pb.TOPIC_MOUNT,
    MountVanished: pb.TOPIC_MOUNT,
    FuseCounted: pb.TOPIC_FUSE,
    FuseOpSampled: pb.TOPIC_FUSE,
    FuseObserved: pb.TOPIC_FUSE,
    SourceUp: pb.TOPIC_SOURCE,
    SourceDown: pb.TOPIC_SOURCE,
    SourceGap: pb.TOPIC_SOURCE,
    ListCompleted: pb.TOPIC_SOURCE,
}


class Publisher:
    """Tells what a driver does to whoever subscribes. `publish` may be called from any thread; it never blocks on a subscriber.

    `driver`: the CSI driver's name; `node_name`: the Kubernetes node, empty where the process belongs to none; `instance`:
    names this run of the process, made up when not given; `clock` tells ns since the Unix epoch; `ring_size`: how many events
    are kept for those who come back; `linger_s`: how long a batch that follows another may wait to be filled; `agent`: this is no
    driver but the agent of a node, and `driver` and `node_name` are empty.
    """

    def __init__(
        self,
        driver: str,
        node_name: str = "",
        instance: str | None = None,
        clock: Callable[[], int] = time.time_ns,
        ring_size: int = RING_SIZE,
        linger_s: float = LINGER_S,
        agent: Agent | None = None,
    ) -> None:
        self.clock = clock
        self.origin = Origin(instance or uuid.uuid4().hex, driver, node_name, clock(), agent)
        self._lock = threading.Lock()
        self._sequence = 0
        self._ring: list[FeedEvent | None] = [None] * ring_size
        self._memory = Memory()
        self._subscribers: set[_Subscriber] = set()
        self._closed = False
        self._linger_s = linger_s

    def publish(self, body: FeedBody, occurred_at: int | None = None) -> None:
        """Tell one fact. `occurred_at` in ns since the epoch, now by default. The counts of a FuseCounted are of its interval."""
        with self._lock:
            self._append(body, occurred_at)

    def publish_fuse_totals(self, counted: FuseCounted, occurred_at: int | None = None) -> None:
        """Tell counts that a daemon keeps since its start (`interval_ns`: how long ago that is): only what moved is sent.

        Right also after this process was restarted beside a daemon that went on: subscribers who knew its counts go on from them.
        """
        with self._lock:
            before = self._memory.totals((counted.node_name, counted.connection))
            if before is None or (moved := totals.moved(before, counted)) is None:
                self._append(counted, occurred_at, total=True)
            elif moved.ops:
                self._append(moved, occurred_at)

    def relay(self, body: FeedBody, occurred_at: int | None, stamp: Stamp) -> None:
        """Tell what another told us, with its time and where that comes from. The first counts of a connection are all that its
        daemon counted so far, and so a total: a subscriber may know some of them from an agent that was here before us."""
        with self._lock:
            total = isinstance(body, FuseCounted) and (
                self._memory.totals((body.node_name, body.connection)) is None
            )
            self._append(body, occurred_at, total, stamp)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve the feed on `server`, beside whatever else it serves."""
        feed_pb2_grpc.add_TraceFeedServicer_to_server(_Servicer(self), server)

    def close(self) -> None:
        """End every subscription after what was already published; later ones end at once."""
        with self._lock:
            self._closed = True
            for subscriber in self._subscribers:
                subscriber.notify()

    def _append(
        self, body: FeedBody, occurred_at: int | None, total: bool = False, stamp: Stamp = Stamp.ORIGIN
    ) -> None:
        self._sequence += 1
        at = self.clock() if occurred_at is None else occurred_at
        event = FeedEvent(self._sequence, at, body, total, stamp)
        self._ring[event.sequence % len(self._ring)] = event
        self._memory.apply(event)
        for subscriber in self._subscribers:
            if subscriber.wake_at <= event.sequence:
                subscriber.notify()

    async def subscribe(self, request: pb.SubscribeRequest, write: _Write) -> None:
        """Serve one subscription, batch by batch through `write`, until the publisher is closed or the task cancelled."""
        subscriber = _Subscriber(request.wants, request.heartbeat_ms / 2000 or HEARTBEAT_S)
        with self._lock:
            self._subscribers.add(subscriber)
        try:
            await self._stream(subscriber, request, write)
        finally:
            with self._lock:
                self._subscribers.discard(subscriber)

    async def _stream(self, subscriber: "_Subscriber", request: pb.SubscribeRequest, write: _Write) -> None:
        clock = asyncio.get_running_loop().time
        cursor = self._resumed(request.resume)
        origin = encode_origin(self.origin)
        if cursor is not None and self._after(cursor) is not None:
            await write(pb.Batch(kind=pb.Batch.STREAM, origin=origin, through_sequence=cursor))
        else:
            cursor = await self._write_snapshot(subscriber, cursor, write, origin)
        sent_at = flushed_at = clock()
        while True:
            if not await self._reached(subscriber, cursor + 1, sent_at + subscriber.heartbeat_s - clock()):
                await write(pb.Batch(kind=pb.Batch.HEARTBEAT, through_sequence=cursor))
                sent_at = clock()
                continue
            await self._reached(subscriber, cursor + BATCH_EVENTS, flushed_at + self._linger_s - clock())
            events = self._after(cursor)
            if events is None:
                cursor = await self._write_snapshot(subscriber, cursor, write)
                sent_at = flushed_at = clock()
                continue
            if not events:
                return  # closed, and everything was told
            batch = pb.Batch(kind=pb.Batch.STREAM)
            cursor = self._fill(batch, events, subscriber)
            batch.through_sequence = cursor
            flushed_at = clock()
            if not batch.events:
                if clock() - sent_at < subscriber.heartbeat_s:
                    continue
                batch.kind = pb.Batch.HEARTBEAT
            await write(batch)
            sent_at = clock()

    def _resumed(self, resume: pb.SubscribeRequest.Resume) -> int | None:
        """The position of one who comes back; None for a newcomer, and for one who speaks of another instance."""
        with self._lock:
            known = resume.instance == self.origin.instance and resume.after_sequence <= self._sequence
            return resume.after_sequence if known else None

    async def _reached(self, subscriber: "_Subscriber", sequence: int, timeout: float) -> bool:
        """Wait until event `sequence` is there or the publisher closed (true), or for `timeout` seconds (false)."""
        with self._lock:
            if self._sequence >= sequence or self._closed:
                return True
            subscriber.wake.clear()
            subscriber.wake_at = sequence
        if timeout <= 0:
            return False
        try:
            async with asyncio.timeout(timeout):
                await subscriber.wake.wait()
        except TimeoutError:
            return False
        return True

    def _after(self, cursor: int) -> list[FeedEvent] | None:
        """At most a batch of the events after `cursor`; None when the ring has already lost the first of them."""
        with self._lock:
            if cursor < self._sequence - len(self._ring):
                return None
            last = min(self._sequence, cursor + BATCH_EVENTS)
            slots = (self._ring[sequence % len(self._ring)] for sequence in range(cursor + 1, last + 1))
            return [event for event in slots if event is not None]

    def _fill(self, batch: pb.Batch, events: Iterable[FeedEvent], subscriber: "_Subscriber") -> int:
        """Put what fits (and is wanted) into `batch`; returns the sequence of the last event dealt with."""
        size = through = 0
        for event in events:
            if subscriber.wants(event):
                encoded = encode(event, self.origin)
                size += encoded.ByteSize()
                if batch.events and (size > BATCH_BYTES or len(batch.events) >= BATCH_EVENTS):
                    break
                batch.events.append(encoded)
            through = event.sequence
        return through

    async def _write_snapshot(
        self, subscriber: "_Subscriber", cursor: int | None, write: _Write, origin: pb.Origin | None = None
    ) -> int:
        """Bring a subscriber up to date that was told everything up to `cursor` (None: it is new); returns the new cursor."""
        with self._lock:
            through = self._sequence
            remembered = self._memory.snapshot()
        events = [event for event in remembered if subscriber.wants(event)]
        lost = 0 if cursor is None else through - cursor - sum(event.sequence > cursor for event in events)
        while True:
            batch = pb.Batch(kind=pb.Batch.SNAPSHOT, origin=origin)
            self._fill(batch, events, subscriber)
            events = events[len(batch.events) :]
            if not events:
                break
            await write(batch)
            origin = None
        batch.snapshot_complete = True
        batch.through_sequence = through
        batch.lost = lost
        await write(batch)
        return through


class _Subscriber:
    """Where one subscriber sleeps. `wake_at`: the sequence that wakes it, guarded by the publisher's lock."""

    def __init__(self, topics: Iterable["pb.Topic.ValueType"], heartbeat_s: float) -> None:
        self.heartbeat_s = heartbeat_s
        self.wake = asyncio.Event()
        self.wake_at = _NEVER
        self._topics = frozenset(topics)
        self._loop = asyncio.get_running_loop()

    def wants(self, event: FeedEvent) -> bool:
        return not self._topics or _TOPICS[type(event.body)] in self._topics

    def notify(self) -> None:
        self.wake_at = _NEVER
        with contextlib.suppress(RuntimeError):  # its loop was closed under it: nobody is left to be told
            self._loop.call_soon_threadsafe(self.wake.set)


class _Servicer(feed_pb2_grpc.TraceFeedServicer):
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def Subscribe(  # type: ignore[override]  # a coroutine that writes: unlike a generator, it ends with its task  # noqa: N802
        self, request: pb.SubscribeRequest, context: grpc.aio.ServicerContext[pb.SubscribeRequest, pb.Batch]
    ) -> None:
        await self._publisher.subscribe(request, context.write)
