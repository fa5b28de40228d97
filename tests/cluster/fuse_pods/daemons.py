"""What the tests of FUSE pods share: objects they create, looks at what is, and a death of a daemon."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from csitrace.csi import csi_pb2, csi_pb2_grpc
from driver_ref.pods import status
from tests.cluster.harness import mounts, objects
from tests.cluster.harness.errors import ClusterError
from tests.cluster.harness.fusepods import DRIVER_NAME, FUSE_PODS, FusePods
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.leftovers import container_processes
from tests.cluster.harness.processes import ProcessId

WITHIN_S = 90.0


def user(
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


def pods(fuse: FusePods) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = fuse.pods.get("pods", "-l", FUSE_PODS)["items"]
    return items


def volume_of(kubectl: Kubectl, claim: str) -> dict[str, Any]:
    name = kubectl.get(f"persistentvolumeclaim/{claim}")["spec"]["volumeName"]
    volume: dict[str, Any] = kubectl.get(f"persistentvolume/{name}")
    return volume


def pod_of(fuse: FusePods, kubectl: Kubectl, claim: str) -> dict[str, Any]:
    handle = volume_of(kubectl, claim)["spec"]["csi"]["volumeHandle"]
    [pod] = [pod for pod in pods(fuse) if status.place_of(pod)[0] == handle]
    return pod


def restarts(pod: dict[str, Any]) -> int:
    return sum(container["restartCount"] for container in pod["status"].get("containerStatuses", ()))


def read(kubectl: Kubectl, pod: str) -> str:
    """What the pod's own file holds, read in its container; empty when it cannot be."""
    try:
        return kubectl("exec", pod, "--", "cat", f"/data/{pod}").strip()
    except ClusterError:
        return ""


def target_path(fuse: FusePods, kubectl: Kubectl, pod: str, claim: str) -> Path:
    found = kubectl.get(f"pod/{pod}")
    [node] = [node for node in fuse.cluster.nodes if node.name == found["spec"]["nodeName"]]
    volume = volume_of(kubectl, claim)["metadata"]["name"]
    pods = node.kubelet_root / "pods" / found["metadata"]["uid"]
    return pods / "volumes" / "kubernetes.io~csi" / volume / "mount"


def condition(fuse: FusePods, kubectl: Kubectl, claim: str, path: Path) -> csi_pb2.VolumeCondition:
    """What the driver on the volume's node says of it, asked as kubelet asks."""
    [node] = [node for node in fuse.cluster.nodes if path.is_relative_to(node.kubelet_root)]
    request = csi_pb2.NodeGetVolumeStatsRequest(
        volume_id=volume_of(kubectl, claim)["spec"]["csi"]["volumeHandle"], volume_path=str(path)
    )
    with grpc.insecure_channel(f"unix:{node.driver_socket(DRIVER_NAME)}") as channel:
        return csi_pb2_grpc.NodeStub(channel).NodeGetVolumeStats(request, timeout=30).volume_condition


def leftovers(fuse: FusePods) -> list[str]:
    """What there is of any volume: FUSE pods, attachments, mounts, shared directories, records, bytes."""
    left = [f"pod {status.name(pod)}" for pod in pods(fuse)]
    for node in fuse.cluster.nodes:
        left += [f"directory {path}" for path in fuse.shared(node).glob("*")]
        left += [
            f"mount {path}" for path in mounts.below(node.kubelet_root) if f"/{DRIVER_NAME}/" in str(path)
        ]
    for kind in ("volumes", "data", "trash"):
        left += [f"{kind} {path}" for path in (fuse.state / kind).glob("*")]
    return left + [str(path) for path in (fuse.state / "on-node").glob("*/*")]


def kill(pod: dict[str, Any]) -> None:
    """kill -9 the daemon of a FUSE pod: the process that serves its volume."""
    [daemon] = processes(pod, f"--volume-id={status.place_of(pod)[0]}")
    daemon.signal(signal.SIGKILL)


def processes(pod: dict[str, Any], argument: str) -> list[ProcessId]:
    """What runs in the cgroups of a pod's containers and was started with that argument."""
    containers = {one["containerID"].rpartition("/")[2] for one in pod["status"]["containerStatuses"]}
    found = []
    for process in container_processes(containers):
        with suppress(OSError):
            if argument in Path(f"/proc/{process.pid}/cmdline").read_text().split("\0"):
                found.append(process)
    return found


def serves_again(
    fuse: FusePods, kubectl: Kubectl, claim: str, pod: str, is_new: Callable[[dict[str, Any]], bool]
) -> None:
    def served() -> bool:
        with suppress(ValueError, ClusterError):  # the pod may just not be there
            found = pod_of(fuse, kubectl, claim)
            return is_new(found) and status.runs(found) and read(kubectl, pod) == pod
        return False

    eventually(served, lambda: f"{pod} does not read its files again: {pods(fuse)}")


def eventually(claim: Callable[[], object], what: Callable[[], str], within_s: float = WITHIN_S) -> None:
    """Wait until the claim holds; it is about files, mounts and processes, of whose changes no watch tells."""
    deadline = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > deadline:
            raise AssertionError(what())
        time.sleep(0.2)
