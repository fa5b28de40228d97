"""The Controller service: volumes as such, and which nodes they are attached to."""

# ruff: noqa: N802 - the methods have the names that the .proto gives them

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf.wrappers_pb2 import Int64Value

from csitrace.csi import csi_pb2, csi_pb2_grpc
from csitrace.model.rpc import Code
from driver_ref import admission, health, topology
from driver_ref.capabilities import Capabilities
from driver_ref.checks import mode_of, unsupported
from driver_ref.pods.keeper import Attendance
from driver_ref.refusal import RefusedError
from driver_ref.volumes import (
    Attachment,
    NodeDescription,
    StateDirectory,
    VolumeRecord,
    is_volume_id,
    phase,
    volume_id_of,
)

_LOG = logging.getLogger(__name__)


class Controller(csi_pb2_grpc.ControllerServicer):
    """CSI specification, "Controller Service RPC". Volumes are thin: a size is a limit, not a reservation."""

    def __init__(
        self,
        state: StateDirectory,
        capabilities: Capabilities,
        own_topology: Mapping[str, str],
        max_volume_size: int,
        attendance: Attendance,
    ) -> None:
        """`own_topology`: where a volume goes when the request does not say; `max_volume_size` in bytes."""
        self._state = state
        self._capabilities = capabilities
        self._own_topology = dict(own_topology)
        self._max_volume_size = max_volume_size
        self._attendance = attendance
        self._counting = asyncio.Lock()  # from counting a node's volumes until there is one more

    def recover(self) -> None:
        """Finish what a killed predecessor began: deletions, and volumes whose record was never written."""
        self._state.volumes.sweep()
        for volume in self._state.volumes.all():
            if volume.deleting:
                self._delete(volume.volume_id)
        known = set(self._state.volumes.ids())
        for directory in self._state.data.iterdir():
            # An empty directory without a record is half a CreateVolume. One with files is somebody's data: not ours
            # to remove.
            if directory.name not in known and not any(directory.iterdir()):
                directory.rmdir()
        for directory in self._state.trash.iterdir():
            _discard(directory)

    async def CreateVolume(
        self, request: csi_pb2.CreateVolumeRequest, context: Any
    ) -> csi_pb2.CreateVolumeResponse:
        if request.HasField("volume_content_source"):
            raise RefusedError(
                Code.INVALID_ARGUMENT,
                "volume_content_source: this driver clones neither volumes nor snapshots",
            )
        admission.check_parameters(request)
        volume_id = volume_id_of(request.name)
        existing = self._state.volumes.load(volume_id)
        if existing is not None and existing.deleting:
            await asyncio.to_thread(self._delete, volume_id)
            existing = None
        if existing is not None:
            admission.check_same(existing, request)
            return csi_pb2.CreateVolumeResponse(volume=_message(existing))
        volume = VolumeRecord(
            volume_id=volume_id,
            name=request.name,
            capacity_bytes=admission.capacity(request.capacity_range, self._max_volume_size),
            created_at=time.time_ns(),
            parameters=admission.settings(request.parameters),
            topology=self._place(request),
        )
        await asyncio.to_thread(self._create, volume)
        return csi_pb2.CreateVolumeResponse(volume=_message(volume))

    async def DeleteVolume(
        self, request: csi_pb2.DeleteVolumeRequest, context: Any
    ) -> csi_pb2.DeleteVolumeResponse:
        volume = self._state.volumes.load(request.volume_id)
        if volume is None:
            return csi_pb2.DeleteVolumeResponse()
        used = dict.fromkeys(volume.attachments) | {
            node_id: record
            for node_id, record in self._state.users(volume.volume_id)
            if node_id in volume.attachments or self._attendance.may_serve(volume.volume_id, node_id)
        }
        if used and not volume.deleting:
            where = ", ".join(f"{phase(volume, node, used[node])} on node {node}" for node in sorted(used))
            raise RefusedError(Code.FAILED_PRECONDITION, f"volume is in use: {where}")
        await self._save(msgspec.structs.replace(volume, deleting=True))
        await asyncio.to_thread(self._delete, volume.volume_id)
        return csi_pb2.DeleteVolumeResponse()

    async def ControllerPublishVolume(
        self, request: csi_pb2.ControllerPublishVolumeRequest, context: Any
    ) -> csi_pb2.ControllerPublishVolumeResponse:
        volume = self._volume(request.volume_id)
        node = self._state.nodes.load(request.node_id)
        if node is None:
            raise RefusedError(Code.NOT_FOUND, f"no node with id {request.node_id!r} has run this driver")
        self._attendance.admit(node)
        wanted = Attachment(mode=mode_of(request.volume_capability), readonly=request.readonly)
        existing = volume.attachments.get(request.node_id)
        if existing is not None:
            if existing != wanted:
                raise RefusedError(
                    Code.ALREADY_EXISTS,
                    f"already published to node {request.node_id} as {admission.described(existing)}",
                )
            await self._attendance.publish(volume, node)
            return csi_pb2.ControllerPublishVolumeResponse()
        admission.check_sharing(volume, wanted)
        if not topology.satisfies(node.topology, volume.topology):
            raise RefusedError(
                Code.FAILED_PRECONDITION,
                f"volume is accessible from {volume.topology}, node {node.node_id} is at {node.topology}",
            )
        attachments = volume.attachments | {request.node_id: wanted}
        async with self._counting:
            await asyncio.to_thread(self._check_limit, node)
            volume = msgspec.structs.replace(volume, attachments=attachments)
            await self._save(volume)
        await self._attendance.publish(volume, node)
        return csi_pb2.ControllerPublishVolumeResponse()

    async def ControllerUnpublishVolume(
        self, request: csi_pb2.ControllerUnpublishVolumeRequest, context: Any
    ) -> csi_pb2.ControllerUnpublishVolumeResponse:
        """A volume or node that is gone is detached. An empty node_id means every node."""
        await self._attendance.unpublish(request.volume_id, request.node_id)
        volume = self._state.volume(request.volume_id)
        if volume is not None:
            leaving = {request.node_id} if request.node_id else set(volume.attachments)
            left = {key: value for key, value in volume.attachments.items() if key not in leaving}
            if left != volume.attachments:
                await self._save(msgspec.structs.replace(volume, attachments=left))
        return csi_pb2.ControllerUnpublishVolumeResponse()

    async def ValidateVolumeCapabilities(
        self, request: csi_pb2.ValidateVolumeCapabilitiesRequest, context: Any
    ) -> csi_pb2.ValidateVolumeCapabilitiesResponse:
        volume = self._volume(request.volume_id)
        reasons = [unsupported(capability) for capability in request.volume_capabilities]
        reasons += ["access_mode is not known" for item in request.volume_capabilities if not mode_of(item)]
        if request.parameters and admission.settings(request.parameters) != volume.parameters:
            reasons.append("parameters differ from those the volume was created with")
        reason = next(filter(None, reasons), "")
        if reason:
            return csi_pb2.ValidateVolumeCapabilitiesResponse(message=reason)
        return csi_pb2.ValidateVolumeCapabilitiesResponse(
            confirmed=csi_pb2.ValidateVolumeCapabilitiesResponse.Confirmed(
                volume_context=request.volume_context,
                volume_capabilities=request.volume_capabilities,
                parameters=request.parameters,
            )
        )

    async def ListVolumes(
        self, request: csi_pb2.ListVolumesRequest, context: Any
    ) -> csi_pb2.ListVolumesResponse:
        return await asyncio.to_thread(self._list, request)

    async def ControllerGetVolume(
        self, request: csi_pb2.ControllerGetVolumeRequest, context: Any
    ) -> csi_pb2.ControllerGetVolumeResponse:
        volume = self._volume(request.volume_id)
        return csi_pb2.ControllerGetVolumeResponse(
            volume=_message(volume),
            status=csi_pb2.ControllerGetVolumeResponse.VolumeStatus(
                published_node_ids=sorted(volume.attachments), volume_condition=self._condition(volume)
            ),
        )

    async def ControllerListVolumeHealth(
        self, request: csi_pb2.ControllerListVolumeHealthRequest, context: Any
    ) -> csi_pb2.ControllerListVolumeHealthResponse:
        return await asyncio.to_thread(self._list_health, request)

    async def ControllerGetVolumeHealth(
        self, request: csi_pb2.ControllerGetVolumeHealthRequest, context: Any
    ) -> csi_pb2.ControllerGetVolumeHealthResponse:
        trouble = self._trouble(self._volume(request.volume_id))
        return csi_pb2.ControllerGetVolumeHealthResponse(
            volume_health=health.health(request.volume_id, trouble)
        )

    async def GetCapacity(
        self, request: csi_pb2.GetCapacityRequest, context: Any
    ) -> csi_pb2.GetCapacityResponse:
        """What the file system of the backing directories has free; nothing where no node of ours is."""
        segments = dict(request.accessible_topology.segments)
        somewhere = not segments or any(
            topology.satisfies(node.topology, segments) for node in self._state.nodes.all()
        )
        possible = not any(map(unsupported, request.volume_capabilities))
        space = os.statvfs(self._state.data)
        return csi_pb2.GetCapacityResponse(
            available_capacity=space.f_bavail * space.f_frsize if somewhere and possible else 0,
            maximum_volume_size=Int64Value(value=self._max_volume_size),
            minimum_volume_size=Int64Value(value=admission.MINIMUM_CAPACITY),
        )

    async def ControllerExpandVolume(
        self, request: csi_pb2.ControllerExpandVolumeRequest, context: Any
    ) -> csi_pb2.ControllerExpandVolumeResponse:
        """Grows the limit; the node's FUSE process hears of it by NodeExpandVolume."""
        volume = self._volume(request.volume_id)
        if not request.capacity_range.required_bytes and not request.capacity_range.limit_bytes:
            raise RefusedError(Code.INVALID_ARGUMENT, "capacity_range is empty")
        capacity = max(volume.capacity_bytes, request.capacity_range.required_bytes)
        limit = request.capacity_range.limit_bytes
        if (limit and capacity > limit) or capacity > self._max_volume_size:
            raise RefusedError(
                Code.OUT_OF_RANGE,
                f"cannot be {capacity} bytes: the limit is {min(limit or capacity, self._max_volume_size)}",
            )
        if capacity != volume.capacity_bytes:
            await self._save(msgspec.structs.replace(volume, capacity_bytes=capacity))
        return csi_pb2.ControllerExpandVolumeResponse(capacity_bytes=capacity, node_expansion_required=True)

    async def ControllerGetCapabilities(
        self, request: csi_pb2.ControllerGetCapabilitiesRequest, context: Any
    ) -> csi_pb2.ControllerGetCapabilitiesResponse:
        return csi_pb2.ControllerGetCapabilitiesResponse(capabilities=self._capabilities.controller())

    async def CreateSnapshot(
        self, request: csi_pb2.CreateSnapshotRequest, context: Any
    ) -> csi_pb2.CreateSnapshotResponse:
        raise _no_such_thing("CreateSnapshot")

    async def DeleteSnapshot(
        self, request: csi_pb2.DeleteSnapshotRequest, context: Any
    ) -> csi_pb2.DeleteSnapshotResponse:
        raise _no_such_thing("DeleteSnapshot")

    async def ListSnapshots(
        self, request: csi_pb2.ListSnapshotsRequest, context: Any
    ) -> csi_pb2.ListSnapshotsResponse:
        raise _no_such_thing("ListSnapshots")

    async def GetSnapshot(
        self, request: csi_pb2.GetSnapshotRequest, context: Any
    ) -> csi_pb2.GetSnapshotResponse:
        raise _no_such_thing("GetSnapshot")

    async def ControllerModifyVolume(
        self, request: csi_pb2.ControllerModifyVolumeRequest, context: Any
    ) -> csi_pb2.ControllerModifyVolumeResponse:
        raise _no_such_thing("ControllerModifyVolume")

    def _volume(self, volume_id: str) -> VolumeRecord:
        volume = self._state.volume(volume_id)
        if volume is None:
            raise RefusedError(Code.NOT_FOUND, f"no volume with id {volume_id!r}")
        return volume

    async def _save(self, volume: VolumeRecord) -> None:
        await asyncio.to_thread(self._state.volumes.save, volume.volume_id, volume)

    def _create(self, volume: VolumeRecord) -> None:
        """First the place, then the record: a volume that is known has its bytes."""
        backing = self._state.backing(volume.volume_id)
        backing.mkdir(exist_ok=True)
        backing.chmod(0o755)  # the root of the volume, as the workload sees it, whatever our umask
        self._state.volumes.save(volume.volume_id, volume)

    def _delete(self, volume_id: str) -> None:
        """Carry out a deletion that the record already tells of. May be cut off anywhere and done again."""
        trashed = next(
            path for number in count() if not (path := self._state.trash / f"{volume_id}.{number}").exists()
        )
        backing = self._state.backing(volume_id)
        if backing.exists():
            backing.rename(trashed)
        self._state.volumes.remove(volume_id)
        _discard(trashed)

    def _list(self, request: csi_pb2.ListVolumesRequest) -> csi_pb2.ListVolumesResponse:
        page, next_token = admission.page(request, self._after(request.starting_token))
        entry, status = csi_pb2.ListVolumesResponse.Entry, csi_pb2.ListVolumesResponse.VolumeStatus
        return csi_pb2.ListVolumesResponse(
            entries=[
                entry(
                    volume=_message(volume),
                    status=status(
                        published_node_ids=sorted(volume.attachments),
                        volume_condition=self._condition(volume),
                    ),
                )
                for volume in page
            ],
            next_token=next_token,
        )

    def _list_health(
        self, request: csi_pb2.ControllerListVolumeHealthRequest
    ) -> csi_pb2.ControllerListVolumeHealthResponse:
        """Volumes in trouble only."""
        sick = [volume for volume in self._after(request.starting_token) if self._trouble(volume)]
        page, next_token = admission.page(request, sick)
        return csi_pb2.ControllerListVolumeHealthResponse(
            entries=[health.health(volume.volume_id, self._trouble(volume)) for volume in page],
            next_token=next_token,
        )

    def _after(self, token: str) -> list[VolumeRecord]:
        """The volumes after the page that ended with `token`, ordered by id."""
        if token and not is_volume_id(token):
            raise RefusedError(
                Code.ABORTED, "starting_token was not given out by this driver; list again without it"
            )
        found = (self._state.volume(key) for key in self._state.volumes.ids() if key > token)
        return [volume for volume in found if volume is not None]

    def _place(self, request: csi_pb2.CreateVolumeRequest) -> dict[str, str]:
        if not self._capabilities.has("topology"):
            return {}
        if not request.HasField("accessibility_requirements"):
            return self._own_topology
        wanted = request.accessibility_requirements
        segments = topology.choose(
            [dict(item.segments) for item in wanted.preferred],
            [dict(item.segments) for item in wanted.requisite],
            [node.topology for node in self._state.nodes.all()],
        )
        if segments is None:
            raise RefusedError(
                Code.RESOURCE_EXHAUSTED, "no node with this driver is in the required topology"
            )
        return segments

    def _check_limit(self, node: NodeDescription) -> None:
        if not node.max_volumes:
            return
        attached = sum(node.node_id in volume.attachments for volume in self._state.volumes.all())
        if attached >= node.max_volumes:
            raise RefusedError(
                Code.RESOURCE_EXHAUSTED,
                f"node {node.node_id} has {attached} of {node.max_volumes} volumes attached",
            )

    def _condition(self, volume: VolumeRecord) -> csi_pb2.VolumeCondition | None:
        return health.condition(self._trouble(volume)) if self._capabilities.has("condition") else None

    def _trouble(self, volume: VolumeRecord) -> health.Trouble | None:
        if not self._state.backing(volume.volume_id).is_dir():
            return health.Trouble(
                health.DATA_LOSS, "BackingDirectoryMissing", "the volume's backing directory is missing"
            )
        for node_id, record in self._state.users(volume.volume_id):
            if record.abnormal:
                return health.Trouble(
                    health.DEGRADED, "FuseProcessDead", f"node {node_id}: {record.abnormal}"
                )
        for node_id in volume.attachments:
            trouble = self._attendance.trouble(volume.volume_id, node_id)
            if trouble:
                return health.Trouble(health.DEGRADED, "FusePodDown", f"node {node_id}: {trouble}")
        return None


def _discard(directory: Path) -> None:
    """Remove the bytes of a deleted volume; what cannot be removed now is tried again when the driver starts."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        _LOG.warning("bytes of a deleted volume are left at %s: %s", directory, error)


def _message(volume: VolumeRecord) -> csi_pb2.Volume:
    segments = [csi_pb2.Topology(segments=volume.topology)] if volume.topology else []
    return csi_pb2.Volume(
        volume_id=volume.volume_id, capacity_bytes=volume.capacity_bytes, accessible_topology=segments
    )


def _no_such_thing(method: str) -> RefusedError:
    return RefusedError(Code.UNIMPLEMENTED, f"{method} is not implemented by this driver")
