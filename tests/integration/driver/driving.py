"""The reference driver as a process of its own for a test: started fast, called over its sockets, and never left behind.

Drivers are forked from a server that has imported everything (multiprocessing's forkserver), so that a test may kill and
restart one dozens of times.
"""

import asyncio
import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from csitrace.csi import csi_pb2, csi_pb2_grpc
from csitrace.model.mounts import Mount
from driver_ref import __main__ as program
from driver_ref import mounts
from driver_ref.proto import faults_pb2, faults_pb2_grpc

PATIENCE_SECONDS = 20.0
MIB = 1 << 20

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["driver_ref.server", "tests.integration.driver.driving"])

Writer = csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
SingleWriter = csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_SINGLE_WRITER
Reader = csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_READER_ONLY


def need_fuse() -> None:
    """Skip where FUSE cannot be mounted; on CI, where it must be possible, fail."""
    if os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK):
        return
    reason = "mounting FUSE needs root and /dev/fuse"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def eventually(claim: Callable[[], object], what: str) -> None:
    """Wait until the claim is true; fail saying what was waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not claim():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE_SECONDS:.0f} s in vain: {what}")
        time.sleep(0.01)


def capability(
    mode: "csi_pb2.VolumeCapability.AccessMode.Mode.ValueType" = Writer, *flags: str
) -> csi_pb2.VolumeCapability:
    """A mount capability."""
    return csi_pb2.VolumeCapability(
        mount=csi_pb2.VolumeCapability.MountVolume(mount_flags=flags),
        access_mode=csi_pb2.VolumeCapability.AccessMode(mode=mode),
    )


@contextmanager
def refused(code: grpc.StatusCode, words: str = "") -> Iterator[None]:
    """The block's call is answered with this code, and a message that has these words."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    error: Any = caught.value
    assert (error.code(), words in error.details()) == (code, True), f"{error.code()}: {error.details()}"


class Driver:
    """One driver on a directory of its own, killed and started again at will. Made by `driving`."""

    node_id = "node-1"
    clear_all = faults_pb2.ClearFaultsRequest()

    def __init__(self, directory: Path, options: tuple[str, ...]) -> None:
        self.directory = directory
        self.state = directory / "s"
        self.endpoint = directory / "csi.sock"
        self.feed = directory / "feed.sock"
        self.registration = directory / "reg"
        self.log = directory / "driver.log"
        self.options = options
        self._process: Any = None
        self._channels: list[grpc.Channel] = []

    def start(self, crash_at: int = 0) -> bool:
        """Start, and wait until calls are answered; false when it died before (`crash_at`: see `run_driver`)."""
        arguments = [
            f"--endpoint=unix://{self.endpoint}",
            f"--node-id={self.node_id}",
            f"--state-dir={self.state}",
            f"--registration-dir={self.registration}",
            f"--feed=unix://{self.feed}",
            f"--kubelet-dir={self.directory / 'kubelet'}",
            *self.options,
        ]
        for path in (self.endpoint, self.feed):
            path.unlink(missing_ok=True)
        self._process = _processes.Process(target=run_driver, args=(arguments, str(self.log), crash_at))
        self._process.start()
        channel = self._connect(self.endpoint)
        self.identity: Any = csi_pb2_grpc.IdentityStub(channel)
        self.controller: Any = csi_pb2_grpc.ControllerStub(channel)
        self.node: Any = csi_pb2_grpc.NodeStub(channel)
        self.faults: Any = faults_pb2_grpc.FaultsStub(self._connect(self.feed))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.alive:
            if self.feed.exists() and self.endpoint.exists():
                with suppress(grpc.RpcError):
                    self.identity.Probe(csi_pb2.ProbeRequest(), wait_for_ready=True, timeout=1)
                    return True
            if time.monotonic() > deadline:
                pytest.fail(f"the driver did not start: {self.log.read_text()}")
            time.sleep(0.01)
        return False

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.exitcode is None

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.join()
        self._hang_up()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self._process.terminate()
        self._process.join()
        self._hang_up()
        return int(self._process.exitcode)

    def restart(self) -> None:
        """kill -9 and start again."""
        if self.alive:
            self.kill()
        assert self.start(), self.log.read_text()

    def fault(self, target: str, effect: str, volume_id: str = "") -> None:
        """Arm a fault."""
        fault = faults_pb2.Fault(target=target, effect=effect, volume_id=volume_id)
        self.faults.SetFault(faults_pb2.SetFaultRequest(fault=fault))

    def mounted(self) -> list[Mount]:
        """What is mounted below the driver's directory."""
        return [mount for mount in mounts.mount_table() if mount.mount_point.startswith(f"{self.directory}/")]

    def daemons(self) -> list[int]:
        """The pids of the living FUSE processes, from their control sockets."""
        found = []
        for path in self.state.glob("run/*/*.sock"):
            with socket.socket(socket.AF_UNIX) as connection, suppress(OSError, ValueError):
                connection.settimeout(2)
                connection.connect(str(path))
                found.append(int(json.loads(connection.makefile().readline())["pid"]))
        return found

    def clean(self) -> None:
        """End everything: driver, mounts, FUSE processes."""
        if self.alive:
            self.kill()
        self.clean_daemons()
        for mount in reversed(self.mounted()):
            mounts.unmount_lazily(mount.mount_point)

    def clean_daemons(self) -> None:
        """kill -9 every FUSE process."""
        for pid in self.daemons():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self.daemons(), "the FUSE processes are dead")

    def _connect(self, path: Path) -> grpc.Channel:
        # Each start is a new server: no channel may remember, or share with another, how the last one failed.
        channel = grpc.insecure_channel(f"unix:{path}", options=[("grpc.use_local_subchannel_pool", 1)])
        self._channels.append(channel)
        return channel

    def _hang_up(self) -> None:
        for channel in self._channels:
            channel.close()
        self._channels.clear()


class Volume:
    """The calls of one volume's life, as the orchestrator makes them."""

    def __init__(self, driver: Driver, name: str) -> None:
        self.driver = driver
        self.name = name
        self.volume_id = ""
        self.capability = capability()
        self.staging = driver.directory / f"{name}-staging"
        self.target = driver.directory / f"{name}-target"

    def create(self, size: int = 64 * MIB, **parameters: str) -> csi_pb2.Volume:
        request = csi_pb2.CreateVolumeRequest(
            name=self.name,
            capacity_range=csi_pb2.CapacityRange(required_bytes=size),
            volume_capabilities=[self.capability],
            parameters={key.replace("__", "."): value for key, value in parameters.items()},
        )
        volume: csi_pb2.Volume = self.driver.controller.CreateVolume(request).volume
        self.volume_id = volume.volume_id
        return volume

    def attach(self, readonly: bool = False) -> None:
        self.driver.controller.ControllerPublishVolume(
            csi_pb2.ControllerPublishVolumeRequest(
                volume_id=self.volume_id,
                node_id=self.driver.node_id,
                volume_capability=self.capability,
                readonly=readonly,
            )
        )

    def stage(self, timeout: float | None = None) -> None:
        self.driver.node.NodeStageVolume(self.stage_request(), timeout=timeout)

    def stage_request(self) -> csi_pb2.NodeStageVolumeRequest:
        return csi_pb2.NodeStageVolumeRequest(
            volume_id=self.volume_id, staging_target_path=str(self.staging), volume_capability=self.capability
        )

    def publish(self, target: Path | None = None, readonly: bool = False) -> None:
        self.driver.node.NodePublishVolume(
            csi_pb2.NodePublishVolumeRequest(
                volume_id=self.volume_id,
                staging_target_path=str(self.staging),
                target_path=str(target or self.target),
                volume_capability=self.capability,
                readonly=readonly,
            )
        )

    def stats(self, path: Path | None = None) -> csi_pb2.NodeGetVolumeStatsResponse:
        request = csi_pb2.NodeGetVolumeStatsRequest(
            volume_id=self.volume_id, volume_path=str(path or self.target)
        )
        response: csi_pb2.NodeGetVolumeStatsResponse = self.driver.node.NodeGetVolumeStats(request)
        return response

    def unpublish(self, target: Path | None = None) -> None:
        self.driver.node.NodeUnpublishVolume(
            csi_pb2.NodeUnpublishVolumeRequest(
                volume_id=self.volume_id, target_path=str(target or self.target)
            )
        )

    def unstage(self) -> None:
        self.driver.node.NodeUnstageVolume(
            csi_pb2.NodeUnstageVolumeRequest(volume_id=self.volume_id, staging_target_path=str(self.staging))
        )

    def detach(self) -> None:
        self.driver.controller.ControllerUnpublishVolume(
            csi_pb2.ControllerUnpublishVolumeRequest(volume_id=self.volume_id, node_id=self.driver.node_id)
        )

    def delete(self) -> None:
        self.driver.controller.DeleteVolume(csi_pb2.DeleteVolumeRequest(volume_id=self.volume_id))

    def up(self, size: int = 64 * MIB, **parameters: str) -> "Volume":
        """Create, attach, stage and publish."""
        self.create(size, **parameters)
        self.attach()
        self.stage()
        self.publish()
        return self

    def down(self) -> None:
        """The way back."""
        self.unpublish()
        self.unstage()
        self.detach()
        self.delete()

    def mount_at(self, path: Path) -> Mount | None:
        """What is mounted there."""
        return next((mount for mount in self.driver.mounted() if mount.mount_point == str(path)), None)


@contextmanager
def driving(*options: str) -> Iterator[Driver]:
    """A started driver; afterwards nothing of it is left."""
    # Not pytest's tmp_path: the paths of sockets must be short.
    directory = Path(tempfile.mkdtemp(prefix="csi-")).resolve()
    driver = Driver(directory, options)
    try:
        assert driver.start(), driver.log.read_text()
        yield driver
    finally:
        driver.clean()
        shutil.rmtree(directory)


def run_driver(arguments: list[str], log: str, crash_at: int) -> None:
    """Runs in the driver's process. With `crash_at` N it kills itself (-9) at the N-th point where it changes the world:
    just before a file is synced, replaced, made or removed, a mount is made or taken away, or a process is started."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if crash_at:
        _arm(crash_at)
    sys.exit(program.main(arguments))


def _arm(crash_at: int) -> None:
    left = crash_at

    def point(name: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            print(f"killed before {name}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            point(function.__name__)
            return function(*args, **named)

        return call

    for module, names in (
        (os, ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir")),
        (mounts, ("_mount", "_umount")),
    ):
        for name in names:
            setattr(module, name, guarded(getattr(module, name)))
    start = asyncio.create_subprocess_exec

    async def start_and_point(*args: Any, **named: Any) -> asyncio.subprocess.Process:
        point("the FUSE process is started")
        process = await start(*args, **named)
        point("the FUSE process is known")
        return process

    asyncio.create_subprocess_exec = start_and_point
