"""Volumes staged on this node: each has a FUSE process, from NodeStageVolume to NodeUnstageVolume, and while it fails.

The record says what should be; the mount table and the FUSE processes say what is. `recover` brings them together after
a restart, whatever the driver was doing when it ended.
"""

import asyncio
import logging
import os

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

END_TIMEOUT = 10.0
"""Seconds that a FUSE process gets to write back, unmount and end, before it is killed."""


class Staging:
    """The staged volumes of one node. Callers hold the volume's lock, except where a docstring says otherwise."""

    def __init__(
        self,
        state: StateDirectory,
        records: Records[NodeRecord],
        launcher: Launcher,
        locks: VolumeLocks,
        faults: Faults,
        witness: Witness,
    ) -> None:
        self._state = state
        self._records = records
        self._launcher = launcher
        self._locks = locks
        self._faults = faults
        self._witness = witness
        self._daemons: dict[str, Daemon] = {}
        self._endings: set[asyncio.Task[None]] = set()

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
        """SIGKILL the volume's FUSE process; False when there is none. Needs no lock."""
        daemon = self.daemon(volume_id)
        if daemon is None:
            return False
        daemon.kill()
        return True

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
        if record.staging_path or record.targets:
            await asyncio.to_thread(self._records.save, record.volume_id, record)
        else:
            await asyncio.to_thread(self._records.remove, record.volume_id)

    async def stage(self, volume: VolumeRecord, path: str, mode: str) -> NodeRecord:
        """Have the volume served at `path`, a canonical path; staged already is fine, a dead FUSE process is replaced."""
        record = self._records.load(volume.volume_id) or NodeRecord(volume_id=volume.volume_id)
        if record.staging_path not in ("", path):
            raise RefusedError(Code.FAILED_PRECONDITION, f"volume is staged at {record.staging_path}")
        if self.mount_of(record) is not None:
            if record.mode != mode:
                raise RefusedError(
                    Code.ALREADY_EXISTS, f"volume is staged at {path} with access mode {record.mode}"
                )
            return record
        await self._clear(volume.volume_id, path)
        record = replace(
            record, staging_path=path, mode=mode, capacity_bytes=volume.capacity_bytes, abnormal=""
        )
        await self.save(record)
        try:
            await self._serve(record)
        except (DaemonError, OSError) as error:
            _LOG.warning("volume %s: not staged: %s", volume.volume_id, error)
            await self._clear(volume.volume_id, path)
            await self.save(replace(record, staging_path=""))
            raise RefusedError(Code.INTERNAL, f"cannot start the volume's file system: {error}") from error
        return record

    async def unstage(self, record: NodeRecord) -> None:
        """End the volume's FUSE process and its mount. Never hangs: whatever does not go by itself is killed."""
        found = mounts.mounted_at(record.staging_path)
        await self._clear(record.volume_id, record.staging_path)
        for mount in found:
            self._witness.unmounted(mount)
        await self.save(replace(record, staging_path="", mode="", abnormal=""))

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

    async def close(self) -> None:
        """Let go of the FUSE processes without ending them: the next driver adopts them."""
        for task in self._endings:
            task.cancel()
        await asyncio.gather(*self._endings, return_exceptions=True)
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
        task = asyncio.create_task(self._bury(daemon), name=f"end of fuse {daemon.hello.volume_id}")
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _bury(self, daemon: Daemon) -> None:
        """Report the end of a FUSE process, and note an unexpected one in the volume's condition."""
        volume_id = daemon.hello.volume_id
        how = await daemon.how_it_ended()
        self._witness.daemon_ended(daemon, how)
        if daemon.stopping:
            return
        _LOG.error("volume %s: its FUSE process %d %s", volume_id, daemon.hello.pid, how)
        async with self._locks.wait(volume_id):
            record = self._records.load(volume_id)
            if self._daemons.get(volume_id) is daemon and record is not None:
                del self._daemons[volume_id]
                await self.save(replace(record, abnormal=f"the FUSE process {daemon.hello.pid} {how}"))

    async def _serve(self, record: NodeRecord) -> None:
        """Start the FUSE process and see that the kernel has its mount."""
        os.makedirs(record.staging_path, mode=0o750, exist_ok=True)
        daemon = await self._launcher.start(
            FuseVolume(
                volume_id=record.volume_id,
                source=self._state.backing(record.volume_id),
                mountpoint=record.staging_path,
                size=record.capacity_bytes,
            )
        )
        await self._take(daemon)
        mount = self.mount_of(record)
        if mount is None:
            raise DaemonError(f"the FUSE process {daemon.hello.pid} serves, but not at {record.staging_path}")
        self._witness.mounted(mount)

    async def _take(self, daemon: Daemon) -> None:
        self._daemons[daemon.hello.volume_id] = daemon
        daemon.listen(self)
        self._witness.daemon_serves(daemon)
        await daemon.set_faults(self._faults.of_fuse(daemon.hello.volume_id))

    async def _clear(self, volume_id: str, path: str) -> None:
        """No FUSE process of the volume, nothing mounted at `path`."""
        daemon = self._daemons.pop(volume_id, None)
        if daemon is not None and daemon.alive:
            await daemon.end(END_TIMEOUT)
        else:
            await self._launcher.kill(volume_id)
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
                await self._take(daemon)
        except (DaemonError, OSError) as error:
            return replace(record, abnormal=str(error))
        if self.mount_of(record) is not None:
            return replace(record, abnormal="")
        if not mounts.mounted_at(record.staging_path):
            await self._clear(record.volume_id, record.staging_path)
            return replace(record, staging_path="", mode="", abnormal="")
        return replace(record, abnormal=record.abnormal or "the FUSE process ended while no driver was there")


def _serves(daemon: Daemon, mount: Mount) -> bool:
    return mount.is_fuse and mount.minor == daemon.hello.connection


def _summary(record: NodeRecord) -> str:
    if record.abnormal:
        return record.abnormal
    return f"{'staged' if record.staging_path else 'not staged'}, {len(record.targets)} published"
