"""The Identity service: who the driver is, what it can do, whether it is ready."""

# ruff: noqa: N802 - the methods have the names that the .proto gives them

import os
from typing import Any

from google.protobuf.wrappers_pb2 import BoolValue

from csitrace import __version__
from csitrace.csi import csi_pb2, csi_pb2_grpc
from csitrace.model.rpc import Code
from driver_ref.capabilities import Capabilities
from driver_ref.refusal import RefusedError
from driver_ref.volumes import StateDirectory


class Identity(csi_pb2_grpc.IdentityServicer):
    """CSI specification, "Identity Service RPC"."""

    def __init__(self, name: str, capabilities: Capabilities, state: StateDirectory) -> None:
        self._name = name
        self._capabilities = capabilities
        self._state = state

    async def GetPluginInfo(
        self, request: csi_pb2.GetPluginInfoRequest, context: Any
    ) -> csi_pb2.GetPluginInfoResponse:
        return csi_pb2.GetPluginInfoResponse(name=self._name, vendor_version=__version__)

    async def GetPluginCapabilities(
        self, request: csi_pb2.GetPluginCapabilitiesRequest, context: Any
    ) -> csi_pb2.GetPluginCapabilitiesResponse:
        return csi_pb2.GetPluginCapabilitiesResponse(capabilities=self._capabilities.plugin())

    async def Probe(self, request: csi_pb2.ProbeRequest, context: Any) -> csi_pb2.ProbeResponse:
        """Ready once it is asked: the sockets open after the state was read. Not without a writable state directory."""
        if not os.access(self._state.root, os.W_OK):
            raise RefusedError(Code.FAILED_PRECONDITION, f"{self._state.root} is not writable")
        return csi_pb2.ProbeResponse(ready=BoolValue(value=True))
