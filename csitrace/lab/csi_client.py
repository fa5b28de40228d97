"""gRPC to a CSI driver as kubelet and the sidecars speak it, and their words for what it answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

from csitrace.csi import csi_pb2, csi_pb2_grpc
from csitrace.lab.status import Object

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    (
        "grpc.use_local_subchannel_pool",
        1,
    ),  # one's back-off must not delay the others, as in separate programs
    ("grpc.client_idle_timeout_ms", 2**31 - 1),  # an idle channel must not look like a lost driver
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

_Mode = csi_pb2.VolumeCapability.AccessMode.Mode
_MODES = {
    "ReadWriteOnce": _Mode.SINGLE_NODE_WRITER,
    "ReadWriteOncePod": _Mode.SINGLE_NODE_SINGLE_WRITER,
    "ReadOnlyMany": _Mode.MULTI_NODE_READER_ONLY,
    "ReadWriteMany": _Mode.MULTI_NODE_MULTI_WRITER,
}
_MODES_OF_MULTI_WRITERS = _MODES | {"ReadWriteOnce": _Mode.SINGLE_NODE_MULTI_WRITER}


class DriverClient:
    """The stubs of one driver's socket."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.identity = csi_pb2_grpc.IdentityStub(channel)
        self.controller = csi_pb2_grpc.ControllerStub(channel)
        self.node = csi_pb2_grpc.NodeStub(channel)

    async def controller_capabilities(self) -> set[int]:
        """Values of ControllerServiceCapability.RPC.Type."""
        answer = await self.controller.ControllerGetCapabilities(csi_pb2.ControllerGetCapabilitiesRequest())
        return {capability.rpc.type for capability in answer.capabilities}

    async def node_capabilities(self) -> set[int]:
        """Values of NodeServiceCapability.RPC.Type."""
        answer = await self.node.NodeGetCapabilities(csi_pb2.NodeGetCapabilitiesRequest())
        return {capability.rpc.type for capability in answer.capabilities}

    async def plugin_capabilities(self) -> set[int]:
        """Values of PluginCapability.Service.Type."""
        answer = await self.identity.GetPluginCapabilities(csi_pb2.GetPluginCapabilitiesRequest())
        return {capability.service.type for capability in answer.capabilities}

    async def wait_lost(self) -> None:
        """Return when a connection that stood has broken."""
        state = self.channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            await self.channel.wait_for_state_change(state)
            state = self.channel.get_state(try_to_connect=True)
        await self.channel.wait_for_state_change(state)


@asynccontextmanager
async def connected(socket: Path) -> AsyncIterator[DriverClient]:
    """A client of the driver that listens on `socket`, now or later."""
    async with grpc.aio.insecure_channel(f"unix://{socket}", options=_OPTIONS) as channel:
        yield DriverClient(channel)


def capability(access_modes: list[str], multi_writer: bool, fs_type: str = "") -> csi_pb2.VolumeCapability:
    """`multi_writer`: the service has SINGLE_NODE_MULTI_WRITER, which changes what ReadWriteOnce is called."""
    modes = _MODES_OF_MULTI_WRITERS if multi_writer else _MODES
    # Of several modes the widest is what the volume is asked to be able to do.
    widest = max(access_modes, key=list(_MODES).index)
    return csi_pb2.VolumeCapability(
        mount=csi_pb2.VolumeCapability.MountVolume(fs_type=fs_type),
        access_mode=csi_pb2.VolumeCapability.AccessMode(mode=modes[widest]),
    )


def go_text(error: grpc.aio.AioRpcError) -> str:
    """A gRPC error as a Go program prints it: `rpc error: code = NotFound desc = …`."""
    name = _GO_NAMES.get(error.code(), error.code().name.title().replace("_", ""))
    return f"rpc error: code = {name} desc = {error.details()}"


def topology(labels: Object, keys: list[str]) -> csi_pb2.Topology:
    return csi_pb2.Topology(segments={key: labels[key] for key in keys if key in labels})


_GO_NAMES = {grpc.StatusCode.CANCELLED: "Canceled", grpc.StatusCode.OK: "OK"}
