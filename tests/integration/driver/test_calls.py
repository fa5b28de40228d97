"""What holds for every call: one per volume, faults on demand, a caller that gives up, secrets."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from csitrace.csi import csi_pb2
from csitrace.feed import feed_pb2, feed_pb2_grpc
from driver_ref.proto import faults_pb2
from tests.integration.driver.driving import PATIENCE_SECONDS, Driver, Volume, eventually, refused

Code = grpc.StatusCode
SECRET = "correct-horse-battery-staple"


def test_one_call_at_a_time_per_volume(driver: Driver) -> None:
    """While one hangs, every other locking call for the volume is ABORTED and names it; other volumes go on."""
    volume = Volume(driver, "busy")
    volume.create()
    volume.attach()
    driver.fault("NodeStageVolume", "hang", volume.volume_id)
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(volume.stage)
        eventually(lambda: _aborted(volume), "the volume is held")
        with refused(Code.ABORTED, "NodeStageVolume is in progress"):
            volume.detach()
        Volume(driver, "free").up().down()
        driver.faults.ClearFaults(faults_pb2.ClearFaultsRequest())
        hanging.result()
    volume.publish()


def _aborted(volume: Volume) -> bool:
    try:
        volume.unstage()
    except grpc.RpcError as error:
        return bool(error.code() is Code.ABORTED)
    return False


def test_a_caller_that_gives_up_does_not_stop_the_work(driver: Driver) -> None:
    """DEADLINE_EXCEEDED for the caller; ABORTED until the work is done, which then counts: the retry finds it done."""
    volume = Volume(driver, "slow")
    volume.create()
    volume.attach()
    driver.fault("NodeStageVolume", "hang:after", volume.volume_id)
    with refused(Code.DEADLINE_EXCEEDED):
        volume.stage(timeout=2)
    with refused(Code.ABORTED, "NodeStageVolume is in progress"):
        volume.stage()
    assert volume.mount_at(volume.staging) is not None
    assert driver.faults.ClearFaults(faults_pb2.ClearFaultsRequest()).cleared == 1
    eventually(lambda: not _held(volume), "the work ends")
    [pid] = driver.daemons()
    volume.stage()
    assert driver.daemons() == [pid]


def _held(volume: Volume) -> bool:
    try:
        volume.stage()
    except grpc.RpcError as error:
        return bool(error.code() is Code.ABORTED)
    return False


def test_a_storage_class_fault_strikes_its_count_and_then_no_more(driver: Driver) -> None:
    """`fault.NodeStageVolume: UNAVAILABLE:count=2` in the parameters: twice UNAVAILABLE, then OK; other volumes are spared."""
    volume = Volume(driver, "faulty")
    volume.create(fault__NodeStageVolume="UNAVAILABLE:count=2", fault__CreateVolume="delay=1ms")
    volume.attach()
    for _ in range(2):
        with refused(Code.UNAVAILABLE, "fault injected"):
            volume.stage()
        assert driver.mounted() == []
    Volume(driver, "spared").up()
    volume.stage()


def test_a_fault_on_create_strikes_before_there_is_a_volume(driver: Driver) -> None:
    """The parameters come with the very call that they are to break, and its retries do not fill the count again."""
    volume = Volume(driver, "stillborn")
    for _ in range(3):
        with refused(Code.RESOURCE_EXHAUSTED):
            volume.create(fault__CreateVolume="RESOURCE_EXHAUSTED:count=3")
    assert list(driver.state.glob("volumes/*")) == []
    volume.create(fault__CreateVolume="RESOURCE_EXHAUSTED:count=3")


def test_after_means_that_the_work_was_done(driver: Driver) -> None:
    """An answer that is lost: the volume is staged, though the caller was told INTERNAL."""
    volume = Volume(driver, "lost")
    volume.create()
    volume.attach()
    driver.fault("NodeStageVolume", "INTERNAL:after:count=1")
    with refused(Code.INTERNAL, "after"):
        volume.stage()
    assert volume.mount_at(volume.staging) is not None
    volume.stage()


def test_fuse_faults_reach_the_file_system_and_go_again(driver: Driver) -> None:
    """EIO on READ from the parameters holds in the mount; the Faults service replaces it, lists it, and clears it."""
    volume = Volume(driver, "rotten").up(fault__fuse__MKDIR="EIO")
    with pytest.raises(OSError, match="Input/output error"):
        (volume.target / "directory").mkdir()
    driver.fault("fuse.MKDIR", "EDQUOT", volume.volume_id)
    with pytest.raises(OSError, match="quota"):
        (volume.target / "directory").mkdir()
    listed = driver.faults.ListFaults(faults_pb2.ListFaultsRequest()).faults
    assert [(fault.target, fault.volume_id, fault.effect) for fault in listed] == [
        ("fuse.MKDIR", volume.volume_id, "EDQUOT")
    ]
    driver.faults.ClearFaults(faults_pb2.ClearFaultsRequest(target="fuse.MKDIR"))
    (volume.target / "directory").mkdir()


def test_a_hang_holds_the_file_system_until_it_is_cleared(driver: Driver) -> None:
    """`fuse.*` hang: whoever looks waits; clearing the fault lets him go on, and nothing was lost."""
    volume = Volume(driver, "frozen").up()
    driver.fault("fuse.*", "hang", volume.volume_id)
    with ThreadPoolExecutor() as pool:
        writing = pool.submit((volume.target / "file").write_text, "x")
        assert not volume.stats().volume_condition.abnormal
        assert not writing.done()
        driver.faults.ClearFaults(faults_pb2.ClearFaultsRequest())
        assert writing.result(timeout=PATIENCE_SECONDS) == 1
    assert (volume.target / "file").read_text() == "x"


def test_the_fuse_process_is_killed_on_demand(driver: Driver) -> None:
    """By the Faults service at once, or as the effect of a call: the call itself then fails on it."""
    volume = Volume(driver, "victim").up()
    driver.faults.KillDaemon(faults_pb2.KillDaemonRequest(volume_id=volume.volume_id))
    eventually(lambda: volume.stats().volume_condition.abnormal, "the end is noticed")
    with refused(Code.NOT_FOUND):
        driver.faults.KillDaemon(faults_pb2.KillDaemonRequest(volume_id=volume.volume_id))
    volume.stage()
    driver.fault("NodePublishVolume", "kill:after:count=1")
    volume.publish()
    eventually(lambda: volume.stats().volume_condition.abnormal, "the end is noticed")


@pytest.mark.parametrize(
    ("target", "effect", "words"),
    [
        ("NodeStage", "EIO", "no such RPC"),
        ("fuse.read", "EIO", "no such FUSE operation"),
        ("fuse.READ", "UNAVAILABLE", "an errno"),
        ("NodeStageVolume", "EIO", "a gRPC code"),
        ("NodeStageVolume", "", "cannot read"),
        ("NodeStageVolume", "count=3", "has no effect"),
        ("NodeStageVolume", "UNAVAILABLE:count=0", "above 0"),
        ("NodeStageVolume", "delay=soon", "not a duration"),
        ("NodeStageVolume", "hang:INTERNAL", "never answers"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(driver: Driver, target: str, effect: str, words: str) -> None:
    """INVALID_ARGUMENT and the word that is wrong."""
    with refused(Code.INVALID_ARGUMENT, words):
        driver.fault(target, effect)


def test_secrets_leave_no_trace(driver: Driver) -> None:
    """Secrets in every request that has them are found neither in the feed, nor in the log, nor below the state directory."""
    volume = Volume(driver, "secretive")
    secrets = {"password": SECRET}
    seen: list[bytes] = []
    with grpc.insecure_channel(f"unix:{driver.feed}") as channel:
        stream = feed_pb2_grpc.TraceFeedStub(channel).Subscribe(feed_pb2.SubscribeRequest(), timeout=30)
        created = driver.controller.CreateVolume(
            csi_pb2.CreateVolumeRequest(
                name="secretive", volume_capabilities=[volume.capability], secrets=secrets
            )
        )
        volume.volume_id = created.volume.volume_id
        volume.attach()
        request = volume.stage_request()
        request.secrets.update(secrets)
        driver.node.NodeStageVolume(request)
        with refused(Code.INVALID_ARGUMENT):
            driver.controller.CreateVolume(csi_pb2.CreateVolumeRequest(name="x", secrets=secrets))
        for batch in stream:
            seen.append(batch.SerializeToString())
            if (
                sum(event.WhichOneof("body") == "rpc_finished" for event in batch.events)
                and b"INVALID" in seen[-1]
            ):
                break
            if b"volume_capabilities is required" in seen[-1]:
                break
    written = [path.read_bytes() for path in _files(driver.directory)]
    assert any(b"NodeStageVolume" in told for told in seen), "the feed told of the call"
    assert any(b"secretive" in text for text in written), "the record was looked at"
    assert not any(SECRET.encode() in text for text in seen + written)


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_two_hundred_volumes_at_once(driver: Driver) -> None:
    """A burst is answered whole: every volume is created and attached, none twice, and all are deleted again."""
    volumes = [Volume(driver, f"burst-{number}") for number in range(200)]
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda volume: (volume.create(), volume.attach()), volumes))
        assert len({volume.volume_id for volume in volumes}) == 200
        list(pool.map(lambda volume: (volume.detach(), volume.delete()), volumes))
    assert list(driver.state.glob("volumes/*")) == []
