"""A CSI driver that answers as a test tells it to: the other end of the sidecars' wire."""

# ruff: noqa: N802 - the methods have the names that the .proto gives them

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from csitrace.csi import csi_pb2, csi_pb2_grpc

_CONTROLLER = csi_pb2.ControllerServiceCapability.RPC.Type
_PLUGIN = csi_pb2.PluginCapability.Service.Type


class ScriptedDriver(csi_pb2_grpc.IdentityServicer, csi_pb2_grpc.ControllerServicer):
    """`calls`: methods in the order in which they came. `failures`: per method the codes to answer first, one by one."""

    def __init__(self, attaches: bool = True, topology: bool = False) -> None:
        self.calls: list[str] = []
        self.failures: dict[str, list[grpc.StatusCode]] = defaultdict(list)
        self._attaches = attaches
        self._topology = topology

    @asynccontextmanager
    async def listening(self, socket: Path) -> AsyncIterator[None]:
        server = grpc.aio.server()
        csi_pb2_grpc.add_IdentityServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        csi_pb2_grpc.add_ControllerServicer_to_server(self, server)  # type: ignore[no-untyped-call]
        server.add_insecure_port(f"unix://{socket}")
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    async def _answer(self, method: str, context: Any) -> None:
        self.calls.append(method)
        if self.failures[method]:
            await context.abort(self.failures[method].pop(0), "as scripted")

    async def GetPluginInfo(self, request: Any, context: Any) -> csi_pb2.GetPluginInfoResponse:
        return csi_pb2.GetPluginInfoResponse(name="scripted")

    async def GetPluginCapabilities(
        self, request: Any, context: Any
    ) -> csi_pb2.GetPluginCapabilitiesResponse:
        services = [_PLUGIN.CONTROLLER_SERVICE]
        if self._topology:
            services.append(_PLUGIN.VOLUME_ACCESSIBILITY_CONSTRAINTS)
        capabilities = [
            csi_pb2.PluginCapability(service=csi_pb2.PluginCapability.Service(type=kind)) for kind in services
        ]
        return csi_pb2.GetPluginCapabilitiesResponse(capabilities=capabilities)

    async def Probe(self, request: Any, context: Any) -> csi_pb2.ProbeResponse:
        return csi_pb2.ProbeResponse()

    async def ControllerGetCapabilities(
        self, request: Any, context: Any
    ) -> csi_pb2.ControllerGetCapabilitiesResponse:
        kinds = [_CONTROLLER.CREATE_DELETE_VOLUME]
        if self._attaches:
            kinds.append(_CONTROLLER.PUBLISH_UNPUBLISH_VOLUME)
        capabilities = [
            csi_pb2.ControllerServiceCapability(rpc=csi_pb2.ControllerServiceCapability.RPC(type=kind))
            for kind in kinds
        ]
        return csi_pb2.ControllerGetCapabilitiesResponse(capabilities=capabilities)

    async def CreateVolume(
        self, request: csi_pb2.CreateVolumeRequest, context: Any
    ) -> csi_pb2.CreateVolumeResponse:
        await self._answer("CreateVolume", context)
        volume = csi_pb2.Volume(
            volume_id=f"vol-{request.name}",
            capacity_bytes=request.capacity_range.required_bytes,
            accessible_topology=request.accessibility_requirements.preferred,
        )
        return csi_pb2.CreateVolumeResponse(volume=volume)

    async def DeleteVolume(
        self, request: csi_pb2.DeleteVolumeRequest, context: Any
    ) -> csi_pb2.DeleteVolumeResponse:
        await self._answer("DeleteVolume", context)
        return csi_pb2.DeleteVolumeResponse()

    async def ControllerPublishVolume(
        self, request: csi_pb2.ControllerPublishVolumeRequest, context: Any
    ) -> csi_pb2.ControllerPublishVolumeResponse:
        await self._answer("ControllerPublishVolume", context)
        return csi_pb2.ControllerPublishVolumeResponse(publish_context={"device": "one"})

    async def ControllerUnpublishVolume(
        self, request: csi_pb2.ControllerUnpublishVolumeRequest, context: Any
    ) -> csi_pb2.ControllerUnpublishVolumeResponse:
        await self._answer("ControllerUnpublishVolume", context)
        return csi_pb2.ControllerUnpublishVolumeResponse()

    async def _refuse(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not scripted")

    ValidateVolumeCapabilities = ListVolumes = GetCapacity = _refuse
    CreateSnapshot = DeleteSnapshot = ListSnapshots = GetSnapshot = _refuse
    ControllerExpandVolume = ControllerGetVolume = ControllerModifyVolume = _refuse
