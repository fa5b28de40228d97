"""The Node object: made at start, and its status on a period, which is when volumesInUse is told.

That period (10 s on a real node) is why a pod on an attachable volume may seem to wait for nothing: kubelet mounts only what it
has reported to be in use.
"""

import asyncio
import os
from collections.abc import Callable, Iterable

from csitrace.lab import objects
from csitrace.lab.apiserver.discovery import GIT_VERSION
from csitrace.lab.apiserver.resources import CSI_NODES, NODES
from csitrace.lab.client import Client
from csitrace.lab.clock import timestamp
from csitrace.lab.program import Program
from csitrace.lab.status import Object


async def create_node(client: Client, node_name: str) -> None:
    """The Node, Ready, and its CSINode, which knows no driver yet."""
    labels = {"kubernetes.io/hostname": node_name, "kubernetes.io/os": "linux"}
    node = await client.ensure(NODES, {"metadata": {"name": node_name, "labels": labels}, "spec": {}})
    status = {
        "conditions": _conditions([]),
        "addresses": [
            {"type": "InternalIP", "address": "127.0.0.1"},
            {"type": "Hostname", "address": node_name},
        ],
        "nodeInfo": {
            "kubeletVersion": GIT_VERSION,
            "kernelVersion": os.uname().release,
            "operatingSystem": "linux",
            "architecture": os.uname().machine,
        },
    }
    await client.patch(NODES, node, {"status": status}, "status")
    owner = {"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": node["metadata"]["uid"]}
    csi_node = {"metadata": {"name": node_name, "ownerReferences": [owner]}, "spec": {"drivers": []}}
    await client.ensure(CSI_NODES, csi_node)


_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


def _conditions(known: list[Object]) -> list[Object]:
    """What a healthy kubelet says, with the times at which each condition became so."""
    now = timestamp()
    since = {(entry["type"], entry["status"]): entry["lastTransitionTime"] for entry in known}
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": since.get((kind, status), now),
        }
        for kind, status, reason, message in _CONDITIONS
    ]


class NodeStatus:
    """Reports what `in_use` tells, each period in which it changed. `reported`: what the API server was told last.

    Somebody else who called the node not ready is put right.
    """

    def __init__(self, program: Program, node_name: str, in_use: Callable[[], Iterable[str]]) -> None:
        self.reported: frozenset[str] = frozenset()
        self._client = program.client
        self._pace = program.pace
        self._node_name = node_name
        self._in_use = in_use
        self._nodes = program.informer(NODES, f"metadata.name={node_name}")
        program.task(self._report)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self._pace.node_status)
            in_use = sorted(set(self._in_use()))
            change: Object = {}
            if frozenset(in_use) != self.reported:
                change["volumesInUse"] = in_use or None
            known = self._nodes.get(self._node_name)
            if known is not None and not objects.is_ready(known):
                change["conditions"] = _conditions(known["status"]["conditions"])
            if not change:
                continue
            await self._client.patch(
                NODES, {"metadata": {"name": self._node_name}}, {"status": change}, "status"
            )
            self.reported = frozenset(in_use)
