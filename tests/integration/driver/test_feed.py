"""The driver as a witness: what it tells a subscriber of its feed, live, late, and after a restart."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest

from csitrace.feed import feed_pb2_grpc
from csitrace.feed.reader import FeedReader
from csitrace.model.events import (
    Body,
    FuseCounted,
    FuseObserved,
    MountAppeared,
    MountVanished,
    RpcFinished,
    RpcStarted,
)
from csitrace.model.rpc import Code, short_method
from tests.integration.driver.driving import PATIENCE_SECONDS, Driver, Volume


class Subscriber:
    """Reads the feed and keeps what it was told."""

    def __init__(self, batches: Iterator[object], reader: FeedReader) -> None:
        self._batches = batches
        self._reader = reader
        self.told: list[Body] = []

    def until(self, claim: Callable[[list[Body]], object]) -> list[Body]:
        """Read on until the claim holds for all that was told so far; fails when the feed ends or falls silent."""
        while not claim(self.told):
            batch = next(self._batches, None)
            assert batch is not None, f"the feed ended; told: {self.told}"
            self.told += [observation.body for observation in self._reader.read(batch)]  # type: ignore[arg-type]
        return self.told


@contextmanager
def _subscribed(driver: Driver, reader: FeedReader) -> Iterator[Subscriber]:
    with grpc.insecure_channel(f"unix:{driver.feed}") as channel:
        stream = feed_pb2_grpc.TraceFeedStub(channel).Subscribe(reader.request(), timeout=PATIENCE_SECONDS)
        yield Subscriber(stream, reader)
        stream.cancel()


def _finished(told: list[Body]) -> list[tuple[str, Code]]:
    return [(short_method(body.method), Code(body.code)) for body in told if isinstance(body, RpcFinished)]


def _mounted(told: list[Body]) -> set[str]:
    """Mount points that appeared and did not vanish."""
    found: set[str] = set()
    for body in told:
        if isinstance(body, MountAppeared):
            found.add(body.mount.mount_point)
        if isinstance(body, MountVanished):
            found.discard(body.mount.mount_point)
    return found


def test_a_volumes_life_is_told_in_order(driver: Driver) -> None:
    """Every call with its code, the FUSE process, the mounts as the kernel names them, and the operations counted."""
    with _subscribed(driver, FeedReader()) as feed:
        volume = Volume(driver, "told").up()
        [pid] = driver.daemons()
        told = feed.until(lambda told: ("NodePublishVolume", Code.OK) in _finished(told))
        assert [method for method, _ in _finished(told) if method not in ("Probe", "GetPluginInfo")] == [
            "CreateVolume",
            "ControllerPublishVolume",
            "NodeStageVolume",
            "NodePublishVolume",
        ]
        assert _mounted(told) == {mount.mount_point for mount in driver.mounted()}
        [observed] = [body for body in told if isinstance(body, FuseObserved)]
        mount = volume.mount_at(volume.staging)
        assert mount is not None
        assert (observed.connection, observed.volume_id, observed.init_answered) == (
            mount.minor,
            volume.volume_id,
            True,
        )
        assert observed.daemon is not None
        assert observed.daemon.pid == pid
        (volume.target / "file").write_bytes(bytes(5000))
        told = feed.until(lambda told: _written(told) >= 5000)
        assert _written(told) == 5000
        volume.down()
        told = feed.until(lambda told: ("DeleteVolume", Code.OK) in _finished(told))
        assert _mounted(told) == set()
        started = [body for body in told if isinstance(body, RpcStarted)]
        assert len(started) == len(_finished(told))


def _written(told: list[Body]) -> int:
    return sum(
        body.ops["WRITE"].bytes for body in told if isinstance(body, FuseCounted) and "WRITE" in body.ops
    )


def test_a_call_in_flight_is_seen_for_as_long_as_the_driver_works(driver: Driver) -> None:
    """The caller gave up; the feed shows the call started and not finished, to a late subscriber, too, until it ends."""
    volume = Volume(driver, "slow")
    volume.create()
    volume.attach()
    driver.fault("NodeStageVolume", "hang")
    with pytest.raises(grpc.RpcError):
        volume.stage(timeout=0.5)
    with _subscribed(driver, FeedReader()) as feed:
        told = feed.until(lambda told: any(isinstance(body, RpcStarted) and _is_stage(body) for body in told))
        assert "NodeStageVolume" not in [method for method, _ in _finished(told)]
        driver.faults.ClearFaults(driver.clear_all)
        told = feed.until(lambda told: "NodeStageVolume" in [method for method, _ in _finished(told)])
        assert ("NodeStageVolume", Code.DEADLINE_EXCEEDED) in _finished(told)


def _is_stage(body: RpcStarted) -> bool:
    return short_method(body.method) == "NodeStageVolume"


def test_attempts_are_counted_and_refusals_told_with_their_words(driver: Driver) -> None:
    """Two refusals and a success of one operation are its attempts 1, 2 and 3."""
    volume = Volume(driver, "tried")
    volume.create(fault__NodeStageVolume="UNAVAILABLE:count=2")
    volume.attach()
    for _ in range(2):
        with pytest.raises(grpc.RpcError):
            volume.stage()
    volume.stage()
    with _subscribed(driver, FeedReader()) as feed:
        told = feed.until(lambda told: ("NodeStageVolume", Code.OK) in _finished(told))
    stages = [
        body
        for body in told
        if isinstance(body, RpcFinished) and short_method(body.method) == "NodeStageVolume"
    ]
    assert [(body.attempt, body.code) for body in stages] == [(1, 14), (2, 14), (3, 0)]
    assert "fault injected" in stages[0].message


def test_the_death_of_a_fuse_process_is_told(driver: Driver) -> None:
    """Which process of which volume, and how it ended."""
    volume = Volume(driver, "dying").up()
    [pid] = driver.daemons()
    with _subscribed(driver, FeedReader()) as feed:
        driver.clean_daemons()
        told = feed.until(
            lambda told: any(
                isinstance(body, FuseObserved) and body.daemon and body.daemon.exited for body in told
            )
        )
    [last] = [body for body in told if isinstance(body, FuseObserved) and body.aborted]
    assert last.daemon is not None
    assert (last.volume_id, last.daemon.pid, last.daemon.exited) == (
        volume.volume_id,
        pid,
        "killed by SIGKILL",
    )


def test_a_restarted_driver_tells_what_it_found(driver: Driver) -> None:
    """A subscriber of the old driver hears from the new one that mounts and FUSE process are still there, none vanished,
    and its counts go on from where they were."""
    volume = Volume(driver, "kept").up()
    (volume.target / "file").write_bytes(bytes(5000))
    reader = FeedReader()
    with _subscribed(driver, reader) as feed:
        before = list(feed.until(lambda told: _written(told) >= 5000))
    driver.restart()
    (volume.target / "file").write_bytes(bytes(3000))
    with _subscribed(driver, reader) as feed:
        after = feed.until(lambda told: _written(before + told) >= 8000)
    assert _written(before + after) == 8000
    assert _mounted(before + after) == {mount.mount_point for mount in driver.mounted()}
    assert not [body for body in after if isinstance(body, MountVanished)]
