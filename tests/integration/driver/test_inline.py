"""Inline ephemeral volumes: published and unpublished alone, as kubelet does it, with nothing before and nothing after."""

import hashlib
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

import grpc
import pytest

from csitrace.csi import csi_pb2
from tests.integration.driver.driving import (
    MIB,
    Driver,
    Volume,
    driving,
    eventually,
    need_fuse,
    refused,
)

Code = grpc.StatusCode


class Inline(Volume):
    """As kubelet asks for it: an id made of pod and volume, the pod's attributes as context."""

    def __init__(self, driver: Driver, name: str, **attributes: str) -> None:
        super().__init__(driver, name)
        self.volume_id = "csi-" + hashlib.sha256(name.encode()).hexdigest()
        self.attributes = attributes

    def publish(self, target: Path | None = None, readonly: bool = False) -> None:
        self.driver.node.NodePublishVolume(
            csi_pb2.NodePublishVolumeRequest(
                volume_id=self.volume_id,
                target_path=str(target or self.target),
                volume_capability=self.capability,
                readonly=readonly,
                volume_context={
                    "csi.storage.k8s.io/ephemeral": "true",
                    "csi.storage.k8s.io/pod.name": "pod",
                    **self.attributes,
                },
            )
        )


def _bytes_of(driver: Driver) -> list[Path]:
    return list(driver.state.glob("inline/*/*"))


def _nothing_left(driver: Driver) -> None:
    """No mount, directory, record, bytes or process."""
    assert driver.mounted() == []
    assert list(driver.directory.glob("kubelet/plugins/*/mounts/*")) == []
    assert list(driver.state.glob("on-node/*/*")) == []
    assert _bytes_of(driver) == []
    eventually(lambda: not driver.daemons(), "the FUSE processes end")


def test_publishing_makes_it_and_unpublishing_removes_it(driver: Driver) -> None:
    """A file system of the size asked for, of which the Controller knows nothing; each call twice; then nothing is left."""
    volume = Inline(driver, "scratch", size="4Mi")
    for _ in range(2):
        volume.publish()
    (volume.target / "file").write_text("x")
    space = os.statvfs(volume.target)
    assert space.f_blocks * space.f_frsize == 4 * MIB
    with pytest.raises(OSError, match="No space left on device"):
        (volume.target / "more").write_bytes(bytes(5 * MIB))
    assert volume.stats().usage[0].total == 4 * MIB
    assert list(driver.controller.ListVolumes(csi_pb2.ListVolumesRequest()).entries) == []
    for _ in range(2):
        volume.unpublish()
    _nothing_left(driver)


def test_one_that_may_only_be_read_is_so(driver: Driver) -> None:
    """`readOnly` of the pod's volume: writing fails with EROFS."""
    volume = Inline(driver, "read")
    volume.publish(readonly=True)
    with pytest.raises(OSError, match="Read-only file system"):
        (volume.target / "file").write_text("x")
    volume.unpublish()
    _nothing_left(driver)


@pytest.mark.parametrize(
    ("attributes", "code", "words"),
    [
        ({"size": "much"}, Code.INVALID_ARGUMENT, "67108864 or 64Mi, not 'much'"),
        ({"size": "0"}, Code.INVALID_ARGUMENT, "not '0'"),
        ({"size": "1"}, Code.OUT_OF_RANGE, "volumes have 1048576 to"),
        ({"size": "9999Ti"}, Code.OUT_OF_RANGE, "cannot be"),
        ({"siez": "4Mi"}, Code.INVALID_ARGUMENT, "'siez' is not known; there is only 'size'"),
    ],
)
def test_attributes_that_make_no_sense_are_refused(
    driver: Driver, attributes: dict[str, str], code: Code, words: str
) -> None:
    """With the word that is wrong, and nothing is made."""
    with refused(code, words):
        Inline(driver, "wrong", **attributes).publish()
    _nothing_left(driver)


def test_an_id_that_is_not_kubelets_is_refused(driver: Driver) -> None:
    """The id names directories: neither a way out of them nor another volume's is taken."""
    volume = Inline(driver, "id")
    for volume_id in ("../../elsewhere", "ref-" + "0" * 20):
        volume.volume_id = volume_id
        with refused(Code.INVALID_ARGUMENT, "64 hexadecimal digits"):
            volume.publish()
    _nothing_left(driver)


def test_another_size_for_the_same_volume_is_refused(driver: Driver) -> None:
    """ALREADY_EXISTS, and what is published stays as it is."""
    volume = Inline(driver, "same", size="4Mi")
    volume.publish()
    volume.attributes["size"] = "8Mi"
    with refused(Code.ALREADY_EXISTS, f"{4 * MIB} bytes"):
        volume.publish()
    assert volume.stats().usage[0].total == 4 * MIB
    volume.unpublish()
    _nothing_left(driver)


def test_where_it_cannot_be_shown_nothing_stays(driver: Driver) -> None:
    """The target's directory cannot be made: the call is refused, and nobody has to ask for the rest to be taken away."""
    volume = Inline(driver, "nowhere")
    volume.target = driver.directory / "missing" / "target"
    with refused(Code.INTERNAL, "No such file or directory"):
        volume.publish()
    _nothing_left(driver)


def test_its_bytes_last_as_long_as_the_pod(driver: Driver) -> None:
    """Driver, FUSE process and mounts are all gone, as after a reboot: published again it has its files; unpublished, and
    nothing is left."""
    volume = Inline(driver, "rebooted")
    volume.publish()
    (volume.target / "kept").write_text("data")
    driver.kill()
    driver.clean()
    assert driver.mounted() == []
    driver.restart()
    volume.publish()
    assert (volume.target / "kept").read_text() == "data"
    volume.unpublish()
    _nothing_left(driver)


def test_killed_at_any_point_nothing_is_left_behind() -> None:
    """For every second N: killed before the N-th change it makes to disk, mounts or processes, then restarted and asked again,
    the driver publishes the volume, and removes all of it."""
    need_fuse()
    with driving() as driver:
        for point in count(2, 2):
            driver.stop()
            if not driver.start(crash_at=point):
                driver.restart()
                continue
            volume = Inline(driver, f"volume-{point}")
            deaths = [_until_done(driver, step) for step in (volume.publish, volume.unpublish)]
            _nothing_left(driver)
            if not any(deaths):
                break
    assert point > 15, "most of the points were never reached"


def _until_done(driver: Driver, step: Callable[[], object]) -> bool:
    """Do a step; a driver that dies over it is started again and asked again. True when it died."""
    try:
        step()
    except grpc.RpcError:
        eventually(lambda: not driver.alive, "the driver is dead")
        driver.restart()
        step()
        return True
    return False
