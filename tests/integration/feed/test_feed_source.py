"""The feed over real gRPC: publisher on one side, source on the other, and everything that can go wrong between them."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from csitrace.feed.publisher import Publisher
from csitrace.feed.server import FeedThread, listen
from csitrace.model.events import (
    FuseCounted,
    ListCompleted,
    Observation,
    RpcFinished,
    RpcStarted,
    SourceDown,
    SourceGap,
    SourceUp,
    Stamp,
    Witness,
)
from csitrace.model.fuse import OpCount
from csitrace.sources.backoff import Backoff
from csitrace.sources.discovery import SOCKET_NAME, DiscoveredFeeds, discover
from csitrace.sources.feed import FeedSource

DRIVER, NODE = "probe.example.com", "node-1"
STAGE = "/csi.v1.Node/NodeStageVolume"


def started(call_id: int, volume_id: str = "vol-1", instance: str = "run-1") -> RpcStarted:
    return RpcStarted(
        driver=DRIVER, instance=instance, node_name=NODE, call_id=call_id, method=STAGE, volume_id=volume_id
    )


def finished(call_id: int, volume_id: str = "vol-1", instance: str = "run-1") -> RpcFinished:
    return RpcFinished(
        driver=DRIVER,
        instance=instance,
        node_name=NODE,
        call_id=call_id,
        method=STAGE,
        volume_id=volume_id,
        code=0,
    )


def reads(count: int, volume_id: str = "vol-1") -> FuseCounted:
    return FuseCounted(node_name=NODE, connection=77, volume_id=volume_id, ops={"READ": OpCount(count=count)})


@asynccontextmanager
async def serving(publisher: Publisher, address: str) -> AsyncIterator[str]:
    server = grpc.aio.server()
    publisher.add_to(server)
    bound = listen(server, address)
    await server.start()
    try:
        yield bound
    finally:
        publisher.close()
        await server.stop(0)


class Listener:
    """Collects what a source tells, and waits for what it is to tell."""

    def __init__(self, source: FeedSource | DiscoveredFeeds) -> None:
        self.observations: list[Observation] = []
        self._changed = asyncio.Condition()
        self._source = source
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async with aclosing(self._source.observe()) as observations:
            async for observation in observations:
                async with self._changed:
                    self.observations.append(observation)
                    self._changed.notify_all()

    async def until(self, wanted: Callable[[Any], bool], timeout: float = 15.0) -> Observation:
        """The first observation whose body is wanted."""
        async with asyncio.timeout(timeout), self._changed:
            while True:
                for observation in self.observations:
                    if wanted(observation.body):
                        return observation
                await self._changed.wait()

    def bodies(self, *kinds: type) -> list[Any]:
        return [seen.body for seen in self.observations if isinstance(seen.body, kinds)]

    def forget(self) -> None:
        self.observations.clear()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def listening(source: FeedSource | DiscoveredFeeds) -> AsyncIterator[Listener]:
    listener = Listener(source)
    try:
        yield listener
    finally:
        await listener.stop()


def source_of(address: str) -> FeedSource:
    return FeedSource(address, backoff=Backoff(0.01, 0.05))


def is_up(body: object) -> bool:
    return isinstance(body, SourceUp)


def is_down(body: object) -> bool:
    return isinstance(body, SourceDown)


def is_listed(body: object) -> bool:
    return isinstance(body, ListCompleted)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_newcomer_gets_the_state_and_then_the_stream(kind: str, tmp_path: Path) -> None:
    """Calls in flight and totals come first, then ListCompleted, then what happens, in order, with the driver's times."""
    publisher = Publisher(DRIVER, NODE, instance="run-1")
    publisher.publish(started(1), 1_000)
    publisher.publish(started(2), 2_000)
    publisher.publish(finished(1), 3_000)
    publisher.publish(reads(5), 4_000)
    publisher.publish(reads(6), 5_000)
    async with (
        serving(publisher, f"unix://{tmp_path}/f.sock" if kind == "unix" else "127.0.0.1:0") as address,
        listening(source_of(address)) as listener,
    ):
        await listener.until(is_listed)
        publisher.publish(finished(2), 6_000)
        await listener.until(lambda body: body == finished(2))
    kinds = [type(observation.body).__name__ for observation in listener.observations]
    assert kinds == [
        "SourceUp",
        "RpcStarted",
        "RpcStarted",
        "RpcFinished",
        "FuseCounted",
        "ListCompleted",
        "RpcFinished",
    ]
    up = listener.observations[0].body
    assert isinstance(up, SourceUp)
    assert (up.witness, up.scope) == (Witness.DRIVER, f"{DRIVER}@{NODE}")
    told = [seen for seen in listener.observations if seen.stamp is Stamp.ORIGIN]
    assert [seen.occurred_at for seen in told] == [1_000, 2_000, 3_000, 5_000, 6_000]
    assert listener.bodies(FuseCounted)[0].ops == {"READ": OpCount(count=11)}


async def test_an_ended_feed_is_resumed_without_repeating(tmp_path: Path) -> None:
    """A connection that breaks while the driver lives is resumed by sequence: nothing twice, nothing missing, no gap."""
    publisher = Publisher(DRIVER, NODE, instance="run-1")
    address = f"unix://{tmp_path}/f.sock"
    async with AsyncExitStack() as stack:
        source = source_of(address)
        server = grpc.aio.server()
        publisher.add_to(server)
        listen(server, address)
        await server.start()
        listener = await stack.enter_async_context(listening(source))
        await listener.until(is_listed)
        publisher.publish(started(1))
        await listener.until(lambda body: body == started(1))
        await server.stop(0)
        await listener.until(is_down)
        publisher.publish(finished(1))
        await stack.enter_async_context(serving(publisher, address))
        await listener.until(lambda body: body == finished(1))
    assert len(listener.bodies(RpcStarted)) == 1
    assert listener.bodies(SourceGap) == []
    assert len(listener.bodies(SourceUp)) == 2


async def test_who_was_away_too_long_is_told_what_it_lost(tmp_path: Path) -> None:
    """When the ring no longer holds what followed, the count of lost events comes with a snapshot that mends the state."""
    publisher = Publisher(DRIVER, NODE, instance="run-1", ring_size=8)
    address = f"unix://{tmp_path}/f.sock"
    async with AsyncExitStack() as stack:
        server = grpc.aio.server()
        publisher.add_to(server)
        listen(server, address)
        await server.start()
        listener = await stack.enter_async_context(listening(source_of(address)))
        await listener.until(is_listed)
        publisher.publish(reads(10))
        await listener.until(lambda body: isinstance(body, FuseCounted))
        await server.stop(0)
        await listener.until(is_down)
        for _ in range(100):
            publisher.publish(reads(1))
        await stack.enter_async_context(serving(publisher, address))
        gap = (await listener.until(lambda body: isinstance(body, SourceGap))).body
        await listener.until(lambda body: isinstance(body, FuseCounted) and body.ops["READ"].count == 100)
    assert isinstance(gap, SourceGap)
    assert (gap.scope, gap.lost) == (f"{DRIVER}@{NODE}", 99)
    assert sum(counted.ops["READ"].count for counted in listener.bodies(FuseCounted)) == 110


async def test_a_subscriber_that_does_not_read_is_told_what_it_lost_and_stays(tmp_path: Path) -> None:
    """A subscriber that stands still does not hold up the driver; it then gets a snapshot, the number lost, and the stream."""
    publisher = Publisher(DRIVER, NODE, instance="run-1", ring_size=64)
    async with serving(publisher, f"unix://{tmp_path}/f.sock") as address:
        source = source_of(address)
        observations = source.observe()
        while not is_listed((await anext(observations)).body):
            pass
        big = {"parameters": {"key": "x" * 4000}}
        for call_id in range(1, 4001):
            publisher.publish(
                RpcStarted(
                    driver=DRIVER, instance="run-1", call_id=call_id, method=STAGE, volume_id="v", request=big
                )
            )
            publisher.publish(finished(call_id, "v"))
            if call_id % 100 == 0:
                await asyncio.sleep(0)  # the server's turn to fill the transport's buffers
        publisher.publish(started(9_999))
        seen = []
        async with asyncio.timeout(30), aclosing(observations):
            async for observation in observations:
                seen.append(observation)
                if observation.body == started(9_999):
                    break
    gaps = [observation.body for observation in seen if isinstance(observation.body, SourceGap)]
    told = sum(observation.stamp is Stamp.ORIGIN for observation in seen)
    assert gaps
    assert sum(gap.lost or 0 for gap in gaps) + told == 8_001
    assert not any(is_down(observation.body) for observation in seen)


async def test_a_restarted_driver_is_followed(tmp_path: Path) -> None:
    """Another instance at the same address: the new one is named, a gap is told, and counts go on from where they were."""
    address = f"unix://{tmp_path}/f.sock"
    totals = FuseCounted(node_name=NODE, connection=77, volume_id="v", ops={"READ": OpCount(count=5)})
    more = FuseCounted(node_name=NODE, connection=77, volume_id="v", ops={"READ": OpCount(count=8)})
    first, second = Publisher(DRIVER, NODE, instance="run-1"), Publisher(DRIVER, NODE, instance="run-2")
    async with AsyncExitStack() as stack:
        async with serving(first, address):
            listener = await stack.enter_async_context(listening(source_of(address)))
            await listener.until(is_listed)
            first.publish(started(1))
            first.publish_fuse_totals(totals)
            await listener.until(lambda body: isinstance(body, FuseCounted))
        await listener.until(is_down)
        listener.forget()
        await stack.enter_async_context(serving(second, address))
        await listener.until(is_listed)
        second.publish(started(1, instance="run-2"))
        second.publish_fuse_totals(more)
        await listener.until(lambda body: isinstance(body, FuseCounted))
    assert len(listener.bodies(SourceGap)) == 1
    assert [up.instance for up in listener.bodies(SourceUp)] == ["run-2"]
    assert listener.bodies(RpcStarted) == [started(1, instance="run-2")]
    assert [counted.ops["READ"].count for counted in listener.bodies(FuseCounted)] == [3]


async def test_an_address_that_nobody_serves_is_down_once(tmp_path: Path) -> None:
    """The first failure is told under the address, the same again is not, and when the driver comes it says which one it was."""
    address = f"unix://{tmp_path}/f.sock"
    async with listening(source_of(address)) as listener:
        down = (await listener.until(is_down)).body
        async with serving(Publisher(DRIVER, NODE), address):
            await listener.until(is_listed)
            downs = listener.bodies(SourceDown)
    assert downs == [down]
    assert isinstance(down, SourceDown)
    assert (down.scope, down.reason) == (
        address,
        f"cannot hear the driver's feed at {address}: there is no such socket",
    )
    assert [(up.scope, up.formerly) for up in listener.bodies(SourceUp)] == [(f"{DRIVER}@{NODE}", address)]


async def test_a_server_without_a_feed_is_named(tmp_path: Path) -> None:
    """A CSI socket given by mistake: the reason says that it serves no feed."""
    server = grpc.aio.server()
    address = listen(server, f"unix://{tmp_path}/csi.sock")
    await server.start()
    async with listening(source_of(address)) as listener:
        down = (await listener.until(is_down)).body
    await server.stop(0)
    assert isinstance(down, SourceDown)
    assert down.denied
    assert down.reason == f"{address} serves no trace feed (csitrace.feed.v1)"


SERVE = """
import sys, threading
from csitrace.feed.publisher import Publisher
from csitrace.feed.server import FeedThread
with FeedThread(Publisher("probe.example.com", "node-1", instance=sys.argv[2]), sys.argv[1]):
    print("serving", flush=True)
    threading.Event().wait()
"""


def start_driver(address: str, instance: str) -> subprocess.Popen[str]:
    driver = subprocess.Popen(
        [sys.executable, "-c", SERVE, address, instance], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "serving\n"
    return driver


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_driver_that_dies_or_hangs_is_down_and_comes_back(
    blow: signal.Signals, tmp_path: Path
) -> None:
    """A killed driver is noticed by its connection, a frozen one by missing heartbeats; both are up again when they are back."""
    address = f"unix://{tmp_path}/f.sock"
    driver = await asyncio.to_thread(start_driver, address, "run-1")
    try:
        async with listening(source_of(address)) as listener:
            await listener.until(is_listed)
            driver.send_signal(blow)
            await listener.until(is_down)
            listener.forget()
            if blow is signal.SIGSTOP:
                driver.send_signal(signal.SIGCONT)
            else:
                driver.wait()
                driver = await asyncio.to_thread(start_driver, address, "run-2")
            await listener.until(is_up)
    finally:
        driver.kill()
        driver.wait()
        assert driver.stdout is not None
        driver.stdout.close()


async def test_a_silent_driver_is_not_a_dead_one(tmp_path: Path) -> None:
    """Heartbeats carry a subscription through silence longer than the limit: the source stays up."""
    publisher = Publisher(DRIVER, NODE)
    async with (
        serving(publisher, f"unix://{tmp_path}/f.sock") as address,
        listening(source_of(address)) as listener,
    ):
        await listener.until(is_listed)
        with pytest.raises(TimeoutError):
            await listener.until(is_down, timeout=2.5)


async def test_feeds_are_found_below_the_kubelet_root_as_they_come_and_go(tmp_path: Path) -> None:
    """A socket that appears is listened to; one whose file is gone is down, at rest, and resumed when it returns."""
    path = tmp_path / "plugins" / DRIVER / SOCKET_NAME
    path.parent.mkdir(parents=True)
    address = f"unix://{path}"
    publisher = Publisher(DRIVER, NODE, instance="run-1")
    async with listening(DiscoveredFeeds(tmp_path, rescan_s=0.05)) as listener, AsyncExitStack() as stack:
        server = grpc.aio.server()
        publisher.add_to(server)
        listen(server, address)
        await server.start()
        await listener.until(is_listed)
        await server.stop(0)
        path.unlink(missing_ok=True)
        await listener.until(lambda body: is_down(body) and "is gone" in body.reason)
        listener.forget()
        publisher.publish(started(1))
        await stack.enter_async_context(serving(publisher, address))
        await listener.until(lambda body: body == started(1))
    assert listener.bodies(SourceGap) == []


async def test_a_feed_that_is_heard_already_is_left_alone(tmp_path: Path) -> None:
    """Of two sockets found, the one that another source listens to is not listened to again."""
    async with AsyncExitStack() as stack:
        for driver in ("a.example.com", "b.example.com"):
            (tmp_path / "plugins" / driver).mkdir(parents=True)
            address = f"unix://{tmp_path}/plugins/{driver}/{SOCKET_NAME}"
            await stack.enter_async_context(serving(Publisher(driver, NODE), address))
        assert len(discover(tmp_path)) == 2
        feeds = DiscoveredFeeds(tmp_path, besides=discover(tmp_path)[:1], rescan_s=0.01)
        listener = await stack.enter_async_context(listening(feeds))
        await listener.until(is_listed)
    assert {up.scope for up in listener.bodies(SourceUp)} == {f"b.example.com@{NODE}"}


def test_pods_need_not_be_believed(tmp_path: Path) -> None:
    """A feed in a pod's emptyDir is found beside a node plugin's, and is not where pods are not to be heard."""
    plugin = tmp_path / "plugins" / DRIVER / SOCKET_NAME
    pod = tmp_path / "pods" / "uid" / "volumes" / "kubernetes.io~empty-dir" / "feed" / SOCKET_NAME
    with ExitStack() as stack:
        for path in (plugin, pod):
            path.parent.mkdir(parents=True)
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
        assert discover(tmp_path) == [f"unix://{plugin}", f"unix://{pod}"]
        assert discover(tmp_path, in_pods=False) == [f"unix://{plugin}"]


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    """No kubelet root, files that are no sockets, and paths too long to connect to: no feeds, and no error."""
    assert discover(tmp_path / "absent") == []
    for name in ("plain", "x" * 90):
        (tmp_path / "plugins" / name).mkdir(parents=True)
        (tmp_path / "plugins" / name / SOCKET_NAME).touch()
    assert discover(tmp_path) == []


def test_a_thread_serves_drivers_without_asyncio(tmp_path: Path) -> None:
    """FeedThread gives its socket to the owner alone, and tells subscribers all before it ends."""
    publisher = Publisher(DRIVER, NODE)

    async def hear(address: str) -> list[Observation]:
        seen = []
        async with asyncio.timeout(15), aclosing(source_of(address).observe()) as observations:
            async for observation in observations:
                seen.append(observation)
                if is_listed(observation.body):
                    publisher.publish(started(1))
                if observation.body == started(1):
                    return seen
        return seen

    with FeedThread(publisher, f"unix://{tmp_path}/f.sock") as thread:
        assert os.stat(tmp_path / "f.sock").st_mode & 0o777 == 0o600
        seen = asyncio.run(hear(thread.address))
    assert seen[-1].body == started(1)
