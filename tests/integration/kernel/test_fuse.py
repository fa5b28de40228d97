"""A served volume under the kernel source's eyes: its daemon, its waiting requests, its sudden death."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from csitrace.model.events import FuseObserved, MountAppeared, MountVanished
from csitrace.sources.kernel import KernelSource
from tests.integration.fs.mounted import MountedVolume, mounted
from tests.integration.kernel.listener import listening


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[MountedVolume]:
    with mounted(tmp_path) as volume:
        yield volume


def _source(below: Path) -> KernelSource:
    return KernelSource(node_name="node-1", kubelet_root=str(below), fuse_interval=0.02)


def _reader(path: Path) -> "subprocess.Popen[bytes]":
    """A program that reads a file; whoever reads a hung mount must not be the test itself."""
    return subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE)


async def test_a_daemon_is_found_with_its_figures(volume: MountedVolume, tmp_path: Path) -> None:
    """The connection is the device's minor; the process behind it is the one that serves, with start time and memory."""
    async with listening(_source(tmp_path)) as listener:
        mount = (await listener.until_heard(MountAppeared)).mount
        seen = await listener.until_heard(FuseObserved, lambda body: body.daemon)
    assert seen.connection == mount.minor == volume.hello.connection
    assert seen.daemon is not None
    assert seen.daemon.pid == volume.process.pid
    assert seen.daemon.started_at is not None
    assert seen.daemon.started_at <= volume.hello.started_at
    assert seen.daemon.rss_bytes
    assert not seen.aborted
    assert not seen.daemon.exited


async def test_a_volume_mounted_later_is_followed_as_well(tmp_path: Path) -> None:
    """Nothing is there at first; the daemon appears with its mount, both go when it unmounts."""
    async with listening(_source(tmp_path)) as listener:
        await listener.until_listed()
        with mounted(tmp_path) as volume:
            await listener.until_heard(
                FuseObserved, lambda body: body.daemon and body.daemon.pid == volume.process.pid
            )
            volume.kill(signal.SIGTERM)
            await listener.until_heard(MountVanished)
        assert not listener.mounts


async def test_requests_that_a_stopped_daemon_leaves_waiting_are_counted(
    volume: MountedVolume, tmp_path: Path
) -> None:
    """A reader of a volume whose daemon is stopped waits, and is seen waiting; when the daemon goes on, nothing waits."""
    (volume.path / "file").write_bytes(b"content")
    async with listening(_source(tmp_path)) as listener:
        await listener.until_heard(FuseObserved, lambda body: body.daemon and body.waiting == 0)
        volume.kill(signal.SIGSTOP)
        with _reader(volume.path / "file") as reader:
            try:
                stuck = await listener.until_heard(FuseObserved, lambda body: body.waiting)
                await listener.until_heard(
                    FuseObserved, lambda body: body.daemon and body.daemon.state == "T"
                )
            finally:
                volume.kill(signal.SIGCONT)
            assert reader.communicate()[0] == b"content"
        since = listener.heard.index(stuck)
        await listener.until(
            lambda: any(
                isinstance(body, FuseObserved) and body.waiting == 0 for body in listener.heard[since:]
            ),
            "nothing waiting any more",
        )


async def test_a_killed_daemon_is_told_with_its_signal_and_the_dead_mount_stays(
    volume: MountedVolume, tmp_path: Path
) -> None:
    """The death is told at once and how it came; the connection is aborted; the mount is there until somebody unmounts it."""
    async with listening(_source(tmp_path)) as listener:
        await listener.until_heard(FuseObserved, lambda body: body.daemon)
        volume.kill(signal.SIGKILL)
        ended = await listener.until_heard(FuseObserved, lambda body: body.daemon and body.daemon.exited)
        assert ended.daemon is not None
        assert ended.daemon.exited == "killed by SIGKILL"
        aborted = await listener.until_heard(FuseObserved, lambda body: body.aborted)
        assert aborted.daemon is not None
        assert aborted.daemon.exited == "killed by SIGKILL"
        assert listener.mounts
        volume.wait()
        volume.detach()
        await listener.until_heard(MountVanished)


async def test_a_mount_that_was_dead_before_we_looked_is_known_as_dead(
    volume: MountedVolume, tmp_path: Path
) -> None:
    """Nobody saw the daemon die, but no process holds its connection: whoever touches that mount gets ENOTCONN."""
    volume.kill(signal.SIGKILL)
    volume.wait()
    async with listening(_source(tmp_path)) as listener:
        seen = await listener.until_heard(FuseObserved, lambda body: body.aborted)
    assert seen.daemon is None
