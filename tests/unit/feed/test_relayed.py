"""A driver's feed through an agent: two publishers and two readers in a row, each end of which may be lost or begin anew."""

import asyncio

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from csitrace import __version__
from csitrace.agent.relay import Relay
from csitrace.feed import feed_pb2 as pb
from csitrace.feed.conversion import Agent, FeedBody
from csitrace.feed.publisher import Publisher
from csitrace.feed.reader import FeedReader, version_words
from csitrace.model.events import (
    FuseCounted,
    FuseObserved,
    ListCompleted,
    MountAppeared,
    Observation,
    RpcStarted,
    SourceDown,
    SourceGap,
    SourceUp,
    Stamp,
    Witness,
)
from tests.unit.feed.test_continuity import DRIVER, NODE, Truth, finished, mount, reads, started

KERNEL_UP = SourceUp(witness=Witness.KERNEL, scope=NODE, detail="mounts by mountinfo")
KERNEL_LISTED = ListCompleted(witness=Witness.KERNEL, scope=NODE, count=0)
DRIVER_SCOPE = f"{DRIVER}@{NODE}"


def agent(instance: str, ring_size: int = 8192, version: str = __version__) -> Publisher:
    return Publisher("", "", instance, lambda: 5, ring_size=ring_size, linger_s=0, agent=Agent(version, NODE))


class Leg:
    """One subscription, read at once; what it tells goes on to the relay, where there is one."""

    def __init__(self, publisher: Publisher, reader: FeedReader, relay: Relay | None = None) -> None:
        self.observations: list[Observation] = []
        self._reader = reader
        self._relay = relay
        self.task = asyncio.create_task(publisher.subscribe(reader.request(), self._write))

    async def _write(self, batch: pb.Batch) -> None:
        received = pb.Batch.FromString(batch.SerializeToString())
        told = self._reader.read(received)
        if received.HasField("origin"):
            told = [*self._reader.opened(received), *told]
        self.observations += told
        for observation in told if self._relay is not None else ():
            assert self._relay is not None
            self._relay.take(observation)

    async def caught_up(self, publisher: Publisher) -> None:
        """Until all that was published has been read."""
        while self._reader._through < publisher._sequence:
            assert not self.task.done()
            await asyncio.sleep(0)

    async def cut(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def hear(publisher: Publisher, reader: FeedReader) -> list[object]:
    """The bodies that one subscription tells until it has caught up."""
    leg = Leg(publisher, reader)
    await asyncio.sleep(0)
    await leg.caught_up(publisher)
    await leg.cut()
    return [observation.body for observation in leg.observations]


def health(bodies: list[object]) -> list[object]:
    return [body for body in bodies if isinstance(body, SourceUp | SourceDown | SourceGap | ListCompleted)]


def relay_all(publisher: Publisher, *bodies: FeedBody, stamp: Stamp = Stamp.OBSERVED) -> None:
    for body in bodies:
        publisher.relay(body, None, stamp)


async def test_a_newcomer_hears_how_each_source_is_heard() -> None:
    """The snapshot begins with the sources that are up, tells what they told, and says which have told all; down is down."""
    publisher, reader = agent("a"), FeedReader("agent x")
    down = SourceDown(witness=Witness.DRIVER, scope="other@n", reason="it hangs")
    relay_all(publisher, KERNEL_UP, MountAppeared(node_name=NODE, mount=mount(1)), KERNEL_LISTED, down)
    up, appeared, listed, silent = await hear(publisher, reader)
    assert isinstance(up, SourceUp)
    assert up.detail == f"mounts by mountinfo, heard through agent x, csitrace {__version__}"
    assert appeared == MountAppeared(node_name=NODE, mount=mount(1))
    assert (listed, silent) == (KERNEL_LISTED, down)


async def test_what_the_kernel_shows_is_not_taken_for_a_drivers_word() -> None:
    """An event keeps whose time it has: the agent saw it, a driver told it, a reader concluded it."""
    publisher, reader = agent("a"), FeedReader()
    observed = FuseObserved(node_name=NODE, connection=7, waiting=1)
    for stamp, connection in ((Stamp.OBSERVED, 1), (Stamp.ORIGIN, 2), (Stamp.INFERRED, 3)):
        publisher.relay(FuseObserved(node_name=NODE, connection=connection), 9, stamp)
    leg = Leg(publisher, reader)
    await asyncio.sleep(0)
    await leg.caught_up(publisher)
    await leg.cut()
    assert [(told.occurred_at, told.stamp) for told in leg.observations] == [
        (9, Stamp.OBSERVED),
        (9, Stamp.ORIGIN),
        (9, Stamp.INFERRED),
    ]
    assert observed.waiting == 1


async def test_an_agent_that_is_lost_and_heard_again() -> None:
    """While it is lost every source that was heard through it is down, for that reason; resumed, all is as it was."""
    publisher, reader = agent("a"), FeedReader("agent x")
    relay_all(publisher, KERNEL_UP, MountAppeared(node_name=NODE, mount=mount(1)), KERNEL_LISTED)
    relay_all(publisher, SourceUp(witness=Witness.DRIVER, scope=DRIVER_SCOPE, instance="run-1"))
    first = health(await hear(publisher, reader))
    lost = [observation.body for observation in reader.silenced("agent x is silent")]
    assert lost == [
        SourceDown(witness=Witness.KERNEL, scope=NODE, reason="agent x is silent"),
        SourceDown(witness=Witness.DRIVER, scope=DRIVER_SCOPE, reason="agent x is silent"),
    ]
    assert await hear(publisher, reader) == first


async def test_a_restarted_agent_tells_nothing_twice() -> None:
    """Calls, mounts and counts that were told by the former run are not told again; a gap is said of each source, and what is
    new is told; a source that the new run does not have is silent."""
    first, second, reader = agent("a"), agent("b"), FeedReader("agent x")
    driver_up = SourceUp(witness=Witness.DRIVER, scope=DRIVER_SCOPE, instance="run-1")
    gone = SourceUp(witness=Witness.DRIVER, scope="old@n", instance="run-9")
    relay_all(first, KERNEL_UP, MountAppeared(node_name=NODE, mount=mount(1)), KERNEL_LISTED, driver_up, gone)
    relay_all(first, started(1), started(2), finished(2), reads(5), stamp=Stamp.ORIGIN)
    await hear(first, reader)
    relay_all(second, KERNEL_UP, MountAppeared(node_name=NODE, mount=mount(1)), KERNEL_LISTED, driver_up)
    relay_all(second, started(1), started(2), finished(2), finished(1), reads(8), stamp=Stamp.ORIGIN)
    bodies = await hear(second, reader)
    assert [body for body in bodies if body not in health(bodies)] == [finished(1), reads(3)]
    gaps = [body for body in bodies if isinstance(body, SourceGap)]
    assert {(gap.witness, gap.scope) for gap in gaps} == {
        (Witness.KERNEL, NODE),
        (Witness.DRIVER, DRIVER_SCOPE),
        (Witness.DRIVER, "old@n"),
    }
    downs = [body for body in bodies if isinstance(body, SourceDown)]
    assert downs == [SourceDown(witness=Witness.DRIVER, scope="old@n", reason="agent x does not find it")]


async def test_counts_of_a_driver_that_a_new_agent_hears_late_are_totals() -> None:
    """Another run of the agent may have told some of them: of its first word on a connection, only what is new counts."""
    first, second, reader = agent("a"), agent("b"), FeedReader()
    relay_all(first, KERNEL_UP, reads(5), stamp=Stamp.ORIGIN)
    await hear(first, reader)
    relay_all(second, KERNEL_UP)
    leg = Leg(second, reader)
    await asyncio.sleep(0)
    await leg.caught_up(second)
    relay_all(second, reads(9), reads(1), stamp=Stamp.ORIGIN)
    await leg.caught_up(second)
    await leg.cut()
    counted = [told.body for told in leg.observations if isinstance(told.body, FuseCounted)]
    assert counted == [reads(4), reads(1)]


async def test_a_call_that_a_driver_never_answered_is_told_to_those_who_come_late() -> None:
    """Its end will not come: `SourceUp` of the driver's next run, after it in the snapshot, says so."""
    publisher, reader = agent("a"), FeedReader()
    for instance in ("run-1", "run-2"):
        relay_all(publisher, SourceUp(witness=Witness.DRIVER, scope=DRIVER_SCOPE, instance=instance))
        relay_all(publisher, started(1, instance), stamp=Stamp.ORIGIN)
    kinds = [(type(body).__name__, getattr(body, "instance", "")) for body in await hear(publisher, reader)]
    assert kinds == [("RpcStarted", "run-1"), ("SourceUp", "run-2"), ("RpcStarted", "run-2")]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (__version__, f"csitrace {__version__}"),
        ("0.0.1", f"csitrace 0.0.1, older than this one ({__version__})"),
        ("999.1", f"csitrace 999.1, newer than this one ({__version__})"),
        ("", f"csitrace , older than this one ({__version__})"),
    ],
)
def test_an_agents_version_is_compared_with_ours(version: str, words: str) -> None:
    """An outdated agent is named as such; one that tells no version is older than any."""
    assert version_words(Agent(version, NODE)) == words


def test_a_driver_without_a_node_is_on_the_agents() -> None:
    """A controller names no node; two replicas of it on two nodes are two sources."""
    reader = FeedReader(node_name="n7")
    origin = pb.Origin(instance="i", driver=DRIVER)
    batch = pb.Batch(kind=pb.Batch.SNAPSHOT, origin=origin, snapshot_complete=True, through_sequence=1)
    batch.events.append(pb.Event(sequence=1, rpc_started=pb.RpcStarted(call_id=1, method="/m")))
    (call, listed) = (observation.body for observation in reader.read(batch))
    assert isinstance(call, RpcStarted)
    assert call.node_name == "n7"
    assert isinstance(listed, ListCompleted)
    assert listed.scope == f"{DRIVER}@n7"


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "start",
                "finish",
                "mount",
                "count",
                "connect",
                "connect",
                "cut",
                "turn",
                "turn",
                "driver",
                "agent",
            ]
        ),
        st.integers(1, 6),
    ),
    min_size=20,
    max_size=60,
)


class Chain:
    """A driver, an agent that hears it, and a reader of the agent, with what is true and what the reader was told."""

    def __init__(self, ring_size: int) -> None:
        self.truth, self.told = Truth(), Truth()
        self.reader = FeedReader("agent x")
        self._ring_size = ring_size
        self._calls = self._runs = 0
        self._inner: Leg | None = None
        self._outer: Leg | None = None

    async def begin(self) -> None:
        self._start_driver()
        await self._start_agent()

    @property
    def instance(self) -> str:
        return self._driver.origin.instance

    async def play(self, action: str, times: int) -> None:
        for _ in range(times):
            match action:
                case "start":
                    self._calls += 1
                    self._publish(started(self._calls, self.instance))
                case "finish" if self.truth.in_flight:
                    self._publish(finished(min(self.truth.in_flight)[1], self.instance))
                case "mount":
                    free = next(number for number in range(1, 999) if number not in self.truth.mounts)
                    self._publish(MountAppeared(node_name=NODE, mount=mount(free)))
                case "count":
                    self._publish(reads(1))
                case "connect" if self._outer is None:
                    self._outer = Leg(self._agent, self.reader)
                case "cut":
                    await self._cut()
                case "turn":
                    await asyncio.sleep(0)
        if action == "driver" and times == 1:
            await self._restart_driver()
        if action == "agent" and times == 1:
            await self._cut()
            await self._start_agent()

    async def finish(self) -> None:
        assert self._inner is not None
        await self._inner.caught_up(self._driver)
        await self._inner.cut()
        await self._cut()
        for body in await hear(self._agent, self.reader):
            self.told.see(body)

    def _start_driver(self) -> None:
        self._runs += 1
        self._driver = Publisher(DRIVER, NODE, f"run-{self._runs}", lambda: 1, linger_s=0)
        self.truth.in_flight.clear()
        for number in sorted(self.truth.mounts):
            self._driver.publish(MountAppeared(node_name=NODE, mount=mount(number)))
        for connection, ops in self.truth.counts.items():
            self._driver.publish_fuse_totals(
                FuseCounted(node_name=NODE, connection=connection, volume_id="v", ops=ops)
            )

    async def _restart_driver(self) -> None:
        assert self._inner is not None
        await self._inner.caught_up(self._driver)
        await self._inner.cut()
        self._start_driver()
        self._inner = Leg(self._driver, self._heard, self._relay)
        await asyncio.sleep(0)

    async def _start_agent(self) -> None:
        """It hears all that the driver tells before it is heard itself."""
        if self._inner is not None:
            await self._inner.cut()
        self._runs += 1
        self._agent = agent(f"agent-{self._runs}", self._ring_size)
        self._relay, self._heard = Relay(self._agent), FeedReader()
        self._inner = Leg(self._driver, self._heard, self._relay)
        await asyncio.sleep(0)
        await self._inner.caught_up(self._driver)

    def _publish(self, body: FeedBody) -> None:
        self._driver.publish(body)
        self.truth.see(body)

    async def _cut(self) -> None:
        leg, self._outer = self._outer, None
        if leg is not None:
            await leg.cut()
            for observation in leg.observations:
                self.told.see(observation.body)


@settings(max_examples=80)
@given(actions=ACTIONS, ring_size=st.sampled_from([3, 16, 4096]))
def test_whatever_is_lost_on_the_way_the_reader_ends_in_the_drivers_state(
    actions: list[tuple[str, int]], ring_size: int
) -> None:
    """Connections break, the driver and the agent are restarted, events are lost: no call or mount is told twice, and in the end
    the calls in flight, the mounts and the counts are the driver's."""

    async def run() -> None:
        chain = Chain(ring_size)
        await chain.begin()
        for action, times in actions:
            event(action)
            await chain.play(action, times)
        await chain.finish()
        told = {call for call in chain.told.in_flight if call[0] == chain.instance}
        assert told == chain.truth.in_flight
        assert chain.told.mounts == chain.truth.mounts
        assert chain.told.counts == chain.truth.counts

    asyncio.run(run())
