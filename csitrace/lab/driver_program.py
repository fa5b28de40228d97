"""The reference driver, as a program beside the lab: started again when it ends, and its faults set through gRPC reflection."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from csitrace.lab.kubelet.layout import Layout
from csitrace.lab.names import TOPOLOGY
from csitrace.lab.pace import Pace

_RESTART_SECONDS = 10.0
_CALL_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_FAULTS = "csitrace.driver.v1.Faults"


@dataclass(frozen=True, slots=True)
class DriverProgram:
    """One node's driver: where it listens and what it is called. `state`: the directory that all nodes' drivers share, where
    the volumes' bytes are; `log`: where it writes what it has to say; `controller`: it serves the Controller, too;
    `attaches`: its volumes are attached to nodes."""

    name: str
    node_id: str
    layout: Layout
    state: Path
    log: Path
    controller: bool
    attaches: bool = True

    @property
    def socket(self) -> Path:
        return self.layout.plugin_directory(self.name) / "csi.sock"

    @property
    def feed_socket(self) -> Path:
        return self.layout.plugin_directory(self.name) / "csitrace-feed.sock"

    async def run(self, pace: Pace) -> None:
        """Keep it running until cancelled; then it is killed, as any driver may be. Its FUSE processes are not."""
        self.layout.plugin_directory(self.name).mkdir(parents=True, exist_ok=True)
        self.layout.registration_directory.mkdir(parents=True, exist_ok=True)
        while True:
            with self.log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *self._arguments(),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            try:
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            await asyncio.sleep(pace.scaled(_RESTART_SECONDS))

    def _arguments(self) -> list[str]:
        return [
            *("-m", "driver_ref"),
            *("--endpoint", f"unix://{self.socket}"),
            *("--node-id", self.node_id),
            *("--driver-name", self.name),
            *("--state-dir", str(self.state)),
            *("--topology", TOPOLOGY),
            *("--registration-dir", str(self.layout.registration_directory)),
            *("--feed", f"unix://{self.feed_socket}"),
            *("--kubelet-dir", str(self.layout.root)),
            "--node",
            *(["--controller"] if self.controller else []),
            *([] if self.attaches else ["--without", "publish"]),
        ]

    async def set_fault(self, target: str, volume_id: str, effect: str) -> None:
        """Arm a fault, in the driver's grammar. Waits for a driver that is away; RpcError when it refuses."""
        fault = {"target": target, "volume_id": volume_id, "effect": effect}
        await self._insist("SetFault", {"fault": fault})

    async def clear_faults(self, volume_id: str) -> None:
        await self._insist("ClearFaults", {"volume_id": volume_id})

    async def _insist(self, method_name: str, fields: dict[str, object]) -> None:
        while True:
            try:
                await asyncio.to_thread(self._call, method_name, fields)
                return
            except grpc.RpcError as error:
                if not isinstance(error, grpc.Call) or error.code() not in _AWAY:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)

    def _call(self, method_name: str, fields: dict[str, object]) -> Message:
        """The driver describes its own Faults service: the lab need not know its messages beforehand."""
        with grpc.insecure_channel(f"unix://{self.feed_socket}") as channel:
            pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            method = pool.FindServiceByName(_FAULTS).methods_by_name[method_name]
            request_type = message_factory.GetMessageClass(method.input_type)
            call = channel.unary_unary(
                f"/{_FAULTS}/{method_name}",
                request_serializer=request_type.SerializeToString,
                response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
            )
            answer: Message = call(request_type(**fields), timeout=_CALL_SECONDS)
            return answer
