"""The driver is killed, at any point, and started again: nothing is lost and nothing is left behind."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import grpc
import pytest

from csitrace.csi import csi_pb2
from tests.integration.driver.driving import Driver, Volume, driving, eventually, need_fuse

_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def _life(volume: Volume) -> list[Callable[[], object]]:
    """A volume's whole life, each step as its caller would repeat it."""

    def write() -> None:
        (volume.target / "kept").write_text("data")

    def read() -> None:
        assert (volume.target / "kept").read_text() == "data"

    return [
        volume.create,
        volume.attach,
        volume.stage,
        volume.publish,
        write,
        read,
        volume.unpublish,
        volume.unstage,
        volume.detach,
        volume.delete,
    ]


def _remains(driver: Driver) -> set[str]:
    """Every mount and every file of the driver's state, but what is written while it runs: sockets, locks, logs."""
    files = {
        str(path)
        for kind in ("volumes", "on-node/*", "data", "trash")
        for path in driver.state.glob(f"{kind}/*")
    }
    return files | {mount.mount_point for mount in driver.mounted()}


def _nothing_left(driver: Driver) -> None:
    """No mount, no record, no data, and no process."""
    assert driver.mounted() == []
    assert list(driver.state.glob("volumes/*")) == []
    assert list(driver.state.glob("on-node/*/*")) == []
    assert list(driver.state.glob("data/*")) == []
    eventually(lambda: not driver.daemons(), "the FUSE processes end")


def _repeat_until_done(driver: Driver, step: Callable[[], object]) -> bool:
    """Do a step; a driver that dies over it is started again and asked again. True when it died."""
    try:
        step()
    except grpc.RpcError as error:
        if error.code() not in _GONE:
            raise
        eventually(lambda: not driver.alive, "the driver is dead")
        driver.restart()
        step()
        return True
    return False


@pytest.mark.timeout(180)
def test_killed_at_any_point_the_driver_goes_on_from_there() -> None:
    """For every N: killed before the N-th change it makes to disk, mounts or processes, be it while it starts, then
    restarted and asked again, the driver carries a volume through its whole life, its data intact, while another one
    stays published; nothing is left in the end."""
    need_fuse()
    with ThreadPoolExecutor(2) as pool:
        last = max(pool.map(_kill_at_every_second_point, (1, 2)))
    assert last > 40, "most of the points were never reached"


def _kill_at_every_second_point(first: int) -> int:
    """Returns the first point that was not reached any more."""
    with driving() as driver:
        resident = Volume(driver, "resident").up()
        (resident.target / "kept").write_text("data")
        before = _remains(driver)
        for point in count(first, 2):
            driver.stop()
            if not driver.start(crash_at=point):
                driver.restart()
                continue
            volume = Volume(driver, f"volume-{point}")
            deaths = [_repeat_until_done(driver, step) for step in _life(volume)]
            assert _remains(driver) == before
            assert (resident.target / "kept").read_text() == "data"
            assert not resident.stats().volume_condition.abnormal
            if not any(deaths):
                break
        driver.restart()
        resident.down()
        _nothing_left(driver)
    return point


def test_a_new_driver_adopts_the_living_fuse_process(driver: Driver) -> None:
    """A killed driver's FUSE process serves on; the next driver takes it over, sees its end, and can end it."""
    volume = Volume(driver, "adopted").up()
    (volume.target / "before").write_text("x")
    pids = driver.daemons()
    driver.kill()
    assert (volume.target / "before").read_text() == "x"
    assert driver.start()
    assert driver.daemons() == pids
    volume.stage()
    volume.publish()
    assert driver.daemons() == pids, "staging again is already done"
    assert {usage.unit for usage in volume.stats().usage} == {1, 2}
    volume.down()
    _nothing_left(driver)


def test_a_fuse_process_that_died_with_the_driver_is_found_dead(driver: Driver) -> None:
    """Both were killed: the restarted driver reports the volume abnormal, and staging again makes it usable."""
    volume = Volume(driver, "orphan").up()
    driver.kill()
    driver.clean_daemons()
    assert driver.start()
    assert volume.stats().volume_condition.abnormal
    volume.stage()
    volume.publish()
    assert not volume.stats().volume_condition.abnormal
    (volume.target / "again").write_text("x")
    volume.down()
    _nothing_left(driver)


def test_mounts_that_vanished_with_a_reboot_are_forgotten(driver: Driver) -> None:
    """After a reboot the records speak of mounts that are gone: the driver starts with none, and stages anew."""
    volume = Volume(driver, "rebooted").up()
    (volume.target / "kept").write_text("data")
    driver.clean()
    assert driver.start()
    request = csi_pb2.NodeGetVolumeHealthRequest(volume_id=volume.volume_id)
    with pytest.raises(grpc.RpcError, match="is not on this node"):
        driver.node.NodeGetVolumeHealth(request)
    volume.stage()
    volume.publish()
    assert (volume.target / "kept").read_text() == "data"
    volume.down()
    _nothing_left(driver)


def test_a_fuse_process_that_does_not_answer_a_new_driver_is_replaced(driver: Driver) -> None:
    """Stopped while no driver was there: the next one starts all the same, says what is wrong, and stages with a new one."""
    volume = Volume(driver, "stopped").up()
    (volume.target / "kept").write_text("data")
    [pid] = driver.daemons()
    driver.kill()
    os.kill(pid, signal.SIGSTOP)
    assert driver.start()
    assert "did not answer" in volume.stats().volume_condition.message
    volume.stage()
    volume.publish()
    assert (volume.target / "kept").read_text() == "data"
    assert pid not in driver.daemons()
    volume.down()
    _nothing_left(driver)


def test_sigterm_ends_the_driver_and_leaves_the_volumes_alone(driver: Driver) -> None:
    """SIGTERM: exit code 0, also while a call hangs, and what is published stays readable."""
    volume = Volume(driver, "served").up()
    (volume.target / "file").write_text("x")
    driver.fault("NodeStageVolume", "hang")
    with pytest.raises(grpc.RpcError):
        volume.stage(timeout=0.1)
    assert driver.stop() == 0
    assert (volume.target / "file").read_text() == "x"
    assert driver.start()
    volume.down()
    _nothing_left(driver)
