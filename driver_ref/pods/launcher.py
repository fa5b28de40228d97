"""The Node's half of `--launcher pod`: daemons that pods run, met in the directories that they share with this plugin."""

import asyncio
import os
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from driver_ref import mounts
from driver_ref.daemon import Daemon, DaemonError
from driver_ref.launcher import ADOPT_TIMEOUT, FuseVolume, greeting, require_socket_room
from driver_ref.pods import spec

START_TIMEOUT = 60.0


class PodLauncher:
    """See launcher.Launcher. Who starts and ends the pods is the Controller; a daemon that dies is started again by kubelet."""

    restarts = True

    def __init__(self, driver_name: str, directory: Path) -> None:
        """`directory`: what holds the shared directories, on this host. Raises UsageError for too long a path."""
        self._driver_name = driver_name
        self._directory = directory
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        require_socket_room(self._socket("any"), "--kubelet-dir")

    async def start(self, volume: FuseVolume) -> Daemon:
        """See launcher.Launcher: wait for the pod's daemon, and show at the mount point what it has mounted."""
        daemon = await greeting(self._socket(volume.volume_id), volume.volume_id, lambda: True, START_TIMEOUT)
        if daemon is None:
            raise DaemonError("no FUSE pod serves")
        try:
            await self.show(daemon, volume.mountpoint)
        except BaseException:
            await daemon.disconnect()
            raise
        return daemon

    async def adopt(self, volume_id: str) -> Daemon | None:
        """See launcher.Launcher."""
        path = self._socket(volume_id)
        return await greeting(path, volume_id, lambda: _listens(path), ADOPT_TIMEOUT)

    async def stop(self, volume_id: str, daemon: Daemon | None) -> None:
        """See launcher.Launcher: let go. The pod serves on until the Controller takes it away."""
        if daemon is not None:
            await daemon.disconnect()

    async def show(self, daemon: Daemon, path: str) -> None:
        """See launcher.Launcher."""
        volume_id = daemon.hello.volume_id
        source = str(self._directory / spec.key(volume_id) / spec.mountpoint(self._driver_name, volume_id))
        found = mounts.mounted_at(source)
        if not found or not found[-1].is_fuse or found[-1].minor != daemon.hello.connection:
            raise DaemonError(
                f"the FUSE pod serves connection {daemon.hello.connection}, but its mount is not at {source}: does "
                "mount propagation reach this plugin?"
            )
        await asyncio.to_thread(mounts.unmount_lazily, path)
        await asyncio.to_thread(mounts.bind, source, path, ())

    async def sweep(self, volume_ids: Collection[str]) -> None:
        """See launcher.Launcher."""
        kept = {spec.key(volume_id) for volume_id in volume_ids}
        for directory in self._directory.iterdir():
            if directory.name not in kept and not _listens(directory / spec.SOCKET):
                await asyncio.to_thread(_remove, directory)

    def _socket(self, volume_id: str) -> Path:
        return self._directory / spec.key(volume_id) / spec.SOCKET


def _listens(path: Path) -> bool:
    """Whether somebody listens at `path`: the kernel answers for a process that does not."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def _remove(directory: Path) -> None:
    """Take away what a pod that is gone has left: nothing but its socket, empty directories, and mounts without a daemon."""
    below = [
        mount.mount_point
        for mount in mounts.mount_table()
        if Path(mount.mount_point).is_relative_to(directory)
    ]
    for path in reversed(below):
        mounts.unmount_lazily(path)
    with suppress(OSError):  # a pod that comes just now keeps its directory
        for place, _, files in os.walk(directory, topdown=False):
            for name in files:
                if name == spec.SOCKET:
                    os.unlink(os.path.join(place, name))
            os.rmdir(place)
