"""The reference driver, spoken to past Kubernetes: its Faults service, of every node, and its controller service."""

from collections.abc import Iterable
from pathlib import Path

import grpc.aio

from csitrace.csi import csi_pb2, csi_pb2_grpc
from driver_ref.proto import faults_pb2, faults_pb2_grpc

_SIZE = 16 << 20


async def fault(feeds: Iterable[str], target: str, effect: str, volume_id: str) -> None:
    """Let the drivers behind these feeds do something wrong from now on."""
    wanted = faults_pb2.Fault(target=target, effect=effect, volume_id=volume_id)
    for address in feeds:
        async with grpc.aio.insecure_channel(address) as channel:
            await faults_pb2_grpc.FaultsStub(channel).SetFault(faults_pb2.SetFaultRequest(fault=wanted))


async def clear_faults(feeds: Iterable[str], volume_id: str) -> None:
    """Let them do it right again; what hangs goes on. An empty id: of every volume."""
    for address in feeds:
        async with grpc.aio.insecure_channel(address) as channel:
            request = faults_pb2.ClearFaultsRequest(volume_id=volume_id)
            await faults_pb2_grpc.FaultsStub(channel).ClearFaults(request)


async def make_volume(socket: Path, name: str) -> str:
    """The id of a new volume."""
    mode = csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
    wanted = csi_pb2.VolumeCapability(
        mount=csi_pb2.VolumeCapability.MountVolume(),
        access_mode=csi_pb2.VolumeCapability.AccessMode(mode=mode),
    )
    request = csi_pb2.CreateVolumeRequest(
        name=name,
        volume_capabilities=[wanted],
        capacity_range=csi_pb2.CapacityRange(required_bytes=_SIZE),
    )
    async with grpc.aio.insecure_channel(f"unix://{socket}") as channel:
        answer = await csi_pb2_grpc.ControllerStub(channel).CreateVolume(request)
    return str(answer.volume.volume_id)


async def unmake_volume(socket: Path, volume_id: str) -> None:
    """Delete the volume, which nobody uses any more."""
    async with grpc.aio.insecure_channel(f"unix://{socket}") as channel:
        await csi_pb2_grpc.ControllerStub(channel).DeleteVolume(
            csi_pb2.DeleteVolumeRequest(volume_id=volume_id)
        )
