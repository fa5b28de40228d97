"""Nodes that fall silent, and what becomes of their pods and volumes: the controllers over real HTTP and gRPC, no kubelet."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import (
    DEPLOYMENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    STATEFUL_SETS,
    VOLUME_ATTACHMENTS,
)
from csitrace.lab.clock import micro_timestamp
from csitrace.lab.loops.controller_manager import CONTROLLERS
from csitrace.lab.pace import Pace
from csitrace.lab.status import Object
from tests.unit.lab.scripted_driver import ScriptedDriver
from tests.unit.lab.test_loops import World, running

PACE = Pace(speed=100)
"""Fast, since six minutes are waited for; still slow enough for the hearts of the nodes."""

SOON = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 5}

UNREACHABLE = "node.kubernetes.io/unreachable"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Two nodes, both with a heart that beats until it is told to stop (`stop`), and all controllers."""
    async with running(ScriptedDriver(), CONTROLLERS, PACE) as made:
        await made.client.create(NAMESPACES, {"metadata": {"name": "kube-node-lease"}})
        hearts = {name: asyncio.create_task(_beat(made, name)) for name in ("n1", "n2")}
        for name in hearts:
            await made.add_node(name)
        await made.add_class("fast")
        made.hearts = hearts  # type: ignore[attr-defined]
        yield made
        for heart in hearts.values():
            heart.cancel()


async def _beat(world: World, name: str) -> None:
    lease: Object = {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {}}
    await world.client.create(LEASES, lease)
    while True:
        await world.client.patch(LEASES, lease, {"spec": {"renewTime": micro_timestamp()}})
        await asyncio.sleep(PACE.heartbeat / 2)


def stop(world: World, name: str) -> None:
    world.hearts[name].cancel()  # type: ignore[attr-defined]


async def _in_use(world: World, pod: str, node: str) -> Object:
    """A claim and a pod that runs on a node; the claim's attachment, which that node says it uses."""
    await world.add_claim("c")
    await world.until_bound("c")
    made = await world.add_pod(pod, "c", nodeName=node, tolerations=[SOON])
    running_now = {"phase": "Running", "containerStatuses": [{"name": "m", "state": {"running": {}}}]}
    await world.client.patch(PODS, made, {"status": running_now}, "status")
    attachment = await world.attachment(lambda found: found["status"]["attached"])
    await world.until_event(pod, "SuccessfulAttachVolume")
    volume = await world.client.get(PERSISTENT_VOLUME_CLAIMS, "c", "demo")
    used = {"status": {"volumesInUse": [f"kubernetes.io/csi/scripted^vol-{volume['spec']['volumeName']}"]}}
    await world.client.patch(NODES, {"metadata": {"name": node}}, used, "status")
    return attachment


async def test_a_silent_node_is_unreachable(world: World) -> None:
    """Unknown, tainted, told by an Event; when it is heard again and says so, the taints go."""
    stop(world, "n2")
    found = await world.until(NODES, "n2", lambda node: objects.has_taint(node, UNREACHABLE, "NoExecute"))
    ready = objects.condition(found, "Ready") or {}
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
    await world.until_event("n2", "NodeNotReady", "Node n2 status is now: NodeNotReady")
    back = {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "later"}]}
    await world.client.patch(NODES, found, {"status": back}, "status")
    await world.until(NODES, "n2", lambda node: not node["spec"].get("taints"))
    assert objects.is_ready(await world.client.get(NODES, "n1"))


async def test_a_volume_is_taken_from_a_dead_node(world: World) -> None:
    """Its pod is told to go and cannot; once somebody forces it away, the volume is detached after six minutes of the lab's pace,
    though the node still says that it uses it."""
    attachment = await _in_use(world, "p1", "n1")
    stop(world, "n1")
    await world.until_event("p1", "TaintManagerEviction", "Marking for deletion Pod demo/p1")
    pod = await world.until(PODS, "p1", objects.is_terminating, "demo")
    await world.add_pod("p2", "c", nodeName="n2")
    await world.until_event("p2", "FailedAttachVolume", "Volume is already used by pod(s) p1")
    await world.client.delete(PODS, pod, grace_seconds=0)
    await world.until_gone(VOLUME_ATTACHMENTS, attachment["metadata"]["name"])
    await world.attachment(lambda found: found["spec"]["nodeName"] == "n2" and found["status"]["attached"])


async def test_a_node_out_of_service_gives_all_up(world: World) -> None:
    """With that taint its leaving pods are ended for it, and its volumes are detached at once."""
    attachment = await _in_use(world, "p1", "n1")
    stop(world, "n1")
    await world.until(PODS, "p1", objects.is_terminating, "demo")
    taint = {"key": objects.OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}

    def tainted(node: Object) -> Object:
        return node | {"spec": node["spec"] | {"taints": [*node["spec"].get("taints", []), taint]}}

    await world.client.modify(NODES, "n1", tainted)
    await world.until_gone(PODS, "p1", "demo")
    await world.until_gone(VOLUME_ATTACHMENTS, attachment["metadata"]["name"])


async def test_a_cordoned_node_is_left_alone(world: World) -> None:
    """The taint that goes with it, and no new pods; those that are there stay."""
    await world.client.patch(NODES, {"metadata": {"name": "n1"}}, {"spec": {"unschedulable": True}})
    await world.until(
        NODES, "n1", lambda node: objects.has_taint(node, "node.kubernetes.io/unschedulable", "NoSchedule")
    )
    await world.add_claim("c")
    await world.until_bound("c")
    await world.add_pod("p", "c")
    await world.until(PODS, "p", lambda pod: pod["spec"].get("nodeName") == "n2", "demo")


async def test_a_rolling_update_starts_the_new_pod_first(world: World) -> None:
    """The old pod goes when the new one is ready; what a Deployment made goes with it."""
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "m", "image": "one"}]},
    }
    deployment = await world.client.create(
        DEPLOYMENTS, {"metadata": {"name": "web", "namespace": "demo"}, "spec": {"template": template}}
    )
    [first] = await _pods(world, 1)
    await _be_ready(world, first)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "m", "image": "two"}]}}}}
    await world.client.patch(DEPLOYMENTS, deployment, change)
    second = next(pod for pod in await _pods(world, 2) if pod["metadata"]["uid"] != first["metadata"]["uid"])
    assert not objects.is_terminating(await world.client.get(PODS, first["metadata"]["name"], "demo"))
    await _be_ready(world, second)
    await world.until(PODS, first["metadata"]["name"], objects.is_terminating, "demo")
    await world.client.delete(DEPLOYMENTS, deployment)
    await world.until(PODS, second["metadata"]["name"], objects.is_terminating, "demo")


async def test_a_stateful_set_goes_one_by_one(world: World) -> None:
    """The second pod waits until the first one is ready; scaled down, the highest one goes, and its claim stays."""
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "db"}},
        "template": {
            "metadata": {"labels": {"app": "db"}},
            "spec": {"containers": [{"name": "m", "image": "x"}]},
        },
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }
    made = await world.client.create(
        STATEFUL_SETS, {"metadata": {"name": "db", "namespace": "demo"}, "spec": spec}
    )
    first = await world.until(PODS, "db-0", lambda pod: pod["spec"].get("nodeName"), "demo")
    assert await world.client.find(PODS, "db-1", "demo") is None
    await _be_ready(world, first)
    second = await world.until(PODS, "db-1", lambda pod: pod["spec"].get("nodeName"), "demo")
    await _be_ready(world, second)
    await world.client.patch(STATEFUL_SETS, made, {"spec": {"replicas": 1}})
    await world.until(PODS, "db-1", objects.is_terminating, "demo")
    assert not objects.is_terminating(await world.client.get(PODS, "db-0", "demo"))
    assert (await world.client.get(PERSISTENT_VOLUME_CLAIMS, "data-db-1", "demo"))["status"][
        "phase"
    ] == "Bound"


async def _pods(world: World, count: int) -> list[Object]:
    """The pods, once there are so many that are on a node."""
    async with asyncio.timeout(20):
        while True:
            found = (await world.client.list_page(PODS, "demo"))["items"]
            placed: list[Object] = [pod for pod in found if pod["spec"].get("nodeName")]
            if len(placed) >= count:
                return placed
            await asyncio.sleep(0.02)


async def _be_ready(world: World, pod: Object) -> None:
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await world.client.patch(PODS, pod, {"status": ready}, "status")
