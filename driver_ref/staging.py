"""Volumes staged on this node: each has a FUSE process, from NodeStageVolume to NodeUnstageVolume, and while it fails.

The record says what should be; the mount table and the FUSE processes say what is. `recover` brings them together after
a restart, whatever the driver was doing when it ended.
"""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from csitrace.model.mounts import Mount
from csitrace.model.rpc import Code
from driver_ref import mounts
from driver_ref.calls import VolumeLocks
from driver_ref.daemon import Daemon, DaemonError
from driver_ref.faults import Faults
from driver_ref.fs import channel
from driver_ref.launcher import FuseVolume, Launcher
from driver_ref.refusal import RefusedError
from driver_ref.volumes import NodeRecord, Records, StateDirectory, Target, VolumeRecord
from driver_ref.witness import Witness

_LOG = logging.getLogger(__name__)

_LOOK_AGAIN = 0.5
"""Seconds between two looks for a FUSE process that somebody else starts again."""

_SWEEP_EVERY = 10.0
_REMEMBERED = 32  # dead FUSE connections per volume; numbers grow, so the latest stay


class Staging:
    """The staged volumes of one node. Callers hold the volume's lock, except where a docstring says otherwise."""

    def __init__(
        self,
        state: StateDirectory,
        records: Records[NodeRecord],
        launcher: Launcher,
        node_id: str,
        locks: VolumeLocks,
        faults: Faults,
        witness: Witness,
    ) -> None:
        self._state = state
        self._records = records
        self._launcher = launcher
        self._node_id = node_id
        self._locks = locks
        self._faults = faults
        self._witness = witness
        self._daemons: dict[str, Daemon] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._awaited: set[str] = set()  # volumes whose FUSE process somebody else is to start again

    # ---- what is

    def daemon(self, volume_id: str) -> Daemon | None:
        """The volume's living FUSE process."""
        daemon = self._daemons.get(volume_id)
        return daemon if daemon is not None and daemon.alive else None

    def mount_of(self, record: NodeRecord) -> Mount | None:
        """The mount at the staging path, if the living FUSE process is the one that serves it."""
        daemon = self.daemon(record.volume_id)
        if daemon is None or not record.staging_path:
            return None
        found = mounts.mounted_at(record.staging_path)
        return found[-1] if found and _serves(daemon, found[-1]) else None

    def kill(self, volume_id: str) -> bool:
        """SIGKILL the volume's FUSE process; False when there is none that can be. Needs no lock."""
        daemon = self.daemon(volume_id)
        return daemon is not None and daemon.kill()

    async def push_faults(self, volume_id: str = "") -> None:
        """Tell the FUSE processes (of one volume, or all) which faults hold. Raises DaemonError. Needs no lock."""
        told = [
            daemon.set_faults(self._faults.of_fuse(daemon.hello.volume_id))
            for daemon in self._daemons.values()
            if daemon.alive and volume_id in ("", daemon.hello.volume_id)
        ]
        for outcome in await asyncio.gather(*told, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    # ---- what shall be

    async def save(self, record: NodeRecord) -> None:
        """Keep the record, or forget it when it holds nothing any more."""
        if record.staging_path or record.targets or record.inline:
            await asyncio.to_thread(self._records.save, record.volume_id, record)
        else:
            await asyncio.to_thread(self._records.remove, record.volume_id)

    async def stage(self, volume: VolumeRecord, path: str, mode: str, *, inline: bool = False) -> NodeRecord:
        """Have the volume served at `path`, a canonical path; staged already is fine, a dead FUSE process is replaced.

        `inline`: its bytes are made here, if they are not there; `discard` removes them. UNAVAILABLE where the FUSE process
        is somebody else's to start, and may yet come.
        """
        known = self._records.load(volume.volume_id)
        record = known or NodeRecord(volume_id=volume.volume_id, inline=inline)
        if record.staging_path not in ("", path):
            raise RefusedError(Code.FAILED_PRECONDITION, f"volume is staged at {record.staging_path}")
        if self.mount_of(record) is not None:
            if record.mode != mode:
                raise RefusedError(
                    Code.ALREADY_EXISTS, f"volume is staged at {path} with access mode {record.mode}"
                )
            return record
        dead = _dead(record)
        await self._clear(volume.volume_id, path)
        record = replace(
            record, staging_path=path, mode=mode, capacity_bytes=volume.capacity_bytes, abnormal="", dead=dead
        )
        await self.save(record)
        try:
            await self._serve(record)
        except (DaemonError, OSError) as error:
            _LOG.warning("volume %s: not staged: %s", volume.volume_id, error)
            await self._clear(volume.volume_id, path)
            if inline and known is None:
                await self.discard(record)
            else:
                await self.save(replace(record, staging_path=""))
            code = Code.UNAVAILABLE if self._launcher.restarts else Code.INTERNAL
            raise RefusedError(code, f"cannot start the volume's file system: {error}") from error
        return record

    async def unstage(self, record: NodeRecord) -> None:
        """End the volume's FUSE process and its mount. Never hangs: whatever does not go by itself is killed."""
        found = mounts.mounted_at(record.staging_path)
        await self._clear(record.volume_id, record.staging_path)
        for mount in found:
            self._witness.unmounted(mount)
        await self.save(replace(record, staging_path="", mode="", abnormal="", dead=()))

    async def discard(self, record: NodeRecord) -> None:
        """Forget a volume that is not served any more at the staging path of `record`, a directory of the driver's own: that
        goes, and the bytes of an inline volume with it."""
        if record.inline:
            await asyncio.to_thread(_remove, self._source(record))
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(record.staging_path)
        await self.save(NodeRecord(volume_id=record.volume_id))

    async def resize(self, record: NodeRecord, capacity_bytes: int) -> None:
        """Give the volume a new size. Raises DaemonError when the FUSE process does not take it."""
        daemon = self.daemon(record.volume_id)
        if daemon is not None:
            await daemon.set_size(capacity_bytes)
        await self.save(replace(record, capacity_bytes=capacity_bytes))

    # ---- restart and end of the driver

    async def recover(self) -> None:
        """Take over what an earlier driver left: living FUSE processes, dead mounts, intents never carried out."""
        self._records.sweep()
        records = await asyncio.to_thread(lambda: list(self._records.all()))
        await asyncio.gather(*(self._recover(record) for record in records))
        self._spawn(self._sweep(), "sweep")

    async def close(self) -> None:
        """Let go of the FUSE processes without ending them: the next driver adopts them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for daemon in self._daemons.values():
            await daemon.disconnect()

    # ---- Listener of the FUSE processes

    def counted(self, daemon: Daemon, counters: channel.Counters) -> None:
        """See daemon.Listener."""
        self._witness.counted(daemon, counters)

    def slow(self, daemon: Daemon, operation: channel.SlowOp) -> None:
        """See daemon.Listener."""
        self._witness.sampled(daemon, operation)

    def ended(self, daemon: Daemon) -> None:
        """See daemon.Listener."""
        self._spawn(self._bury(daemon), f"end of fuse {daemon.hello.volume_id}")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bury(self, daemon: Daemon) -> None:
        """Report the end of a FUSE process, and note an unexpected one in the volume's condition."""
        volume_id = daemon.hello.volume_id
        how = await daemon.how_it_ended()
        self._witness.daemon_ended(daemon, how)
        if daemon.stopping:
            return
        _LOG.error("volume %s: its FUSE process %d %s", volume_id, daemon.pid, how)
        async with self._locks.wait(volume_id):
            record = self._records.load(volume_id)
            if self._daemons.get(volume_id) is daemon and record is not None:
                del self._daemons[volume_id]
                await self.save(replace(record, abnormal=f"the FUSE process {daemon.pid} {how}"))
                self._await(volume_id)

    def _await(self, volume_id: str) -> None:
        """Have the volume served again, by the FUSE process that takes the place of a dead one, as soon as there is one."""
        if self._launcher.restarts and volume_id not in self._awaited:
            self._awaited.add(volume_id)
            self._spawn(self._revive(volume_id), f"new fuse {volume_id}")

    async def _revive(self, volume_id: str) -> None:
        try:
            while True:
                async with self._locks.wait(volume_id):
                    record = self._records.load(volume_id)
                    if record is None or not record.staging_path or self.mount_of(record) is not None:
                        return
                    try:
                        if await self._resume(record):
                            return
                    except (DaemonError, OSError) as error:
                        _LOG.warning("volume %s: not served again yet: %s", volume_id, error)
                await asyncio.sleep(_LOOK_AGAIN)
        finally:
            self._awaited.discard(volume_id)

    async def _resume(self, record: NodeRecord) -> bool:
        """Show at all paths of the volume what a new FUSE process serves; False when there is none."""
        daemon = await self._launcher.adopt(record.volume_id)
        if daemon is None:
            return False
        dead = _dead(record)
        try:
            await self._launcher.show(daemon, record.staging_path)
        except (DaemonError, OSError):
            await daemon.disconnect()
            raise
        await self._take(daemon, record)
        await self._shown(record, daemon)
        await self.save(replace(record, abnormal="", dead=dead))
        _LOG.info("volume %s: served again, by FUSE process %d", record.volume_id, daemon.pid)
        return True

    async def _shown(self, record: NodeRecord, daemon: Daemon) -> None:
        """See that the kernel has the mount where it ought to be, and lay it over the dead ones that workloads have."""
        mount = self.mount_of(record)
        if mount is None:
            raise DaemonError(f"the FUSE process {daemon.pid} serves, but not at {record.staging_path}")
        self._witness.mounted(mount)
        for path, target in record.targets.items():
            found = mounts.mounted_at(path)
            if found and found[-1].device != mount.device:
                await asyncio.to_thread(mounts.cover, record.staging_path, path, target.options)
                self._witness.mounted(mounts.mounted_at(path)[-1])

    async def _sweep(self) -> None:
        while True:
            attached = [
                volume.volume_id
                for volume in self._state.volumes.all()
                if self._node_id in volume.attachments
            ]
            try:
                await self._launcher.sweep(attached)
            except OSError as error:
                _LOG.warning("what earlier volumes left is not removed: %s", error)
            await asyncio.sleep(_SWEEP_EVERY)

    async def _serve(self, record: NodeRecord) -> None:
        """Start the FUSE process and see that the kernel has its mount."""
        os.makedirs(record.staging_path, mode=0o750, exist_ok=True)
        if record.inline:
            os.makedirs(self._source(record), mode=0o700, exist_ok=True)
        daemon = await self._launcher.start(
            FuseVolume(
                volume_id=record.volume_id,
                source=self._source(record),
                mountpoint=record.staging_path,
                size=record.capacity_bytes,
            )
        )
        await self._take(daemon, record)
        await self._shown(record, daemon)

    def _source(self, record: NodeRecord) -> Path:
        if record.inline:
            return self._state.inline(self._node_id, record.volume_id)
        return self._state.backing(record.volume_id)

    async def _take(self, daemon: Daemon, record: NodeRecord) -> None:
        self._daemons[daemon.hello.volume_id] = daemon
        daemon.listen(self)
        self._witness.daemon_serves(daemon)
        await daemon.set_size(record.capacity_bytes)  # it may have been started with an earlier one
        await daemon.set_faults(self._faults.of_fuse(daemon.hello.volume_id))

    async def _clear(self, volume_id: str, path: str) -> None:
        """No FUSE process of ours serves the volume, nothing is mounted at `path`."""
        await self._launcher.stop(volume_id, self._daemons.pop(volume_id, None))
        await asyncio.to_thread(mounts.unmount_lazily, path)

    async def _recover(self, record: NodeRecord) -> None:
        """Make one record true again."""
        volume_id = record.volume_id
        table = {mount.mount_point: mount for mount in mounts.mount_table()}
        for path, target in record.targets.items():
            if path in table and target.readonly and not table[path].read_only:
                await asyncio.to_thread(mounts.unmount_lazily, path)  # killed between bind and remount
                del table[path]
        targets: dict[str, Target] = {path: value for path, value in record.targets.items() if path in table}
        record = replace(record, targets=targets)
        if record.staging_path:
            record = await self._recover_stage(record)
        await self.save(record)
        for path in (record.staging_path, *record.targets):
            for mount in mounts.mounted_at(path):
                self._witness.mounted(mount)
        _LOG.info("volume %s: found %s", volume_id, _summary(record))

    async def _recover_stage(self, record: NodeRecord) -> NodeRecord:
        try:
            daemon = await self._launcher.adopt(record.volume_id)
            if daemon is not None:
                await self._take(daemon, record)
        except (DaemonError, OSError) as error:
            self._await(record.volume_id)
            return replace(record, abnormal=str(error))
        if self.mount_of(record) is not None:
            return replace(record, abnormal="")
        if not mounts.mounted_at(record.staging_path):
            await self._clear(record.volume_id, record.staging_path)
            return replace(record, staging_path="", mode="", abnormal="")
        self._await(record.volume_id)
        return replace(record, abnormal=record.abnormal or "the FUSE process ended while no driver was there")


def _dead(record: NodeRecord) -> tuple[int, ...]:
    """The FUSE connections that served the volume until now, as far as somebody may still have mounts of them."""
    paths = {record.staging_path, *record.targets}
    found = {mount.minor for mount in mounts.mount_table() if mount.is_fuse and mount.mount_point in paths}
    return tuple(sorted(found | set(record.dead)))[-_REMEMBERED:]


def _remove(directory: Path) -> None:
    """Remove a directory with all that is in it; one that is not there is removed already."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


def _serves(daemon: Daemon, mount: Mount) -> bool:
    return mount.is_fuse and mount.minor == daemon.hello.connection


def _summary(record: NodeRecord) -> str:
    if record.abnormal:
        return record.abnormal
    return f"{'staged' if record.staging_path else 'not staged'}, {len(record.targets)} published"
