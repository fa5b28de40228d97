"""The node's part of an expansion: NodeExpandVolume for what is mounted, and the claim's status after it.

kubelet 1.34, pkg/volume/util/operationexecutor (node_expander).
"""

from collections.abc import Awaitable, Callable

import grpc

from csitrace.csi import csi_pb2
from csitrace.lab import objects
from csitrace.lab.apiserver.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from csitrace.lab.csi_client import DriverClient, go_text
from csitrace.lab.kubelet.layout import Layout
from csitrace.lab.kubelet.volume_sources import PodVolume
from csitrace.lab.program import Program
from csitrace.lab.quantity import parse_quantity
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object
from csitrace.lab.workqueue import RetryError

_NODE = csi_pb2.NodeServiceCapability.RPC.Type
_RESIZING = frozenset({"Resizing", "FileSystemResizePending", "NodeResizeError"})
_PENDING = frozenset({"NodeResizePending", "NodeResizeInProgress"})


class NodeExpansion:
    """`with_driver`: runs a call with the volume's driver, one call on a volume at a time."""

    def __init__(
        self,
        program: Program,
        node_name: str,
        layout: Layout,
        with_driver: Callable[
            [PodVolume, Callable[[DriverClient], Awaitable[csi_pb2.NodeExpandVolumeResponse | None]]],
            Awaitable[csi_pb2.NodeExpandVolumeResponse | None],
        ],
    ) -> None:
        self._client = program.client
        self._pace = program.pace
        self._node_name = node_name
        self._layout = layout
        self._with_driver = with_driver
        self._events = EventRecorder(program.client, "kubelet", node_name)
        self._claims = program.informer(PERSISTENT_VOLUME_CLAIMS)

    def is_due(self, volume: PodVolume, pod: Object) -> bool:
        """Whether the controller's part is done and the node's is not."""
        claim = self._claims.get(volume.claim_name, pod["metadata"]["namespace"])
        return claim is not None and _status(claim) in _PENDING

    async def why_unknown(self, volume: PodVolume, pod: Object) -> str:
        """Why kubelet cannot ask, at the end of mounting, whether there is a part left for it; empty when it can.

        A node may read the claims of its own pods alone: of a pod that is gone already, it may not.
        """
        namespace, name = objects.key_of(pod)
        found = await self._client.find(PODS, name, namespace)
        if found is not None and found["metadata"]["uid"] == volume.pod_uid:
            return ""
        return (
            f'MountVolume.Setup failed while expanding volume for volume "{volume.volume_name}" : '
            f'mountVolume.NodeExpandVolume get PVC failed : persistentvolumeclaims "{volume.claim_name}" is forbidden: '
            f'User "system:node:{self._node_name}" cannot get resource "persistentvolumeclaims" in API group "" in the '
            f"namespace \"{namespace}\": no relationship found between node '{self._node_name}' and this object"
        )

    async def expand(self, volume: PodVolume, pod: Object) -> None:
        """Do the node's part, if there is one to do. RetryError when the driver refuses."""
        claim = await self._client.find(
            PERSISTENT_VOLUME_CLAIMS, volume.claim_name, pod["metadata"]["namespace"]
        )
        persistent = await self._client.find(PERSISTENT_VOLUMES, volume.volume_name)
        if claim is None or persistent is None or _status(claim) not in _PENDING:
            return
        capacity = persistent["spec"]["capacity"]["storage"]
        if _status(claim) != "NodeResizeInProgress":
            claim = await self._write(
                claim, {"allocatedResourceStatuses": {"storage": "NodeResizeInProgress"}}
            )
        try:
            answer = await self._with_driver(volume, lambda driver: self._call(driver, volume, capacity))
        except grpc.aio.AioRpcError as error:
            message = f'NodeExpandVolume.NodeExpandVolume failed for volume "{volume.volume_name}" : {go_text(error)}'
            await self._events.warning(pod, "VolumeResizeFailed", message)
            raise RetryError from error
        if answer is None:
            return
        left = [c for c in claim["status"].get("conditions") or [] if c["type"] not in _RESIZING]
        status = {
            "capacity": {"storage": capacity},
            "conditions": left or None,
            "allocatedResourceStatuses": None,
        }
        claim = await self._write(claim, status)
        message = (
            f'MountVolume.NodeExpandVolume succeeded for volume "{volume.volume_name}" {self._node_name}'
        )
        for about in (pod, claim):
            await self._events.normal(about, "FileSystemResizeSuccessful", message)

    async def _call(
        self, driver: DriverClient, volume: PodVolume, capacity: str
    ) -> csi_pb2.NodeExpandVolumeResponse | None:
        """None when the driver has no part for the node."""
        if _NODE.EXPAND_VOLUME not in await driver.node_capabilities():
            return None
        request = csi_pb2.NodeExpandVolumeRequest(
            volume_id=volume.volume_handle,
            volume_path=str(self._layout.publish_path(volume.pod_uid, volume.volume_name)),
            staging_target_path=str(self._layout.staging_path(volume.driver, volume.volume_handle)),
            capacity_range=csi_pb2.CapacityRange(required_bytes=parse_quantity(capacity)),
        )
        return await driver.node.NodeExpandVolume(request, timeout=self._pace.mount_timeout)

    async def _write(self, claim: Object, status: Object) -> Object:
        return await self._client.patch(PERSISTENT_VOLUME_CLAIMS, claim, {"status": status}, "status")


def _status(claim: Object) -> str:
    return str((claim["status"].get("allocatedResourceStatuses") or {}).get("storage", ""))
