"""FUSE daemons in pods of their own, on the real cluster: they serve, they fail, they come again, and they leave nothing."""

import asyncio
import json
import os
from contextlib import suppress
from typing import Any

import pytest

from csitrace.lifecycle.daemon_pods import daemon_pods
from csitrace.lifecycle.verdict import verdict
from driver_ref.pods import status
from tests.cluster.conftest import Target
from tests.cluster.fuse_pods import daemons
from tests.cluster.fuse_pods.daemons import WITHIN_S
from tests.cluster.harness import objects
from tests.cluster.harness.errors import ClusterError
from tests.cluster.harness.fusepods import (
    CONTROLLER,
    DRIVER_NAME,
    FUSE_NAMESPACE,
    STORAGE_CLASS,
    FusePods,
)
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.watching import find_volume, watching

ROUNDS = int(os.environ.get("CSITRACE_FUSE_ROUNDS", "2"))
"""How often a volume is used and given back in the search for leaks; `make fuse-rounds` does it fifty times."""

pytestmark = [
    pytest.mark.timeout(300 + 60 * ROUNDS, func_only=True),
    pytest.mark.usefixtures("no_daemon_left"),
]


def test_a_stateful_set_lives_through_the_deaths_of_its_daemons(
    fuse: FusePods, kubectl: Kubectl, image: objects.Image
) -> None:
    """Three pods, each with a daemon in a pod of its own. A daemon that is killed, one whose pod is evicted, and the driver's own
    restart: every time the same containers, never restarted, read their files again; the driver's restart touches no daemon."""
    kubectl.apply(_stateful_set(image, 3))
    _rolled_out(kubectl, 3)
    pods = daemons.pods(fuse)
    assert len(pods) == 3
    for index in range(3):
        user = kubectl.get(f"pod/user-{index}")
        own = daemons.pod_of(fuse, kubectl, f"data-user-{index}")
        assert own["spec"]["nodeName"] == user["spec"]["nodeName"]
        assert own["spec"]["automountServiceAccountToken"] is False
        assert own["spec"]["priorityClassName"] == "system-node-critical"
        assert status.driver_of(own) == DRIVER_NAME

    daemons.kill(daemons.pod_of(fuse, kubectl, "data-user-0"))
    daemons.serves_again(fuse, kubectl, "data-user-0", "user-0", lambda pod: daemons.restarts(pod) == 1)

    evicted = daemons.pod_of(fuse, kubectl, "data-user-1")
    _evict(fuse, evicted)
    daemons.serves_again(
        fuse,
        kubectl,
        "data-user-1",
        "user-1",
        lambda pod: pod["metadata"]["uid"] != evicted["metadata"]["uid"],
    )

    before = {status.name(pod): (pod["metadata"]["uid"], daemons.restarts(pod)) for pod in daemons.pods(fuse)}
    fuse.restart_driver()
    for index in range(3):
        assert daemons.read(kubectl, f"user-{index}") == f"user-{index}"
    assert {
        status.name(pod): (pod["metadata"]["uid"], daemons.restarts(pod)) for pod in daemons.pods(fuse)
    } == before
    assert all(daemons.restarts(kubectl.get(f"pod/user-{index}")) == 0 for index in range(3))


def test_a_container_that_lets_no_mounts_in_is_told_of_in_the_condition(
    fuse: FusePods, kubectl: Kubectl, image: objects.Image
) -> None:
    """Without mountPropagation the running container keeps the dead mount, and NodeGetVolumeStats says so; once its container has
    been started anew it reads its files, and the condition is good again."""
    kubectl.apply(objects.claim("data", STORAGE_CLASS), daemons.user("user", image, "data", propagation=None))
    kubectl.wait("condition=Ready", "pod/user", timeout_s=WITHIN_S)
    path = daemons.target_path(fuse, kubectl, "user", "data")
    daemons.kill(daemons.pod_of(fuse, kubectl, "data"))
    daemons.eventually(
        lambda: "container must be started anew" in daemons.condition(fuse, kubectl, "data", path).message,
        lambda: f"condition: {daemons.condition(fuse, kubectl, 'data', path)}",
    )
    assert daemons.read(kubectl, "user") == ""
    with suppress(ClusterError):  # the connection ends with the process
        kubectl("exec", "user", "--", "kill", "1")
    daemons.eventually(lambda: daemons.read(kubectl, "user") == "user", lambda: "not read again")
    assert not daemons.condition(fuse, kubectl, "data", path).abnormal


def test_two_workloads_on_one_node_share_one_daemon(
    fuse: FusePods, kubectl: Kubectl, image: objects.Image
) -> None:
    """The first one's end leaves the daemon's pod alone, and the second one its files; the pod goes with the second."""
    kubectl.apply(objects.claim("data", STORAGE_CLASS), daemons.user("one", image, "data"))
    kubectl.wait("condition=Ready", "pod/one", timeout_s=WITHIN_S)
    node = kubectl.get("pod/one")["spec"]["nodeName"]
    kubectl.apply(daemons.user("two", image, "data", node=node))
    kubectl.wait("condition=Ready", "pod/two", timeout_s=WITHIN_S)
    [daemon] = daemons.pods(fuse)
    kubectl("delete", "pod/one")
    assert daemons.read(kubectl, "two") == "two"
    assert [pod["metadata"]["uid"] for pod in daemons.pods(fuse)] == [daemon["metadata"]["uid"]]


async def test_an_image_that_is_missing_is_said_and_waited_for(
    fuse: FusePods, target: Target, kubectl: Kubectl, image: objects.Image
) -> None:
    """The attachment's error and csitrace name the image; the error is none that ends the attempt, so with the right image the
    volume is attached without anybody's help."""
    missing = "localhost/csitrace-missing:1"
    await asyncio.to_thread(fuse.set_image, missing)
    try:
        kubectl.apply(objects.claim("data", STORAGE_CLASS), daemons.user("user", image, "data"))
        async with watching(target) as watched:
            volume = await watched.until(
                "csitrace names the image",
                lambda state: (
                    (found := find_volume(state, kubectl.namespace))
                    and missing in str([pod.trouble for pod in daemon_pods(state, found)])
                    and found
                ),
                WITHIN_S,
            )
            await watched.until(
                "the finding speaks of the FUSE pod",
                lambda state: (
                    "FUSE pod" in str(verdict(state, state.volumes[volume.key], watched.session.now))
                ),
                WITHIN_S,
            )
        attach_error = "jsonpath={.items[*].status.attachError.message}"
        await asyncio.to_thread(
            daemons.eventually,
            lambda: missing in kubectl("get", "volumeattachments", "-o", attach_error),
            lambda: kubectl("get", "volumeattachments", "-o", attach_error),
        )
    finally:
        await asyncio.to_thread(fuse.set_image, fuse.image)
    await asyncio.to_thread(kubectl.wait, "condition=Ready", "pod/user", timeout_s=WITHIN_S)
    assert daemons.read(kubectl, "user") == "user"


def test_a_node_without_room_is_said_and_waited_for(
    fuse: FusePods, kubectl: Kubectl, image: objects.Image
) -> None:
    """The FUSE pod is unschedulable: the attachment's error has the scheduler's words; with room the volume is attached."""
    # Not the controller's node: the filler would push it aside.
    controllers = {pod["spec"]["nodeName"] for pod in fuse.kubectl.get("pods", "-l", CONTROLLER)["items"]}
    node = next(node.name for node in fuse.cluster.nodes if node.name not in controllers)
    kubectl.apply(_filler(fuse, image, node))
    kubectl.wait("condition=Ready", "pod/filler", timeout_s=WITHIN_S)
    kubectl.apply(objects.claim("data", STORAGE_CLASS), daemons.user("user", image, "data", node=node))
    attach_error = "jsonpath={.items[*].status.attachError.message}"
    daemons.eventually(
        lambda: "Insufficient cpu" in kubectl("get", "volumeattachments", "-o", attach_error),
        lambda: kubectl("get", "volumeattachments", "-o", attach_error),
    )
    kubectl("delete", "pod/filler")
    kubectl.wait("condition=Ready", "pod/user", timeout_s=WITHIN_S)


def test_rounds_leave_nothing(fuse: FusePods, kubectl: Kubectl, image: objects.Image) -> None:
    """A volume made, used, its daemon killed, given back and deleted, again and again: no pod, mount or directory stays."""
    for number in range(ROUNDS):
        name = f"round-{number}"
        kubectl.apply(objects.claim(name, STORAGE_CLASS), daemons.user(name, image, name))
        kubectl.wait("condition=Ready", f"pod/{name}", timeout_s=WITHIN_S)
        daemons.kill(daemons.pod_of(fuse, kubectl, name))
        daemons.serves_again(fuse, kubectl, name, name, lambda pod: daemons.restarts(pod) >= 1)
        kubectl("delete", f"pod/{name}", f"persistentvolumeclaim/{name}", timeout_s=100)
        daemons.eventually(
            lambda: daemons.leftovers(fuse) == [], lambda: f"left behind: {daemons.leftovers(fuse)}"
        )


def _stateful_set(image: objects.Image, replicas: int) -> dict[str, Any]:
    pod = daemons.user("user", image, "data")
    spec = pod["spec"]
    del spec["volumes"]
    spec["containers"][0]["command"][-1] = (
        "echo $(hostname) > /data/$(hostname); trap 'exit 0' TERM; while :; do sleep 1; done"
    )
    spec["hostNetwork"] = False  # its hostname is then the pod's
    labels = {"app": "user"}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "user"},
        "spec": {
            "replicas": replicas,
            "serviceName": "user",
            "podManagementPolicy": "Parallel",
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
            "volumeClaimTemplates": [objects.claim("data", STORAGE_CLASS)],
        },
    }


def _filler(fuse: FusePods, image: objects.Image, node: str) -> dict[str, Any]:
    """A pod that takes what CPU the node has left, and that none may push aside."""
    kubectl = fuse.cluster.kubectl()
    allocatable = _millis(kubectl.get(f"node/{node}")["status"]["allocatable"]["cpu"])
    pods = kubectl.get("pods", "--all-namespaces", f"--field-selector=spec.nodeName={node}")["items"]
    taken = sum(
        _millis(container.get("resources", {}).get("requests", {}).get("cpu", "0"))
        for pod in pods
        for container in pod["spec"]["containers"]
        if pod["status"]["phase"] in ("Pending", "Running")
    )
    pod = objects.pod("filler", image)
    pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    pod["spec"]["priorityClassName"] = "system-node-critical"
    pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": f"{allocatable - taken - 1}m"}}
    return pod


def _millis(cpu: str) -> int:
    return int(cpu.removesuffix("m")) if cpu.endswith("m") else int(cpu) * 1000


def _rolled_out(kubectl: Kubectl, replicas: int) -> None:
    for index in range(replicas):
        kubectl.wait("condition=Ready", f"pod/user-{index}", timeout_s=WITHIN_S)


def _evict(fuse: FusePods, pod: dict[str, Any]) -> None:
    name = status.name(pod)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": FUSE_NAMESPACE},
    }
    path = f"/api/v1/namespaces/{FUSE_NAMESPACE}/pods/{name}/eviction"
    fuse.pods("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
