"""Roads on which a node fails: minutes long, since Kubernetes is patient with nodes; walked abreast on a cluster of their own."""

import asyncio
from functools import partial

from csitrace.lifecycle import index
from csitrace.lifecycle.state import State, Volume
from csitrace.model.kubernetes import Node
from csitrace.model.times import MINUTE, SECOND, parse_rfc3339
from tests.roads.expected import GONE, IN_USE
from tests.roads.manifests import WAITING, WRITING, Object, claim
from tests.roads.road import CLUSTER_ONLY, EVERYWHERE, Road, road
from tests.roads.traveller import Traveller

NOTICED_WITHIN_S = 120.0
"""The node lifecycle controller calls a node NotReady after 40 to 50 s without a word of its kubelet."""

FORCED_WITHIN_S = 600.0
FORCED_AFTER_NS = 6 * MINUTE
"""From the end of the pod object: `maxWaitForUnmountDuration` of the attach/detach controller (Kubernetes 1.34)."""

_failing = partial(road, on=EVERYWHERE, nodes=3, disturbs=True)
_on_cluster = partial(_failing, on=CLUSTER_ONLY)

EVICTED_AT_ONCE: list[Object] = [
    {
        "key": f"node.kubernetes.io/{taint}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 1,
    }
    for taint in ("not-ready", "unreachable")
]
"""Tolerations by which a pod is asked to go a second after its node was found NotReady, and not after five minutes."""


@_failing("node-not-ready", "A node is NotReady for a while, and comes back", stuck=("b2",))
async def node_not_ready(t: Traveller) -> None:
    """The volume is in use before, meanwhile and afterwards; a pod that is to go waits for the node until it is back."""
    node = t.nodes[1]
    await t.apply(claim("data", WAITING), t.pod("pod", ("data",), script=WRITING, node=node))
    await t.moment("in use", done="1-17", waits=IN_USE)
    await t.part("suspend", "kubelet-2")
    await t.until("the node is not ready", lambda s: _ready(s, node) is False, NOTICED_WITHIN_S)
    await t.moment("node not ready", done="1-17", waits=IN_USE)
    await t.delete("pod/pod")
    await t.moment("goes", pod="pod", done="1-17 b1", moving="b2", na="b10-b13", waits=("b2", f"node {node}"))
    await t.part("resume", "kubelet-2")
    await t.until("the node is back", lambda s: _ready(s, node))
    await t.moment("went", pod="pod", done="1-17 b1-b9", na="b10-b13")
    await t.delete("persistentvolumeclaim/data")
    await t.moment("gone", done="1-17 b1-b13", waits=GONE)


# The lab's kubelet does not come back to what an earlier one mounted; tests/unit/lab/test_nodes.py has the controllers' part.
@_on_cluster("kubelet-died", "A node's kubelet dies for good: the volume is detached by force", stuck=("10",))
async def kubelet_died(t: Traveller) -> None:
    """The evicted pod stays Terminating and its volume attached for as long as its object is there; deleted by force, the volume
    is detached six minutes later, though it is still mounted, and attached where the new pod is. The node back, it cleans up."""
    node = t.nodes[2]
    old = t.pod("old", ("data",), script=WRITING, node=node, tolerations=EVICTED_AT_ONCE)
    await t.apply(claim("data", WAITING), old)
    volume = await t.moment("in use", pod="old", done="1-17", waits=IN_USE)
    await t.part("kill", "kubelet-3")
    await t.until("the pod is asked to go", lambda s: _is_terminating(s, volume, "old"), NOTICED_WITHIN_S)
    await t.apply(t.pod("new", ("data",), script=WRITING, node=t.nodes[0]))
    await t.moment("refused", pod="new", done="1-9", either="15", moving="10", waits=("10", f"node {node}"))
    await asyncio.to_thread(
        t.place.cluster.kubectl().within(t.namespace), "delete", "pod/old", "--force", "--grace-period=0"
    )
    forced = await t.until("its object is gone", lambda s: _ended_at(s, volume, "old"))
    await t.moment("six minutes", pod="new", done="1-9 15", moving="10", waits=("10", f"node {node}"))
    await t.moment("detached, and mounted", pod="old", done="1-17 b1 b4 b7-b9", either="b2 b3 b5 b6", na="b10-b13",
                   within_s=FORCED_WITHIN_S)  # fmt: skip
    attached = await t.until("attached to the new node", lambda s: _attached_at(s, volume, t.nodes[0]))
    assert attached - forced > FORCED_AFTER_NS - 15 * SECOND, "detached sooner than by force"
    await t.moment("in use", pod="new", done="1-17")
    await t.part("restart", "kubelet-3")
    await t.moment("cleaned up", pod="old", done="1-17 b1-b9", na="b10-b13")
    await t.delete("pod/new", "persistentvolumeclaim/data")
    await t.moment("gone", pod="new", done="1-17 b1-b13", waits=GONE)


# The lab adds no nodes while it runs, and its containers do not outlive their kubelet; the controllers' part as above.
@_on_cluster(
    "node-out-of-service",
    "A node dies and is tainted out-of-service: its volume moves at once",
    stuck=("10",),
)
async def node_out_of_service(t: Traveller) -> None:
    """Nothing of the dead node is heard: what was done there the pod alone tells. The pod is evicted and stays Terminating;
    the taint has its object deleted and the volume detached without waiting, and the new pod gets it."""
    cluster = t.place.cluster
    node = await asyncio.to_thread(cluster.add_node)
    try:
        await t.until("the node takes pods", lambda s: _takes_pods(s, node.name))
        old = t.pod("old", ("data",), script=WRITING, node=node.name, tolerations=EVICTED_AT_ONCE)
        await t.apply(claim("data", WAITING), old)
        volume = await t.moment("in use", pod="old", done="1-15 16b-17", unknown="16a", waits=IN_USE)
        for kind in ("kubelet", "driver", "containerd"):
            await t.part("kill", node.part(kind))
        await t.until("the pod is asked to go", lambda s: _is_terminating(s, volume, "old"), NOTICED_WITHIN_S)
        await t.apply(t.pod("new", ("data",), script=WRITING, node=t.nodes[0]))
        await t.moment(
            "refused", pod="new", done="1-9", either="15", moving="10", waits=("10", f"node {node.name}")
        )
        taint = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
        await asyncio.to_thread(cluster.kubectl(), "taint", "node", node.name, taint)
        await t.until("its object is gone", lambda s: _ended_at(s, volume, "old"))
        await t.moment("moved", pod="new", done="1-17", waits=IN_USE)
        await t.moment(
            "left behind",
            pod="old",
            done="1-15 16b-17 b1 b4 b7-b9",
            either="b2 b6",
            unknown="16a b3 b5",
            na="b10-b13",
        )
    finally:
        await asyncio.to_thread(cluster.remove_node, node)
    await t.delete("pod/new", "persistentvolumeclaim/data")
    await t.moment("gone", pod="new", done="1-17 b1-b13", waits=GONE)


@_on_cluster(
    "node-deleted", "A node dies and its Node object is deleted: six minutes all the same", stuck=("10",)
)
async def node_deleted(t: Traveller) -> None:
    """The pod's object is garbage-collected about a minute later, whether it was asked to go or not; the volume is detached by
    force after the six minutes that a dead node has, too, and attached where the new pod is."""
    cluster = t.place.cluster
    node = await asyncio.to_thread(cluster.add_node)
    try:
        await t.until("the node takes pods", lambda s: _takes_pods(s, node.name))
        old = t.pod("old", ("data",), script=WRITING, node=node.name)
        await t.apply(claim("data", WAITING), old)
        volume = await t.moment("in use", pod="old", done="1-15 16b-17", unknown="16a", waits=IN_USE)
        for kind in ("kubelet", "driver", "containerd"):
            await t.part("kill", node.part(kind))
        await asyncio.to_thread(cluster.kubectl(), "delete", "node", node.name)
        await t.apply(t.pod("new", ("data",), script=WRITING, node=t.nodes[0]))
        refused = ("10", f"node {node.name}")
        await t.moment("refused", pod="new", done="1-9", either="15", moving="10", waits=refused)
        ended = await t.until("its object is gone", lambda s: _ended_at(s, volume, "old"), NOTICED_WITHIN_S)
        await t.moment("six minutes", pod="new", done="1-9 15", moving="10", waits=refused)
        attached = await t.until(
            "attached to the new node", lambda s: _attached_at(s, volume, t.nodes[0]), FORCED_WITHIN_S
        )
        assert attached - ended > FORCED_AFTER_NS - 15 * SECOND, "detached sooner than by force"
        await t.moment("moved", pod="new", done="1-17", waits=IN_USE)
        await t.moment(
            "left behind",
            pod="old",
            done="1-15 16b-17 b1 b4 b7-b9",
            unknown="16a b2 b3 b5 b6",
            na="b10-b13",
        )
    finally:
        await asyncio.to_thread(cluster.remove_node, node)
    await t.delete("pod/new", "persistentvolumeclaim/data")
    await t.moment("gone", pod="new", done="1-17 b1-b13", waits=GONE)


def _ready(state: State, node_name: str) -> bool | None:
    """What the node's condition Ready says; False where its kubelet has fallen silent."""
    node = index.by_name(state, Node, node_name)
    conditions = node.status.conditions if node is not None else ()
    return next((condition.status == "True" for condition in conditions if condition.type == "Ready"), None)


def _takes_pods(state: State, node_name: str) -> bool:
    """Ready, and no longer tainted as the node it was: who tolerates that for no time would be evicted at once."""
    node = index.by_name(state, Node, node_name)
    return node is not None and bool(_ready(state, node_name)) and not node.spec.taints


def _is_terminating(state: State, volume: Volume, pod: str) -> bool:
    return any(use.pod.name == pod and use.pod.is_terminating for use in state.volumes[volume.key].uses)


def _ended_at(state: State, volume: Volume, pod: str) -> int | None:
    return next((use.ended_at for use in state.volumes[volume.key].uses if use.pod.name == pod), None)


def _attached_at(state: State, volume: Volume, node: str) -> int | None:
    """When the VolumeAttachment to the node was made, which is when nothing was in its way any more."""
    found = (va for va, _ in state.volumes[volume.key].attachments if va.spec.node_name == node)
    return next((parse_rfc3339(va.metadata.creation_timestamp) for va in found), None)


FAILING_NODES: tuple[Road, ...] = (node_not_ready, kubelet_died, node_out_of_service, node_deleted)
