"""The reference driver's Faults service, of every node at once."""

from collections.abc import Iterable

import grpc.aio

from driver_ref.proto import faults_pb2, faults_pb2_grpc


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
