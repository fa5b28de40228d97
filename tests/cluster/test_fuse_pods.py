"""FUSE daemons in pods of their own, on the real cluster: they serve, they fail, they come again, and they leave nothing."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from csitrace.csi import csi_pb2, csi_pb2_grpc
from csitrace.lifecycle.daemon_pods import daemon_pods
from csitrace.lifecycle.verdict import verdict
from driver_ref.pods import status
from tests.cluster.conftest import Target
from tests.cluster.harness import mounts, objects
from tests.cluster.harness.errors import ClusterError
from tests.cluster.harness.fusepods import (
    CONTROLLER,
    DRIVER_NAME,
    FUSE_NAMESPACE,
    FUSE_PODS,
    STORAGE_CLASS,
    FusePods,
)
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.watching import find_volume, watching

WITHIN_S = 90.0
ROUNDS = int(os.environ.get("CSITRACE_FUSE_ROUNDS", "2"))
"""How often a volume is used and given back in the search for leaks; `make fuse-rounds` does it fifty times."""

pytestmark = pytest.mark.timeout(300 + 60 * ROUNDS, func_only=True)


@pytest.fixture(scope="module")
def fuse(target: Target) -> Iterator[FusePods]:
    """The driver with `--launcher pod`, in pods, on every node; gone afterwards."""
    if target.cluster is None:
        pytest.skip(
            "deploys a driver for the nodes of the harness, and CSITRACE_TEST_KUBECONFIG is another cluster"
        )
    deployed = FusePods(target.cluster)
    deployed.up()
    yield deployed
    deployed.down()


@pytest.fixture(autouse=True)
def nothing_left(fuse: FusePods, namespace: str) -> Iterator[None]:
    """After every test: no FUSE pod, no mount of the driver, no directory of one, no volume."""
    yield
    within = fuse.cluster.kubectl().within(namespace)
    within("delete", "statefulsets,pods,persistentvolumeclaims", "--all", timeout_s=100)
    _eventually(lambda: _leftovers(fuse) == [], lambda: f"left behind: {_leftovers(fuse)}")


def test_a_stateful_set_lives_through_the_deaths_of_its_daemons(
    fuse: FusePods, kubectl: Kubectl, image: objects.Image
) -> None:
    """Three pods, each with a daemon in a pod of its own. A daemon that is killed, one whose pod is evicted, and the driver's own
    restart: every time the same containers, never restarted, read their files again; the driver's restart touches no daemon."""
    kubectl.apply(_stateful_set(image, 3))
    _rolled_out(kubectl, 3)
    pods = _fuse_pods(fuse)
    assert len(pods) == 3
    for index in range(3):
        user = kubectl.get(f"pod/user-{index}")
        own = _fuse_pod_of(fuse, kubectl, f"data-user-{index}")
        assert own["spec"]["nodeName"] == user["spec"]["nodeName"]
        assert own["spec"]["automountServiceAccountToken"] is False
        assert own["spec"]["priorityClassName"] == "system-node-critical"
        assert status.driver_of(own) == DRIVER_NAME

    _kill_daemon(_fuse_pod_of(fuse, kubectl, "data-user-0"))
    _serves_again(fuse, kubectl, "data-user-0", "user-0", lambda pod: _restarts(pod) == 1)

    evicted = _fuse_pod_of(fuse, kubectl, "data-user-1")
    _evict(fuse, evicted)
    _serves_again(
        fuse,
        kubectl,
        "data-user-1",
        "user-1",
        lambda pod: pod["metadata"]["uid"] != evicted["metadata"]["uid"],
    )

    before = {status.name(pod): (pod["metadata"]["uid"], _restarts(pod)) for pod in _fuse_pods(fuse)}
    fuse.restart_driver()
    for index in range(3):
        assert _read(kubectl, f"user-{index}") == f"user-{index}"
    assert {status.name(pod): (pod["metadata"]["uid"], _restarts(pod)) for pod in _fuse_pods(fuse)} == before
    assert all(_restarts(kubectl.get(f"pod/user-{index}")) == 0 for index in range(3))


def test_a_container_that_lets_no_mounts_in_is_told_of_in_the_condition(
    fuse: FusePods, kubectl: Kubectl, image: objects.Image
) -> None:
    """Without mountPropagation the running container keeps the dead mount, and NodeGetVolumeStats says so; once its container has
    been started anew it reads its files, and the condition is good again."""
    kubectl.apply(objects.claim("data", STORAGE_CLASS), _pod("user", image, "data", propagation=None))
    kubectl.wait("condition=Ready", "pod/user", timeout_s=WITHIN_S)
    path = _target_path(fuse, kubectl, "user", "data")
    _kill_daemon(_fuse_pod_of(fuse, kubectl, "data"))
    _eventually(
        lambda: "container must be started anew" in _condition(fuse, kubectl, "data", path).message,
        lambda: f"condition: {_condition(fuse, kubectl, 'data', path)}",
    )
    assert _read(kubectl, "user") == ""
    with suppress(ClusterError):  # the connection ends with the process
        kubectl("exec", "user", "--", "kill", "1")
    _eventually(lambda: _read(kubectl, "user") == "user", lambda: "not read again")
    assert not _condition(fuse, kubectl, "data", path).abnormal


def test_two_workloads_on_one_node_share_one_daemon(
    fuse: FusePods, kubectl: Kubectl, image: objects.Image
) -> None:
    """The first one's end leaves the daemon's pod alone, and the second one its files; the pod goes with the second."""
    kubectl.apply(objects.claim("data", STORAGE_CLASS), _pod("one", image, "data"))
    kubectl.wait("condition=Ready", "pod/one", timeout_s=WITHIN_S)
    node = kubectl.get("pod/one")["spec"]["nodeName"]
    kubectl.apply(_pod("two", image, "data", node=node))
    kubectl.wait("condition=Ready", "pod/two", timeout_s=WITHIN_S)
    [daemon] = _fuse_pods(fuse)
    kubectl("delete", "pod/one")
    assert _read(kubectl, "two") == "two"
    assert [pod["metadata"]["uid"] for pod in _fuse_pods(fuse)] == [daemon["metadata"]["uid"]]


async def test_an_image_that_is_missing_is_said_and_waited_for(
    fuse: FusePods, target: Target, kubectl: Kubectl, image: objects.Image
) -> None:
    """The attachment's error and csitrace name the image; the error is none that ends the attempt, so with the right image the
    volume is attached without anybody's help."""
    missing = "localhost/csitrace-missing:1"
    await asyncio.to_thread(fuse.set_image, missing)
    try:
        kubectl.apply(objects.claim("data", STORAGE_CLASS), _pod("user", image, "data"))
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
            _eventually,
            lambda: missing in kubectl("get", "volumeattachments", "-o", attach_error),
            lambda: kubectl("get", "volumeattachments", "-o", attach_error),
        )
    finally:
        await asyncio.to_thread(fuse.set_image, fuse.image)
    await asyncio.to_thread(kubectl.wait, "condition=Ready", "pod/user", timeout_s=WITHIN_S)
    assert _read(kubectl, "user") == "user"


def test_a_node_without_room_is_said_and_waited_for(
    fuse: FusePods, kubectl: Kubectl, image: objects.Image
) -> None:
    """The FUSE pod is unschedulable: the attachment's error has the scheduler's words; with room the volume is attached."""
    # Not the controller's node: the filler would push it aside.
    controllers = {pod["spec"]["nodeName"] for pod in fuse.kubectl.get("pods", "-l", CONTROLLER)["items"]}
    node = next(node.name for node in fuse.cluster.nodes if node.name not in controllers)
    kubectl.apply(_filler(fuse, image, node))
    kubectl.wait("condition=Ready", "pod/filler", timeout_s=WITHIN_S)
    kubectl.apply(objects.claim("data", STORAGE_CLASS), _pod("user", image, "data", node=node))
    attach_error = "jsonpath={.items[*].status.attachError.message}"
    _eventually(
        lambda: "Insufficient cpu" in kubectl("get", "volumeattachments", "-o", attach_error),
        lambda: kubectl("get", "volumeattachments", "-o", attach_error),
    )
    kubectl("delete", "pod/filler")
    kubectl.wait("condition=Ready", "pod/user", timeout_s=WITHIN_S)


def test_rounds_leave_nothing(fuse: FusePods, kubectl: Kubectl, image: objects.Image) -> None:
    """A volume made, used, its daemon killed, given back and deleted, again and again: no pod, mount or directory stays."""
    for number in range(ROUNDS):
        name = f"round-{number}"
        kubectl.apply(objects.claim(name, STORAGE_CLASS), _pod(name, image, name))
        kubectl.wait("condition=Ready", f"pod/{name}", timeout_s=WITHIN_S)
        _kill_daemon(_fuse_pod_of(fuse, kubectl, name))
        _serves_again(fuse, kubectl, name, name, lambda pod: _restarts(pod) >= 1)
        kubectl("delete", f"pod/{name}", f"persistentvolumeclaim/{name}", timeout_s=100)
        _eventually(lambda: _leftovers(fuse) == [], lambda: f"left behind: {_leftovers(fuse)}")


# ---- objects


def _pod(
    name: str,
    image: objects.Image,
    claim: str,
    *,
    node: str = "",
    propagation: str | None = "HostToContainer",
) -> dict[str, Any]:
    """A pod with the claim at /data, where it writes its name; the script ends on SIGTERM, and the container is started again."""
    script = f"echo {name} > /data/{name}; trap 'exit 0' TERM; while :; do sleep 1; done"
    pod = objects.pod(name, image, script)
    spec = pod["spec"]
    spec["restartPolicy"] = "Always"
    mount: dict[str, Any] = {"name": "data", "mountPath": "/data"}
    if propagation is not None:
        mount["mountPropagation"] = propagation
    spec["containers"][0]["volumeMounts"] = [mount]
    spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return pod


def _stateful_set(image: objects.Image, replicas: int) -> dict[str, Any]:
    pod = _pod("user", image, "data")
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


# ---- what is


def _fuse_pods(fuse: FusePods) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = fuse.pods.get("pods", "-l", FUSE_PODS)["items"]
    return items


def _volume_of(kubectl: Kubectl, claim: str) -> dict[str, Any]:
    name = kubectl.get(f"persistentvolumeclaim/{claim}")["spec"]["volumeName"]
    volume: dict[str, Any] = kubectl.get(f"persistentvolume/{name}")
    return volume


def _fuse_pod_of(fuse: FusePods, kubectl: Kubectl, claim: str) -> dict[str, Any]:
    handle = _volume_of(kubectl, claim)["spec"]["csi"]["volumeHandle"]
    [pod] = [pod for pod in _fuse_pods(fuse) if status.place_of(pod)[0] == handle]
    return pod


def _restarts(pod: dict[str, Any]) -> int:
    return sum(container["restartCount"] for container in pod["status"].get("containerStatuses", ()))


def _read(kubectl: Kubectl, pod: str) -> str:
    """What the pod's own file holds, read in its container; empty when it cannot be."""
    try:
        return kubectl("exec", pod, "--", "cat", f"/data/{pod}").strip()
    except ClusterError:
        return ""


def _target_path(fuse: FusePods, kubectl: Kubectl, pod: str, claim: str) -> Path:
    found = kubectl.get(f"pod/{pod}")
    [node] = [node for node in fuse.cluster.nodes if node.name == found["spec"]["nodeName"]]
    volume = _volume_of(kubectl, claim)["metadata"]["name"]
    pods = node.kubelet_root / "pods" / found["metadata"]["uid"]
    return pods / "volumes" / "kubernetes.io~csi" / volume / "mount"


def _condition(fuse: FusePods, kubectl: Kubectl, claim: str, path: Path) -> csi_pb2.VolumeCondition:
    """What the driver on the volume's node says of it, asked as kubelet asks."""
    [node] = [node for node in fuse.cluster.nodes if path.is_relative_to(node.kubelet_root)]
    request = csi_pb2.NodeGetVolumeStatsRequest(
        volume_id=_volume_of(kubectl, claim)["spec"]["csi"]["volumeHandle"], volume_path=str(path)
    )
    with grpc.insecure_channel(f"unix:{node.driver_socket(DRIVER_NAME)}") as channel:
        return csi_pb2_grpc.NodeStub(channel).NodeGetVolumeStats(request, timeout=30).volume_condition


def _leftovers(fuse: FusePods) -> list[str]:
    """What there is of any volume: FUSE pods, attachments, mounts, shared directories, records, bytes."""
    left = [f"pod {status.name(pod)}" for pod in _fuse_pods(fuse)]
    for node in fuse.cluster.nodes:
        left += [f"directory {path}" for path in fuse.shared(node).glob("*")]
        left += [
            f"mount {path}" for path in mounts.below(node.kubelet_root) if f"/{DRIVER_NAME}/" in str(path)
        ]
    for kind in ("volumes", "data", "trash"):
        left += [f"{kind} {path}" for path in (fuse.state / kind).glob("*")]
    return left + [str(path) for path in (fuse.state / "on-node").glob("*/*")]


# ---- what is done


def _rolled_out(kubectl: Kubectl, replicas: int) -> None:
    for index in range(replicas):
        kubectl.wait("condition=Ready", f"pod/user-{index}", timeout_s=WITHIN_S)


def _kill_daemon(pod: dict[str, Any]) -> None:
    """kill -9 the daemon of a FUSE pod: the process that serves its volume, in one of its containers' cgroups."""
    volume_id = status.place_of(pod)[0]
    containers = {one["containerID"].rpartition("/")[2] for one in pod["status"]["containerStatuses"]}
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if (
                not process.name.isdecimal()
                or f"--volume-id={volume_id}" not in (process / "cmdline").read_text()
            ):
                continue
            if any(container in (process / "cgroup").read_text() for container in containers):
                os.kill(int(process.name), signal.SIGKILL)
                return
    raise AssertionError(f"no daemon of {status.name(pod)} runs")


def _evict(fuse: FusePods, pod: dict[str, Any]) -> None:
    name = status.name(pod)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": FUSE_NAMESPACE},
    }
    path = f"/api/v1/namespaces/{FUSE_NAMESPACE}/pods/{name}/eviction"
    fuse.pods("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def _serves_again(
    fuse: FusePods, kubectl: Kubectl, claim: str, pod: str, is_new: Callable[[dict[str, Any]], bool]
) -> None:
    def served() -> bool:
        with suppress(ValueError, ClusterError):  # the pod may just not be there
            found = _fuse_pod_of(fuse, kubectl, claim)
            return is_new(found) and status.runs(found) and _read(kubectl, pod) == pod
        return False

    _eventually(served, lambda: f"{pod} does not read its files again: {_fuse_pods(fuse)}")


def _eventually(claim: Callable[[], object], what: Callable[[], str], within_s: float = WITHIN_S) -> None:
    """Wait until the claim holds; it is about files, mounts and processes, of whose changes no watch tells."""
    deadline = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > deadline:
            raise AssertionError(what())
        time.sleep(0.2)
