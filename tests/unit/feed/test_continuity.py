"""Publisher and reader together, without a network: whatever is lost on the way, the reader ends in the publisher's state."""

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from csitrace.feed import feed_pb2 as pb
from csitrace.feed import totals
from csitrace.feed.conversion import FeedBody, FeedEvent, Origin, encode, encode_origin
from csitrace.feed.publisher import BATCH_EVENTS, Publisher
from csitrace.feed.reader import FeedReader
from csitrace.model.events import (
    FuseCounted,
    FuseOpSampled,
    ListCompleted,
    MountAppeared,
    MountVanished,
    Observation,
    RpcFinished,
    RpcStarted,
    SourceGap,
    Stamp,
)
from csitrace.model.fuse import OpCount
from csitrace.model.mounts import Mount
from tests.unit.feed.strategies import bodies

DRIVER, NODE, STAGE = "d", "n", "/csi.v1.Node/NodeStageVolume"


def started(call_id: int, instance: str = "run-1") -> RpcStarted:
    return RpcStarted(
        driver=DRIVER,
        instance=instance,
        node_name=NODE,
        call_id=call_id,
        method=STAGE,
        volume_id=f"v{call_id % 3}",
    )


def finished(call_id: int, instance: str = "run-1") -> RpcFinished:
    return RpcFinished(
        driver=DRIVER,
        instance=instance,
        node_name=NODE,
        call_id=call_id,
        method=STAGE,
        code=0,
        volume_id=f"v{call_id % 3}",
    )


def mount(mount_id: int) -> Mount:
    return Mount(
        mount_id=mount_id, parent_id=0, major=0, minor=mount_id, root="/", mount_point=f"/m{mount_id}"
    )


def reads(count: int, connection: int = 7) -> FuseCounted:
    return FuseCounted(
        node_name=NODE, connection=connection, volume_id="v", ops={"READ": OpCount(count=count)}
    )


def sampled(number: int) -> FuseOpSampled:
    return FuseOpSampled(node_name=NODE, connection=7, op="READ", duration_ns=number)


class Truth:
    """What a reader of everything knows: calls in flight, mounts, counts."""

    def __init__(self) -> None:
        self.in_flight: set[tuple[str, int]] = set()
        self.mounts: set[int] = set()
        self.counts: dict[int, totals.Ops] = {}

    def of_run(self, reader: FeedReader) -> set[tuple[str, int]]:
        """Calls in flight of the run that the reader heard last; those of an earlier one ended with it."""
        return {
            call for call in self.in_flight if reader.origin is not None and call[0] == reader.origin.instance
        }

    def see(self, body: object) -> None:
        match body:
            case RpcStarted():
                assert (body.instance, body.call_id) not in self.in_flight, "told twice"
                self.in_flight.add((body.instance, body.call_id))
            case RpcFinished():
                self.in_flight.remove((body.instance, body.call_id))
            case MountAppeared():
                assert body.mount.mount_id not in self.mounts, "told twice"
                self.mounts.add(body.mount.mount_id)
            case MountVanished():
                self.mounts.remove(body.mount.mount_id)
            case FuseCounted():
                self.counts[body.connection] = totals.add(self.counts.get(body.connection, {}), body.ops)


class Subscription:
    """One subscription to a publisher; what it is sent is read at once."""

    def __init__(self, publisher: Publisher, reader: FeedReader, batches: int | None = None) -> None:
        """The connection breaks after `batches`, where that is given."""
        self.batches: list[pb.Batch] = []
        self._limit = batches
        self.observations: list[Observation] = []
        self._reader = reader
        self.task = asyncio.create_task(publisher.subscribe(reader.request(), self._write))

    async def _write(self, batch: pb.Batch) -> None:
        if len(self.batches) == self._limit:
            raise ConnectionError
        received = pb.Batch.FromString(batch.SerializeToString())
        self.batches.append(received)
        self.observations += self._reader.read(received)

    async def cut(self, turns: int) -> None:
        """Lose the connection after some turns of the event loop."""
        for _ in range(turns):
            await asyncio.sleep(0)
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def read_to_the_end(publisher: Publisher, reader: FeedReader) -> Subscription:
    subscription = Subscription(publisher, reader)
    await asyncio.sleep(0)
    publisher.close()
    await subscription.task
    return subscription


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["start", "finish", "mount", "unmount", "count", "connect", "connect", "cut", "turn", "restart"]
        ),
        st.integers(1, 6),
    ),
    min_size=20,
    max_size=80,
)


class Story:
    """A driver's life and a reader's, with what is true and what the reader was told."""

    def __init__(self, ring_size: int) -> None:
        self.truth, self.told, self.reader = Truth(), Truth(), FeedReader()
        self.gaps = 0
        self._ring_size = ring_size
        self._runs = self._calls = 0
        self._subscription: Subscription | None = None
        self._start()

    async def play(self, action: str, times: int) -> None:
        for _ in range(times):
            match action:
                case "start":
                    self._calls += 1
                    self._publish(started(self._calls, self._publisher.origin.instance))
                case "finish" if self.truth.in_flight:
                    self._publish(finished(min(self.truth.in_flight)[1], self._publisher.origin.instance))
                case "mount":
                    free = next(number for number in range(1, 999) if number not in self.truth.mounts)
                    self._publish(MountAppeared(node_name=NODE, mount=mount(free)))
                case "unmount" if self.truth.mounts:
                    self._publish(MountVanished(node_name=NODE, mount=mount(min(self.truth.mounts))))
                case "count":
                    self._publish(reads(1))
                case "connect" if self._subscription is None:
                    self._subscription = Subscription(self._publisher, self.reader)
                case "cut":
                    await self._cut()
                case "turn":
                    await asyncio.sleep(0)
        if action == "restart" and times == 1:
            await self._cut()
            self._start()

    async def finish(self) -> None:
        await self._cut()
        self._hear(await read_to_the_end(self._publisher, self.reader))

    def _start(self) -> None:
        """A driver that starts finds its mounts and its daemons, which outlived it; its calls did not."""
        self._runs += 1
        instance = f"run-{self._runs}"
        self._publisher = Publisher(DRIVER, NODE, instance, lambda: 1, ring_size=self._ring_size, linger_s=0)
        self.truth.in_flight.clear()
        for number in sorted(self.truth.mounts):
            self._publisher.publish(MountAppeared(node_name=NODE, mount=mount(number)))
        for connection, ops in self.truth.counts.items():
            counted = FuseCounted(node_name=NODE, connection=connection, volume_id="v", ops=ops)
            self._publisher.publish_fuse_totals(counted)

    def _publish(self, body: FeedBody) -> None:
        self._publisher.publish(body)
        self.truth.see(body)

    async def _cut(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.cut(0)
            self._hear(subscription)

    def _hear(self, subscription: Subscription) -> None:
        for observation in subscription.observations:
            self.told.see(observation.body)
            self.gaps += isinstance(observation.body, SourceGap)


@settings(max_examples=100)
@given(actions=ACTIONS, ring_size=st.integers(1, 12))
def test_the_reader_ends_in_the_publishers_state(actions: list[tuple[str, int]], ring_size: int) -> None:
    """Over any history of events, lost connections, overflown rings and restarts: no event twice, none of the state missing."""

    async def run() -> None:
        story = Story(ring_size)
        for action, times in actions:
            await story.play(action, times)
        await story.finish()
        event(f"gaps: {min(story.gaps, 3)}")
        assert story.told.of_run(story.reader) == story.truth.in_flight
        assert story.told.mounts == story.truth.mounts
        assert story.told.counts == story.truth.counts

    asyncio.run(run())


def told(observations: Iterable[Observation]) -> list[object]:
    return [observation.body for observation in observations if observation.stamp is Stamp.ORIGIN]


async def test_a_snapshot_holds_the_last_calls_and_ends_with_its_count() -> None:
    """Of many calls of one operation a newcomer is told the last four; ListCompleted says how many events there were."""
    publisher = Publisher(DRIVER, NODE, instance="run-1")
    for call_id in range(3, 33, 3):  # of one volume
        publisher.publish(started(call_id))
        publisher.publish(finished(call_id))
    subscription = await read_to_the_end(publisher, FeedReader())
    assert told(subscription.observations) == [
        body for call_id in (21, 24, 27, 30) for body in (started(call_id), finished(call_id))
    ]
    (completed,) = [seen.body for seen in subscription.observations if isinstance(seen.body, ListCompleted)]
    assert completed.count == 8


async def test_batches_are_bounded() -> None:
    """A snapshot of 250 calls in flight comes in three batches; only the last completes it and can be resumed from."""
    publisher = Publisher(DRIVER, NODE, instance="run-1")
    for call_id in range(250):
        publisher.publish(started(call_id))
    subscription = await read_to_the_end(publisher, FeedReader())
    assert [len(batch.events) for batch in subscription.batches] == [BATCH_EVENTS, BATCH_EVENTS, 50]
    assert [batch.snapshot_complete for batch in subscription.batches] == [False, False, True]
    assert [batch.through_sequence for batch in subscription.batches] == [0, 0, 250]
    assert [batch.HasField("origin") for batch in subscription.batches] == [True, False, False]


async def test_large_events_make_small_batches() -> None:
    """A batch stays below the message size that every gRPC client accepts, whatever its events weigh."""
    publisher = Publisher(DRIVER, NODE, instance="run-1")
    for call_id in range(40):
        payload = {"x": "y" * 200_000}
        publisher.publish(
            RpcStarted(driver=DRIVER, instance="run-1", call_id=call_id, method=STAGE, request=payload)
        )
    subscription = await read_to_the_end(publisher, FeedReader())
    assert sum(len(batch.events) for batch in subscription.batches) == 40
    assert max(batch.ByteSize() for batch in subscription.batches) < 4 << 20


async def test_wants_narrows_the_feed() -> None:
    """Who asks for calls alone is sent no counts, and resumes beyond them."""
    publisher = Publisher(DRIVER, NODE, instance="run-1")
    publisher.publish(reads(1))
    publisher.publish(started(1))
    publisher.publish(reads(1))
    batches: list[pb.Batch] = []

    async def write(batch: pb.Batch) -> None:
        batches.append(batch)

    publisher.close()
    await publisher.subscribe(pb.SubscribeRequest(wants=[pb.TOPIC_RPC]), write)
    assert [event.WhichOneof("body") for batch in batches for event in batch.events] == ["rpc_started"]
    assert batches[-1].through_sequence == 3


async def test_totals_that_did_not_move_are_not_told() -> None:
    """A daemon's report that repeats its totals makes no event; one that moved is told as the difference."""
    publisher = Publisher(DRIVER, NODE, instance="run-1")
    reader = FeedReader()
    subscription = Subscription(publisher, reader)
    await asyncio.sleep(0)
    for count in (5, 5, 7):
        publisher.publish_fuse_totals(reads(count))
    publisher.close()
    await subscription.task
    assert told(subscription.observations) == [reads(5), reads(2)]


async def test_calls_whose_answer_was_lost_are_ended() -> None:
    """A call that even the snapshot no longer knows ends as inferred, after a gap that counts the loss."""
    publisher, reader = Publisher(DRIVER, NODE, instance="run-1", ring_size=4), FeedReader()
    subscription = Subscription(publisher, reader)
    publisher.publish(started(3))
    await subscription.cut(3)
    publisher.publish(finished(3))
    for call_id in range(6, 60, 3):
        publisher.publish(started(call_id))
        publisher.publish(finished(call_id))
    last = await read_to_the_end(publisher, reader)
    (gap,) = [seen.body for seen in last.observations if isinstance(seen.body, SourceGap)]
    inferred = [seen.body for seen in last.observations if seen.stamp is Stamp.INFERRED]
    assert gap.lost == 37 - 8
    assert [(body.call_id, body.message) for body in inferred if isinstance(body, RpcFinished)] == [
        (3, "the answer was lost with other events of the feed")
    ]


@pytest.mark.parametrize(("missed", "lost"), [(4, None), (5, 5)])
async def test_the_ring_holds_exactly_its_size(missed: int, lost: int | None) -> None:
    """Who missed as many events as the ring holds resumes without loss; with one more, all that no snapshot holds is lost."""
    publisher, reader = Publisher(DRIVER, NODE, instance="run-1", ring_size=4), FeedReader()
    subscription = Subscription(publisher, reader)
    publisher.publish(sampled(0))
    await subscription.cut(8)
    for number in range(missed):
        publisher.publish(sampled(number))
    last = await read_to_the_end(publisher, reader)
    gaps = [seen.body.lost for seen in last.observations if isinstance(seen.body, SourceGap)]
    assert gaps == ([] if lost is None else [lost])
    assert told(last.observations) == ([sampled(number) for number in range(missed)] if lost is None else [])


async def test_a_restarted_drivers_first_word_on_its_mounts_is_whole() -> None:
    """A driver tells the mounts it finds before it serves its feed: one that is not among them went while nobody listened."""
    first, second = Publisher(DRIVER, NODE, "run-1", linger_s=0), Publisher(DRIVER, NODE, "run-2", linger_s=0)
    reader = FeedReader()
    for number in (1, 2):
        first.publish(MountAppeared(node_name=NODE, mount=mount(number)))
    await read_to_the_end(first, reader)
    second.publish(MountAppeared(node_name=NODE, mount=mount(2)))
    after = await read_to_the_end(second, reader)
    gap, vanished, completed = (seen.body for seen in after.observations)
    assert vanished == MountVanished(node_name=NODE, mount=mount(1))
    assert (type(gap), type(completed)) == (SourceGap, ListCompleted)


async def test_half_a_snapshot_is_nothing() -> None:
    """A snapshot that broke off is asked for again, and its events are told once."""
    publisher, reader = Publisher(DRIVER, NODE, instance="run-1"), FeedReader()
    for call_id in range(150):
        publisher.publish(started(call_id))
    broken = Subscription(publisher, reader, batches=1)
    await asyncio.gather(broken.task, return_exceptions=True)
    last = await read_to_the_end(publisher, reader)
    assert told(broken.observations) == []
    assert told(last.observations) == [started(call_id) for call_id in range(150)]


async def test_unknown_events_are_counted() -> None:
    """An event of a later version is passed over, counted, and does not stand in the way of the next."""
    reader, origin = FeedReader(), Origin("run-1", DRIVER, NODE)
    known = encode(FeedEvent(2, 2, started(1)), origin)
    batch = pb.Batch(kind=pb.Batch.STREAM, origin=encode_origin(origin), events=[pb.Event(sequence=1), known])
    assert told(reader.read(batch)) == [started(1)]
    assert reader.skipped == 1


batch_kinds = st.sampled_from(
    [pb.Batch.KIND_UNSPECIFIED, pb.Batch.SNAPSHOT, pb.Batch.STREAM, pb.Batch.HEARTBEAT]
)


@settings(max_examples=150)
@given(
    received=st.lists(
        st.tuples(batch_kinds, st.booleans(), st.booleans(), st.integers(0, 9), st.lists(bodies, max_size=3)),
        max_size=8,
    )
)
def test_no_batch_makes_the_reader_fail(
    received: list[tuple[pb.Batch.Kind.ValueType, bool, bool, int, list[FeedBody]]],
) -> None:
    """A driver that breaks every rule of the protocol is read without an exception."""
    origin, reader = Origin("i", "d", "n"), FeedReader()
    for kind, with_origin, complete, number, contents in received:
        batch = pb.Batch(kind=kind, snapshot_complete=complete, through_sequence=number, lost=number)
        if with_origin:
            batch.origin.CopyFrom(encode_origin(Origin(f"i{number % 2}", "d", "n")))
        for body in contents:
            batch.events.append(encode(FeedEvent(number, number, body), origin))
        for observation in reader.read(batch):
            assert observation.body is not None
