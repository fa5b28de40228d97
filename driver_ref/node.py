"""The Node service: volumes made visible on this machine, at a staging path and at the workloads' target paths."""

# ruff: noqa: N802 - the methods have the names that the .proto gives them

import asyncio
import contextlib
import os
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from csitrace.csi import csi_pb2, csi_pb2_grpc
from csitrace.model.mounts import Mount
from csitrace.model.rpc import Code
from driver_ref import health, inline, mounts
from driver_ref.capabilities import Capabilities
from driver_ref.checks import READER_MODES, mode_of
from driver_ref.daemon import DaemonError
from driver_ref.refusal import RefusedError
from driver_ref.staging import Staging
from driver_ref.volumes import NodeDescription, NodeRecord, Records, StateDirectory, Target, VolumeRecord
from driver_ref.witness import Witness

COUNTERS_TIMEOUT = 2.0


class Node(csi_pb2_grpc.NodeServicer):
    """CSI specification, "Node Service RPC"."""

    def __init__(
        self,
        state: StateDirectory,
        records: Records[NodeRecord],
        description: NodeDescription,
        capabilities: Capabilities,
        staging: Staging,
        witness: Witness,
        private_mounts: Path,
        max_volume_size: int,
    ) -> None:
        """`private_mounts`: where volumes are mounted when the orchestrator does not stage (capability off, or inline);
        `max_volume_size`: of an inline volume, in bytes."""
        self._state = state
        self._records = records
        self._description = description
        self._capabilities = capabilities
        self._staging = staging
        self._witness = witness
        self._private_mounts = private_mounts
        self._max_volume_size = max_volume_size

    async def NodeStageVolume(
        self, request: csi_pb2.NodeStageVolumeRequest, context: Any
    ) -> csi_pb2.NodeStageVolumeResponse:
        volume = self._attached(request.volume_id)
        path = mounts.canonical(request.staging_target_path)
        await self._staging.stage(volume, path, mode_of(request.volume_capability))
        return csi_pb2.NodeStageVolumeResponse()

    async def NodeUnstageVolume(
        self, request: csi_pb2.NodeUnstageVolumeRequest, context: Any
    ) -> csi_pb2.NodeUnstageVolumeResponse:
        """What is not staged is unstaged; a FUSE mount that nobody remembers is detached, so that teardown can go on."""
        path = mounts.canonical(request.staging_target_path)
        record = self._records.load(request.volume_id)
        if record is None or record.staging_path != path:
            if any(mount.is_fuse for mount in mounts.mounted_at(path)):
                await asyncio.to_thread(mounts.unmount_lazily, path)
            return csi_pb2.NodeUnstageVolumeResponse()
        published = [target for target in record.targets if mounts.mounted_at(target)]
        if published:
            raise RefusedError(Code.FAILED_PRECONDITION, f"volume is still published at {published[0]}")
        await self._staging.unstage(replace(record, targets={}))
        return csi_pb2.NodeUnstageVolumeResponse()

    async def NodePublishVolume(
        self, request: csi_pb2.NodePublishVolumeRequest, context: Any
    ) -> csi_pb2.NodePublishVolumeResponse:
        path = mounts.canonical(request.target_path)
        existing = mounts.mounted_at(path)
        if existing and not existing[-1].is_fuse:
            raise RefusedError(Code.FAILED_PRECONDITION, f"{path} is a mount point of {existing[-1].fs_type}")
        is_inline = inline.is_inline(request.volume_context)
        volume = self._inline(request) if is_inline else self._attached(request.volume_id)
        known = self._records.load(volume.volume_id)
        record, staged = await self._staged(volume, request)
        target = self._target(volume, request)
        if path in record.targets and existing and existing[-1].device == staged.device:
            if record.targets[path] != target:
                raise RefusedError(
                    Code.ALREADY_EXISTS, f"already published at {path} as {record.targets[path]}"
                )
            return csi_pb2.NodePublishVolumeResponse()
        others = [other for other in record.targets if other != path and mounts.mounted_at(other)]
        if others and "SINGLE_NODE_SINGLE_WRITER" in (target.mode, record.targets[others[0]].mode):
            raise RefusedError(Code.FAILED_PRECONDITION, f"single writer: volume is published at {others[0]}")
        await self._staging.save(replace(record, targets=record.targets | {path: target}))
        try:
            await asyncio.to_thread(_bind, record.staging_path, path, target)
        except OSError:
            await asyncio.to_thread(_unbind, path)
            await self._staging.save(record)
            if known is None:  # the caller takes this for final, and does not ask to have it undone
                await self._release(record)
            raise
        self._witness.mounted(mounts.mounted_at(path)[-1])
        return csi_pb2.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(
        self, request: csi_pb2.NodeUnpublishVolumeRequest, context: Any
    ) -> csi_pb2.NodeUnpublishVolumeResponse:
        path = mounts.canonical(request.target_path)
        found = mounts.mounted_at(path)
        await asyncio.to_thread(_unbind, path)
        for mount in found:
            self._witness.unmounted(mount)
        record = self._records.load(request.volume_id)
        if record is not None and path in record.targets:
            record = replace(
                record, targets={key: value for key, value in record.targets.items() if key != path}
            )
            await self._staging.save(record)
        if record is not None and not record.targets:
            await self._release(record)
        return csi_pb2.NodeUnpublishVolumeResponse()

    async def NodeGetVolumeStats(
        self, request: csi_pb2.NodeGetVolumeStatsRequest, context: Any
    ) -> csi_pb2.NodeGetVolumeStatsResponse:
        """From what the FUSE process counts; the mount itself is never looked at, since it may be dead or hung."""
        record = self._at(request.volume_id, request.volume_path)
        daemon = self._staging.daemon(record.volume_id)
        counters = await daemon.first_counters(COUNTERS_TIMEOUT) if daemon is not None else None
        trouble = self._trouble(record, mounts.canonical(request.volume_path))
        if counters is None and trouble is None:
            raise RefusedError(Code.UNAVAILABLE, "the FUSE process has not counted yet; ask again")
        usage = []
        if counters is not None:
            free = max(0, counters.size_bytes - counters.used_bytes)
            units = csi_pb2.VolumeUsage
            usage = [
                units(unit=units.BYTES, total=counters.size_bytes, used=counters.used_bytes, available=free),
                units(unit=units.INODES, used=counters.used_inodes),
            ]
        condition = health.condition(trouble) if self._capabilities.has("condition") else None
        return csi_pb2.NodeGetVolumeStatsResponse(usage=usage, volume_condition=condition)

    async def NodeGetVolumeHealth(
        self, request: csi_pb2.NodeGetVolumeHealthRequest, context: Any
    ) -> csi_pb2.NodeGetVolumeHealthResponse:
        record = self._records.load(request.volume_id)
        if record is None:
            raise RefusedError(Code.NOT_FOUND, f"volume {request.volume_id!r} is not on this node")
        path = request.volume_publish_path or request.staging_target_path or record.staging_path
        trouble = self._trouble(record, mounts.canonical(path))
        return csi_pb2.NodeGetVolumeHealthResponse(volume_health=health.health(record.volume_id, trouble))

    async def NodeGetStorageHealth(
        self, request: csi_pb2.NodeGetStorageHealthRequest, context: Any
    ) -> csi_pb2.NodeGetStorageHealthResponse:
        """The one backend is the directory that holds the volumes' bytes; degraded when it is nearly full."""
        space = os.statvfs(self._state.data)
        if space.f_bavail * 100 >= space.f_blocks:
            return csi_pb2.NodeGetStorageHealthResponse()
        trouble = csi_pb2.NodeGetStorageHealthResponse.StorageBackendHealth(
            status=csi_pb2.StorageHealthErrorType.STORAGE_DEGRADED,
            reason="NearlyFull",
            message="less than 1 % is free where the volumes' bytes are",
        )
        return csi_pb2.NodeGetStorageHealthResponse(backend_health=[trouble])

    async def NodeExpandVolume(
        self, request: csi_pb2.NodeExpandVolumeRequest, context: Any
    ) -> csi_pb2.NodeExpandVolumeResponse:
        """The size is what the Controller has set; a request for more comes before its ControllerExpandVolume."""
        record = self._at(request.volume_id, request.volume_path)
        capacity = self._volume(record.volume_id).capacity_bytes
        wanted = request.capacity_range
        if wanted.required_bytes > capacity or 0 < wanted.limit_bytes < capacity:
            raise RefusedError(
                Code.OUT_OF_RANGE, f"the volume has {capacity} bytes; expand it by the Controller first"
            )
        try:
            await self._staging.resize(record, capacity)
        except DaemonError as error:
            raise RefusedError(Code.INTERNAL, str(error)) from error
        return csi_pb2.NodeExpandVolumeResponse(capacity_bytes=capacity)

    async def NodeGetCapabilities(
        self, request: csi_pb2.NodeGetCapabilitiesRequest, context: Any
    ) -> csi_pb2.NodeGetCapabilitiesResponse:
        return csi_pb2.NodeGetCapabilitiesResponse(capabilities=self._capabilities.node())

    async def NodeGetInfo(
        self, request: csi_pb2.NodeGetInfoRequest, context: Any
    ) -> csi_pb2.NodeGetInfoResponse:
        topology = csi_pb2.Topology(segments=self._description.topology)
        return csi_pb2.NodeGetInfoResponse(
            node_id=self._description.node_id,
            max_volumes_per_node=self._description.max_volumes,
            accessible_topology=topology if self._capabilities.has("topology") else None,
        )

    def _volume(self, volume_id: str) -> VolumeRecord:
        volume = self._state.volume(volume_id)
        if volume is None or not self._state.backing(volume_id).is_dir():
            raise RefusedError(Code.NOT_FOUND, f"no volume with id {volume_id!r}")
        return volume

    def _attached(self, volume_id: str) -> VolumeRecord:
        volume = self._volume(volume_id)
        if self._capabilities.has("publish") and self._description.node_id not in volume.attachments:
            raise RefusedError(
                Code.FAILED_PRECONDITION,
                f"ControllerPublishVolume has not published the volume to node {self._description.node_id}",
            )
        return volume

    def _inline(self, request: csi_pb2.NodePublishVolumeRequest) -> VolumeRecord:
        if self._description.fuse_directory:
            raise RefusedError(
                Code.FAILED_PRECONDITION,
                "inline volumes are not attached, and FUSE pods are made by ControllerPublishVolume: use a claim, "
                "or a driver with --launcher process",
            )
        volume = inline.described(request, self._max_volume_size)
        known = self._records.load(volume.volume_id)
        if known is not None and known.capacity_bytes != volume.capacity_bytes:
            raise RefusedError(
                Code.ALREADY_EXISTS, f"volume {volume.volume_id!r} exists with {known.capacity_bytes} bytes"
            )
        return volume

    async def _release(self, record: NodeRecord) -> None:
        """What a NodePublishVolume without staging made beyond its target goes with the last target."""
        if self._capabilities.has("stage") and not record.inline:
            return
        if record.staging_path:
            await self._staging.unstage(record)
        await self._staging.discard(replace(record, staging_path=self._private(record.volume_id)))

    def _private(self, volume_id: str) -> str:
        return mounts.canonical(str(self._private_mounts / volume_id))

    async def _staged(
        self, volume: VolumeRecord, request: csi_pb2.NodePublishVolumeRequest
    ) -> tuple[NodeRecord, Mount]:
        """The volume's record and its FUSE mount; staged here and now if the orchestrator does not stage."""
        is_inline = inline.is_inline(request.volume_context)
        if is_inline or not self._capabilities.has("stage"):
            path, mode = self._private(volume.volume_id), mode_of(request.volume_capability)
            record = await self._staging.stage(volume, path, mode, inline=is_inline)
        else:
            found = self._records.load(volume.volume_id)
            if not request.staging_target_path:
                raise RefusedError(
                    Code.FAILED_PRECONDITION, "staging_target_path is required: the driver stages volumes"
                )
            path = mounts.canonical(request.staging_target_path)
            if found is None or found.staging_path != path:
                raise RefusedError(Code.FAILED_PRECONDITION, f"volume is not staged at {path}")
            record = found
        mount = self._staging.mount_of(record)
        if mount is None:
            reason = record.abnormal or "its FUSE process does not serve it"
            raise RefusedError(Code.INTERNAL, f"volume is not usable: {reason}; it must be staged again")
        return record, mount

    def _target(self, volume: VolumeRecord, request: csi_pb2.NodePublishVolumeRequest) -> Target:
        capability = request.volume_capability
        mode = mode_of(capability)
        attachment = volume.attachments.get(self._description.node_id)
        flags = tuple(sorted(set(capability.mount.mount_flags) - {"ro", "rw"}))
        readonly = (
            request.readonly
            or mode in READER_MODES
            or "ro" in capability.mount.mount_flags
            or (attachment is not None and attachment.readonly)
        )
        return Target(mode=mode, readonly=readonly, mount_flags=flags)

    def _at(self, volume_id: str, path: str) -> NodeRecord:
        """The record of a volume that is staged or published at `path`."""
        record = self._records.load(volume_id)
        if record is None:
            raise RefusedError(Code.NOT_FOUND, f"volume {volume_id!r} is not on this node")
        if mounts.canonical(path) not in (record.staging_path, *record.targets):
            raise RefusedError(Code.NOT_FOUND, f"volume {volume_id!r} is not at {path}")
        return record

    def _trouble(self, record: NodeRecord, path: str) -> health.Trouble | None:
        """What is wrong with the volume as seen at `path`, by whoever has a mount of it."""
        staged = self._staging.mount_of(record)
        if staged is None:
            message = record.abnormal or "no FUSE process serves the volume"
            return health.Trouble(health.INACCESSIBLE, "FuseProcessDead", message)
        found = mounts.mounted_at(path)
        if not found:
            return health.Trouble(health.INACCESSIBLE, "NotMounted", f"nothing is mounted at {path}")
        ours = (record.staging_path, *record.targets)
        dead = set(record.dead) - {staged.minor}
        if found[-1].device != staged.device or (dead and mounts.seen(partial(_is_dead, staged, dead), ours)):
            message = (
                "a workload on this node has the mount of a FUSE process that is dead: its container must be started anew "
                "(one with mountPropagation: HostToContainer would have got the new mount)"
            )
            return health.Trouble(health.INACCESSIBLE, "StaleMount", message)
        return None


def _is_dead(served: Mount, dead: Collection[int], mount: Mount) -> bool:
    """Whether a mount is of the same volume as the one that is served, but of an earlier FUSE process."""
    return mount.minor in dead and (mount.fs_type, mount.source) == (served.fs_type, served.source)


def _bind(source: str, path: str, target: Target) -> None:
    mounts.unmount_lazily(path)  # a dead mount of an earlier FUSE process
    if not os.path.lexists(path):
        os.mkdir(path, 0o750)
    mounts.bind(source, path, target.options)


def _unbind(path: str) -> None:
    mounts.unmount(path)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(path)
