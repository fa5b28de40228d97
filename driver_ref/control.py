"""The Faults service: faults set, cleared and listed by RPC. Served beside the trace feed, never on the CSI socket."""

# ruff: noqa: N802 - the methods have the names that the .proto gives them

from typing import Any

import grpc

from csitrace.errors import UsageError
from csitrace.model.rpc import Code
from driver_ref import faults
from driver_ref.calls import STATUS
from driver_ref.daemon import DaemonError
from driver_ref.proto import faults_pb2, faults_pb2_grpc
from driver_ref.staging import Staging


class FaultsService(faults_pb2_grpc.FaultsServicer):
    """See driver_ref/proto/faults.proto."""

    def __init__(self, armed: faults.Faults, staging: Staging | None) -> None:
        """`staging`: the node's FUSE processes; None in a driver without the Node service."""
        self._faults = armed
        self._staging = staging

    async def SetFault(
        self, request: faults_pb2.SetFaultRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> faults_pb2.SetFaultResponse:
        wanted = request.fault
        try:
            fault = faults.parse(wanted.target, wanted.effect, wanted.volume_id)
        except UsageError as error:
            await context.abort(STATUS[Code.INVALID_ARGUMENT], str(error))
        self._faults.arm(fault)
        await self._push(context)
        return faults_pb2.SetFaultResponse()

    async def ClearFaults(
        self, request: faults_pb2.ClearFaultsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> faults_pb2.ClearFaultsResponse:
        cleared = self._faults.clear(request.target, request.volume_id)
        await self._push(context)
        return faults_pb2.ClearFaultsResponse(cleared=cleared)

    async def ListFaults(
        self, request: faults_pb2.ListFaultsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> faults_pb2.ListFaultsResponse:
        return faults_pb2.ListFaultsResponse(
            faults=[
                faults_pb2.Fault(target=fault.target, volume_id=fault.volume_id, effect=fault.effect)
                for fault in self._faults
            ]
        )

    async def KillDaemon(
        self, request: faults_pb2.KillDaemonRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> faults_pb2.KillDaemonResponse:
        if self._staging is None or not self._staging.kill(request.volume_id):
            await context.abort(
                STATUS[Code.NOT_FOUND], f"no FUSE process serves volume {request.volume_id!r} on this node"
            )
        return faults_pb2.KillDaemonResponse()

    async def _push(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        if self._staging is None:
            return
        try:
            await self._staging.push_faults()
        except DaemonError as error:
            await context.abort(STATUS[Code.UNAVAILABLE], str(error))
