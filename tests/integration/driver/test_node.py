"""The Node service on real mounts: staged, published, expanded, broken and taken away."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from csitrace.csi import csi_pb2
from tests.integration.driver.driving import (
    MIB,
    Driver,
    SingleWriter,
    Volume,
    capability,
    driving,
    eventually,
    need_fuse,
    refused,
)

Code = grpc.StatusCode


def test_a_published_volume_is_the_same_file_system_at_every_target(driver: Driver) -> None:
    """Two targets and the staging path show one FUSE file system; each target goes alone, its directory with it."""
    volume = Volume(driver, "shared").up()
    second = driver.directory / "second"
    volume.publish(second)
    (volume.target / "file").write_text("x")
    assert (second / "file").read_text() == "x"
    assert len({mount.device for mount in driver.mounted()}) == 1
    volume.unpublish(second)
    assert not second.exists()
    assert (volume.target / "file").read_text() == "x"
    volume.down()
    assert driver.mounted() == []


def test_every_call_may_be_repeated(driver: Driver) -> None:
    """Each call twice: the second changes nothing and is answered OK, on the way up and on the way down."""
    volume = Volume(driver, "again")
    volume.create()
    steps: list[Callable[[], object]] = [volume.attach, volume.stage, volume.publish]
    for step in steps:
        step()
        before = driver.mounted()
        step()
        assert driver.mounted() == before
    steps = [volume.unpublish, volume.unstage, volume.detach, volume.delete]
    for step in steps:
        step()
        step()


def test_read_only_is_enforced_by_the_mount(driver: Driver) -> None:
    """readonly: writing fails with EROFS at that target and works at the other; publishing it otherwise is ALREADY_EXISTS."""
    volume = Volume(driver, "readonly").up()
    other = driver.directory / "readonly-target-2"
    volume.publish(other, readonly=True)
    with pytest.raises(OSError, match="Read-only file system"):
        (other / "file").write_text("x")
    (volume.target / "file").write_text("x")
    with refused(Code.ALREADY_EXISTS):
        volume.publish(other, readonly=False)


def test_mount_flags_reach_the_mount_and_unknown_ones_are_refused(driver: Driver) -> None:
    """`noexec` from the StorageClass's mountOptions is in the target's options; `nosuch` is refused by name."""
    volume = Volume(driver, "flags")
    volume.capability = capability(SingleWriter, "noexec", "nosuid")
    volume.up()
    mount = volume.mount_at(volume.target)
    assert mount is not None
    assert {"noexec", "nosuid"} <= set(mount.options.split(","))
    volume.capability = capability(SingleWriter, "nosuch")
    with refused(Code.FAILED_PRECONDITION, "'nosuch'"):
        volume.publish()


def test_a_single_writer_has_one_target(driver: Driver) -> None:
    """SINGLE_NODE_SINGLE_WRITER (ReadWriteOncePod): a second target is FAILED_PRECONDITION until the first is gone."""
    volume = Volume(driver, "once")
    volume.capability = capability(SingleWriter)
    volume.up()
    second = driver.directory / "second"
    with refused(Code.FAILED_PRECONDITION, "single writer"):
        volume.publish(second)
    assert not second.exists()
    volume.unpublish()
    volume.publish(second)


@pytest.mark.parametrize("skipped", ["attach", "stage"])
def test_no_step_may_be_left_out(driver: Driver, skipped: str) -> None:
    """Staging a volume that is not attached, and publishing one that is not staged, are FAILED_PRECONDITION."""
    volume = Volume(driver, "hasty")
    volume.create()
    with refused(Code.FAILED_PRECONDITION):
        if skipped == "attach":
            volume.stage()
        else:
            volume.attach()
            volume.publish()
    assert driver.mounted() == []


def test_a_volume_that_does_not_exist_is_not_found(driver: Driver) -> None:
    """NOT_FOUND for every call that needs one; the way back of what never was is done already."""
    volume = Volume(driver, "nothing")
    volume.volume_id = "ref-" + "0" * 20
    steps: list[Callable[[], object]] = [volume.attach, volume.stage, volume.publish, volume.stats]
    for step in steps:
        with refused(Code.NOT_FOUND):
            step()
    steps = [volume.unpublish, volume.unstage, volume.detach, volume.delete]
    for step in steps:
        step()


def test_the_end_of_a_fuse_process_is_noticed_and_the_next_stage_mends_it(driver: Driver) -> None:
    """Killed: both witnesses of health say so at once, publishing is refused, staging starts a new process on the same
    data, and the target of the dead one shows it, too."""
    volume = Volume(driver, "dying").up()
    (volume.target / "kept").write_text("data")
    [pid] = driver.daemons()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: volume.stats().volume_condition.abnormal, "the end is noticed")
    words = f"{pid} killed by SIGKILL"
    eventually(
        lambda: words in volume.stats().volume_condition.message,
        "how it ended is told, once it has been waited for",
    )
    with refused(Code.INTERNAL, "staged again"):
        volume.publish(driver.directory / "another")
    health = csi_pb2.ControllerGetVolumeHealthRequest(volume_id=volume.volume_id)
    [entry] = driver.controller.ControllerGetVolumeHealth(health).volume_health.health_statuses
    assert entry.reason == "FuseProcessDead"
    volume.stage()
    assert not volume.stats(volume.staging).volume_condition.abnormal
    assert not volume.stats().volume_condition.abnormal
    assert (volume.target / "kept").read_text() == "data"
    volume.publish()
    volume.down()
    assert driver.mounted() == []


@contextmanager
def _workload(propagation: str, volume: Path, own: Path) -> Iterator[int]:
    """A process with mounts of its own, made from ours, that has the volume at `own`, as a container has; its pid.

    `propagation`: of what we mount later.
    """
    own.mkdir(exist_ok=True)
    script = 'mount --bind "$0" "$1" && echo && exec cat'
    process = subprocess.Popen(
        ["unshare", "--mount", f"--propagation={propagation}", "sh", "-c", script, str(volume), str(own)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"\n"
        yield process.pid
    finally:
        process.communicate()


def _read(pid: int, path: Path) -> str:
    """What a process with mounts of its own reads; empty when it cannot."""
    command = ["nsenter", f"--target={pid}", "--mount", "cat", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("readonly", [False, True])
def test_a_running_workload_gets_the_new_mount_if_it_lets_mounts_in(driver: Driver, readonly: bool) -> None:
    """After the FUSE process was replaced, twice: a mount namespace that is a slave of ours (HostToContainer) reads the files
    again, read-only where it was so; a private one does not, and the condition says so until it is gone."""
    volume = Volume(driver, "healed").up()
    shared = driver.directory / "shared"
    shared.mkdir()
    target = shared / "target"
    subprocess.run(["mount", "--bind", str(shared), str(shared)], check=True)
    subprocess.run(["mount", "--make-shared", str(shared)], check=True)
    try:
        (volume.target / "kept").write_text("data")
        volume.publish(target, readonly)
        own = driver.directory / "own"
        with _workload("slave", target, own) as slave:
            for _ in range(2):
                with _workload("private", target, own) as private:
                    assert _read(slave, own / "kept") == _read(private, own / "kept") == "data"
                    os.kill(driver.daemons()[0], signal.SIGKILL)
                    eventually(lambda: volume.stats().volume_condition.abnormal, "the end is noticed")
                    volume.stage()
                    assert _read(slave, own / "kept") == "data"
                    assert _read(private, own / "kept") == ""
                    assert "container must be started anew" in volume.stats(target).volume_condition.message
                assert not volume.stats(target).volume_condition.abnormal
                touch = ["nsenter", f"--target={slave}", "--mount", "touch", str(own / "new")]
                touched = subprocess.run(touch, capture_output=True, check=False)
                assert (touched.returncode != 0) is readonly
        volume.unpublish(target)
        volume.down()
    finally:
        subprocess.run(["umount", "--lazy", str(shared)], check=True)
    assert driver.mounted() == []


def test_a_dead_volume_is_taken_down_without_a_hitch(driver: Driver) -> None:
    """The FUSE process is dead and nobody stages again: the way back works all the same."""
    volume = Volume(driver, "dead").up()
    driver.clean_daemons()
    volume.down()
    assert driver.mounted() == []


def test_a_stopped_fuse_process_cannot_hold_up_the_way_back(driver: Driver) -> None:
    """SIGSTOP, with a reader hanging in the mount: stats are told, and unpublish and unstage come to an end."""
    volume = Volume(driver, "hung").up()
    (volume.target / "file").write_text("x")
    [pid] = driver.daemons()
    os.kill(pid, signal.SIGSTOP)
    reader = subprocess.Popen([sys.executable, "-c", f"import os; os.listdir({str(volume.target)!r})"])
    try:
        wchan = Path(f"/proc/{reader.pid}/wchan")
        eventually(lambda: wchan.read_text() == "request_wait_answer", "the reader hangs in the mount")
        assert {usage.total for usage in volume.stats().usage} == {64 * MIB, 0}
        volume.down()
        assert driver.mounted() == []
    finally:
        reader.kill()
        reader.wait()


def test_a_busy_volume_is_taken_away_from_its_user(driver: Driver) -> None:
    """A process with an open file and its working directory in the target does not stop the way back."""
    volume = Volume(driver, "busy").up()
    program = "import sys; held = open('held', 'w'); print('ready', flush=True); sys.stdin.read()"
    user = subprocess.Popen(
        [sys.executable, "-c", program], cwd=volume.target, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert user.stdout is not None
        assert user.stdout.readline() == b"ready\n"
        volume.down()
        assert driver.mounted() == []
        eventually(lambda: driver.daemons() == [], "the FUSE process ends")
    finally:
        user.communicate()


def test_expansion_reaches_the_mounted_file_system(driver: Driver) -> None:
    """ControllerExpand then NodeExpand: statfs in the pod and the volume's stats show the new size, and it can be filled."""
    volume = Volume(driver, "growing").up(2 * MIB)
    with pytest.raises(OSError, match="No space left on device"):
        (volume.target / "file").write_bytes(bytes(3 * MIB))
    too_early = csi_pb2.NodeExpandVolumeRequest(
        volume_id=volume.volume_id,
        volume_path=str(volume.target),
        capacity_range=csi_pb2.CapacityRange(required_bytes=8 * MIB),
    )
    with refused(Code.OUT_OF_RANGE, "Controller first"):
        driver.node.NodeExpandVolume(too_early)
    grown = driver.controller.ControllerExpandVolume(
        csi_pb2.ControllerExpandVolumeRequest(
            volume_id=volume.volume_id, capacity_range=csi_pb2.CapacityRange(required_bytes=8 * MIB)
        )
    )
    assert (grown.capacity_bytes, grown.node_expansion_required) == (8 * MIB, True)
    assert driver.node.NodeExpandVolume(too_early).capacity_bytes == 8 * MIB
    space = os.statvfs(volume.target)
    assert space.f_blocks * space.f_frsize == 8 * MIB
    (volume.target / "file").write_bytes(bytes(3 * MIB))
    eventually(lambda: volume.stats().usage[0].used >= 3 * MIB, "the stats count what was written")
    assert volume.stats().usage[0].total == 8 * MIB


def test_without_staging_the_driver_mounts_where_it_likes(tmp_path: Path) -> None:
    """`--without stage`: NodePublish alone serves the volume, the last NodeUnpublish ends its FUSE process."""
    need_fuse()
    with driving("--without=stage") as driver:
        volume = Volume(driver, "unstaged")
        volume.create()
        volume.attach()
        with refused(Code.UNIMPLEMENTED, "stage"):
            volume.stage()
        volume.publish()
        (volume.target / "file").write_text("x")
        volume.unpublish()
        assert driver.mounted() == []
        eventually(lambda: driver.daemons() == [], "the FUSE process ends")


def test_a_fuse_process_that_cannot_start_leaves_nothing(driver: Driver) -> None:
    """The staging path is a file: INTERNAL with the reason, no mount, no record; it works when the cause is gone."""
    volume = Volume(driver, "stuck")
    volume.create()
    volume.attach()
    volume.staging.write_text("in the way")
    with refused(Code.INTERNAL, "cannot start the volume's file system"):
        volume.stage()
    assert driver.mounted() == []
    assert list(driver.state.glob("on-node/*/*")) == []
    volume.staging.unlink()
    volume.stage()
    volume.publish()


def test_paths_through_symbolic_links_are_the_same_paths(driver: Driver) -> None:
    """A kubelet directory that is a symbolic link (as on some distributions) changes nothing."""
    real = driver.directory / "real"
    real.mkdir()
    link = driver.directory / "link"
    link.symlink_to(real)
    volume = Volume(driver, "linked")
    volume.staging, volume.target = link / "staging", link / "target"
    volume.up()
    volume.stage()
    volume.publish()
    assert len(driver.mounted()) == 2
    volume.down()
    assert driver.mounted() == []
