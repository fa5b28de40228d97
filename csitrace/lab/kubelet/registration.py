"""Plugin registration: the sockets in plugins_registry, asked who they are, and written into CSINode and Node.

kubelet, pkg/kubelet/pluginmanager and pkg/volume/csi/nodeinfomanager. Registration writes no Events.
"""

import asyncio
from pathlib import Path

import grpc
import msgspec

from csitrace.csi import csi_pb2, pluginregistration_pb2, pluginregistration_pb2_grpc
from csitrace.lab.apiserver.resources import CSI_NODES, NODES
from csitrace.lab.csi_client import connected
from csitrace.lab.program import Program
from csitrace.lab.status import Object, StatusError

_NODE_ID_ANNOTATION = "csi.volume.kubernetes.io/nodeid"
_SCAN_SECONDS = 0.1
_CALL_SECONDS = 10.0


class _RegistrationError(Exception):
    """Why a plugin was refused."""


class PluginRegistry:
    """Drivers known to this kubelet: name -> path of the CSI socket. Follows the directory until cancelled."""

    def __init__(self, program: Program, node_name: str, directory: Path) -> None:
        self.drivers: dict[str, Path] = {}
        self._client = program.client
        self._node_name = node_name
        self._directory = directory
        self._registered: dict[str, tuple[str, int]] = {}
        """Socket's file name -> driver, and the inode, by which a new socket of the same name is told."""
        program.task(self._follow)

    async def _follow(self) -> None:
        while True:
            present = {path.name: path.lstat().st_ino for path in self._directory.glob("*.sock")}
            for name, (driver, inode) in list(self._registered.items()):
                if present.get(name) != inode:
                    await self._deregister(name, driver)
            for name, inode in present.items():
                if name not in self._registered:
                    await self._register(self._directory / name, inode)
            await asyncio.sleep(_SCAN_SECONDS)

    async def _register(self, path: Path, inode: int) -> None:
        async with grpc.aio.insecure_channel(f"unix://{path}") as channel:
            registration = pluginregistration_pb2_grpc.RegistrationStub(channel)
            try:
                info = await registration.GetInfo(pluginregistration_pb2.InfoRequest(), timeout=_CALL_SECONDS)
                outcome = pluginregistration_pb2.RegistrationStatus(plugin_registered=True)
                try:
                    await self._introduce(info)
                    self.drivers[info.name] = Path(info.endpoint)
                    self._registered[path.name] = (info.name, inode)
                except _RegistrationError as error:
                    outcome = pluginregistration_pb2.RegistrationStatus(error=str(error))
                await registration.NotifyRegistrationStatus(outcome, timeout=_CALL_SECONDS)
            except (grpc.aio.AioRpcError, StatusError):
                return  # not listening yet, or gone again: the next scan tells

    async def _introduce(self, info: pluginregistration_pb2.PluginInfo) -> None:
        """NodeGetInfo; then the node's annotation and labels; then CSINode."""
        if not any(version.startswith("1.") for version in info.supported_versions):
            raise _RegistrationError(
                "RegisterPlugin error -- plugin registration failed with err: no supported version"
            )
        async with connected(Path(info.endpoint)) as driver:
            try:
                node_info = await driver.node.NodeGetInfo(csi_pb2.NodeGetInfoRequest(), timeout=_CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                raise _RegistrationError(
                    f"RegisterPlugin error -- plugin registration failed with err: {error.details()}"
                ) from error
        segments = dict(node_info.accessible_topology.segments)
        node = await self._client.get(NODES, self._node_name)
        node_ids = _node_ids(node) | {info.name: node_info.node_id}
        change = {"metadata": {"annotations": _annotation(node_ids), "labels": segments}}
        await self._client.patch(NODES, node, change)
        entry: Object = {
            "name": info.name,
            "nodeID": node_info.node_id,
            "topologyKeys": sorted(segments) or None,
        }
        if node_info.max_volumes_per_node:
            entry["allocatable"] = {"count": node_info.max_volumes_per_node}
        await self._write_csi_node(info.name, [entry])

    async def _deregister(self, socket_name: str, driver: str) -> None:
        del self._registered[socket_name]
        self.drivers.pop(driver, None)
        await self._write_csi_node(driver, [])
        node = await self._client.get(NODES, self._node_name)
        node_ids = {name: node_id for name, node_id in _node_ids(node).items() if name != driver}
        await self._client.patch(NODES, node, {"metadata": {"annotations": _annotation(node_ids)}})

    async def _write_csi_node(self, driver: str, entries: list[Object]) -> None:
        csi_node = await self._client.get(CSI_NODES, self._node_name)
        others = [entry for entry in csi_node["spec"].get("drivers") or [] if entry["name"] != driver]
        await self._client.patch(CSI_NODES, csi_node, {"spec": {"drivers": others + entries}})


def _node_ids(node: Object) -> dict[str, str]:
    text = (node["metadata"].get("annotations") or {}).get(_NODE_ID_ANNOTATION)
    return msgspec.json.decode(text, type=dict[str, str]) if text else {}


def _annotation(node_ids: dict[str, str]) -> dict[str, str | None]:
    return {_NODE_ID_ANNOTATION: msgspec.json.encode(node_ids).decode() if node_ids else None}
