"""FUSE daemons in pods of their own, where something fails that is not the daemon's own fault: memory, node, API server, driver,
an impatient attacher. The volume comes good by itself, the error says what is missing, and nothing is left."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from csitrace.lifecycle.daemon_pods import daemon_pods
from csitrace.model.events import RpcFinished, RpcStarted
from csitrace.model.rpc import Code, short_method
from driver_ref.pods import status
from tests.cluster.conftest import Target
from tests.cluster.fuse_pods import daemons
from tests.cluster.fuse_pods.daemons import WITHIN_S
from tests.cluster.harness import objects
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.errors import ClusterError
from tests.cluster.harness.fusepods import DRIVER_NAME, STORAGE_CLASS, FusePods
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.leftovers import CGROUPS
from tests.cluster.harness.node import Node
from tests.cluster.watching import Watching, find_volume, watching

NOTICED_WITHIN_S = 120.0
"""A node is NotReady 40 to 50 s after its kubelet's last word."""

NOT_FINAL = {Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED}
"""What external-attacher takes for "may still be going on" (its isFinalError)."""

_MEMORY = (("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current"))
"""The limit and what is used, in a cgroup of version 1, and of version 2."""

pytestmark = [pytest.mark.timeout(400, func_only=True), pytest.mark.usefixtures("no_daemon_left")]


async def test_a_daemon_killed_for_its_memory_serves_again(
    fuse: FusePods, target: Target, kubectl: Kubectl, image: objects.Image
) -> None:
    """The kernel's OOM killer ends a daemon that needs more than its limit: Kubernetes and csitrace say OOMKilled,
    and the same container reads its files again."""
    kubectl.apply(objects.claim("data", STORAGE_CLASS), daemons.user("user", image, "data"))
    await asyncio.to_thread(kubectl.wait, "condition=Ready", "pod/user", timeout_s=WITHIN_S)
    pod = daemons.pod_of(fuse, kubectl, "data")
    async with watching(target) as watched:
        _give_no_more_memory(pod)
        await asyncio.to_thread(
            daemons.eventually,
            lambda: _uses_memory(kubectl) and status.last_exit(daemons.pod_of(fuse, kubectl, "data")),
            lambda: f"lives on: {daemons.pod_of(fuse, kubectl, 'data')}",
        )
        await watched.until(
            "csitrace names the last exit",
            lambda state: (
                (found := find_volume(state, kubectl.namespace))
                and any("OOMKilled" in one.last_exit for one in daemon_pods(state, found))
            ),
        )
    assert status.last_exit(daemons.pod_of(fuse, kubectl, "data")).startswith("OOMKilled")
    await asyncio.to_thread(
        daemons.serves_again, fuse, kubectl, "data", "user", lambda pod: daemons.restarts(pod) == 1
    )
    assert daemons.restarts(kubectl.get("pod/user")) == 0


def test_the_volume_of_a_node_that_is_gone_moves(
    fuse: FusePods, cluster: Cluster, kubectl: Kubectl, image: objects.Image
) -> None:
    """Its kubelet dead, its node tainted out-of-service: the FUSE pod there, which nobody can end, is taken away by force, the
    volume is attached to another node, its bytes are read there, and it is deleted; the node back, nothing is left on it."""
    node = _not_the_controllers(fuse)
    other = next(one for one in cluster.nodes if one != node)
    kubectl.apply(objects.claim("data", STORAGE_CLASS), daemons.user("old", image, "data", node=node.name))
    kubectl.wait("condition=Ready", "pod/old", timeout_s=WITHIN_S)
    pod = daemons.pod_of(fuse, kubectl, "data")
    cluster.kill(node.part("kubelet"))
    kubectl.wait("condition=Ready=Unknown", f"node/{node.name}", timeout_s=NOTICED_WITHIN_S)
    taint = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
    kubectl("taint", "node", node.name, taint)
    try:
        kubectl("delete", "pod/old", "--force", "--grace-period=0")
        kubectl.apply(daemons.user("new", image, "data", node=other.name))
        kubectl.wait("condition=Ready", "pod/new", timeout_s=NOTICED_WITHIN_S)
        assert kubectl("exec", "new", "--", "cat", "/data/old").strip() == "old"
        moved = daemons.pod_of(fuse, kubectl, "data")  # the only one
        assert moved["spec"]["nodeName"] == other.name
        assert moved["metadata"]["uid"] != pod["metadata"]["uid"]
        kubectl("delete", "pod/new", "persistentvolumeclaim/data")
        daemons.eventually(lambda: not _bytes(fuse), lambda: f"the node that is gone holds {_bytes(fuse)}")
    finally:
        cluster.restart(node.part("kubelet"))
        kubectl("taint", "node", node.name, f"{taint}-")
    kubectl.wait("condition=Ready", f"node/{node.name}")
    daemons.eventually(
        lambda: not daemons.processes(pod, f"--volume-id={status.place_of(pod)[0]}"),
        lambda: "the daemon on the node that was gone lives on",
    )


async def test_an_api_server_that_goes_away_while_a_pod_is_awaited(
    fuse: FusePods, target: Target, cluster: Cluster, kubectl: Kubectl, image: objects.Image
) -> None:
    """The call that waits is told so at once, by an error that is not final; with the API server back the same pod is waited for,
    and nobody has asked for the volume to be detached."""
    node = _not_the_controllers(fuse)
    async with _calls(fuse, target) as watched:
        with _pods_do_not_start(cluster, node):
            pod = await asyncio.to_thread(_pod_awaited, fuse, kubectl, image, node)
            volume_id, _ = status.place_of(pod)
            await asyncio.to_thread(cluster.kill, "kube-apiserver")
            answer = await watched.until(
                "the call is answered",
                lambda _: _answers(watched, volume_id, "ControllerPublishVolume"),
                30.0,
            )
            assert answer[0].code == Code.UNAVAILABLE
            assert "API server" in answer[0].message
            await asyncio.to_thread(cluster.restart, "kube-apiserver")
        await asyncio.to_thread(kubectl.wait, "condition=Ready", "pod/user", timeout_s=WITHIN_S)
        _attached_without_a_detour(fuse, kubectl, watched, pod)


async def test_a_driver_killed_while_it_waits_for_a_pod_adopts_it(
    fuse: FusePods, target: Target, cluster: Cluster, kubectl: Kubectl, image: objects.Image
) -> None:
    """kill -9 of the controller between creating the pod and its start: the one started in its place waits for the same pod and
    makes no second one, and the volume is attached."""
    node = _not_the_controllers(fuse)
    with _pods_do_not_start(cluster, node):
        pod = await asyncio.to_thread(_pod_awaited, fuse, kubectl, image, node)
        volume_id, _ = status.place_of(pod)
        [driver] = daemons.processes(fuse.controller, "--controller")
        driver.signal(signal.SIGKILL)
        await asyncio.to_thread(
            daemons.eventually,
            lambda: [one for one in daemons.processes(fuse.controller, "--controller") if one != driver],
            lambda: f"not started again: {fuse.controller['status']}",
        )
        async with _calls(fuse, target) as watched:
            await watched.until(
                "the new driver is asked",
                lambda _: _asked(watched, volume_id, "ControllerPublishVolume"),
                WITHIN_S,
            )
            await asyncio.to_thread(cluster.resume, node.part("kubelet"))
            await asyncio.to_thread(kubectl.wait, "condition=Ready", "pod/user", timeout_s=WITHIN_S)
            _attached_without_a_detour(fuse, kubectl, watched, pod)


async def test_an_attacher_without_patience_gets_there(
    fuse: FusePods, target: Target, cluster: Cluster, kubectl: Kubectl, image: objects.Image
) -> None:
    """external-attacher gives up long before the pod runs, again and again: none of its errors is final, none makes it detach,
    one pod is made and kept, and once that runs the volume is attached."""
    node = _not_the_controllers(fuse)
    await asyncio.to_thread(fuse.set_attacher_timeout, "1s")
    try:
        node = _not_the_controllers(fuse)
        async with _calls(fuse, target) as watched:
            with _pods_do_not_start(cluster, node):
                pod = await asyncio.to_thread(_pod_awaited, fuse, kubectl, image, node)
                volume_id, _ = status.place_of(pod)
                await watched.until(
                    "the attacher has asked three times",
                    lambda _: len(_asked(watched, volume_id, "ControllerPublishVolume")) >= 3,
                )
                await asyncio.to_thread(
                    daemons.eventually,
                    lambda: "is in progress" in kubectl("get", "volumeattachments", "-o", _ATTACH_ERRORS),
                    lambda: kubectl("get", "volumeattachments", "-o", _ATTACH_ERRORS),
                )
            await asyncio.to_thread(kubectl.wait, "condition=Ready", "pod/user", timeout_s=WITHIN_S)
            _attached_without_a_detour(fuse, kubectl, watched, pod)
    finally:
        await asyncio.to_thread(fuse.set_attacher_timeout, "60s")


async def test_what_can_never_be_attached_is_refused_for_good(
    fuse: FusePods, target: Target, kubectl: Kubectl, image: objects.Image
) -> None:
    """A volume that does not exist: the error is final, no pod is made for it and no attachment is kept, and it goes with its
    user."""
    name = f"absent-{kubectl.namespace}"
    kubectl.apply(_absent_volume(name, kubectl.namespace), _claim_of(name))
    kubectl.wait("jsonpath={.status.phase}=Bound", "persistentvolumeclaim/data")
    kubectl.apply(daemons.user("user", image, "data"))
    try:
        async with _calls(fuse, target) as watched:
            answers = await watched.until(
                "the attachment is refused",
                lambda _: _answers(watched, name, "ControllerPublishVolume"),
                WITHIN_S,
            )
            assert answers[0].code == Code.NOT_FOUND
            assert answers[0].code not in NOT_FINAL
            assert daemons.leftovers(fuse) == []
            # The attach/detach controller takes a volume for mounted until the node's status says otherwise. One that was never
            # in it is let go with the node's next report that comes without a reason, which may be five minutes away.
            await asyncio.to_thread(
                daemons.eventually,
                lambda: name in kubectl("get", "nodes", "-o", "jsonpath={.items[*].status.volumesInUse}"),
                lambda: "no node says that it uses the volume",
            )
            await asyncio.to_thread(kubectl, "delete", "pod/user")
            await asyncio.to_thread(
                daemons.eventually,
                lambda: name not in kubectl("get", "volumeattachments", "-o", "yaml"),
                lambda: "the attachment stays",
            )
    finally:
        await asyncio.to_thread(kubectl, "delete", "pod/user", "--ignore-not-found")
        await asyncio.to_thread(kubectl, "delete", f"persistentvolume/{name}", "persistentvolumeclaim/data")


# ---- what holds back, and what runs short


@contextmanager
def _pods_do_not_start(cluster: Cluster, node: Node) -> Iterator[None]:
    """Whatever is scheduled to the node meanwhile waits: its kubelet hangs."""
    cluster.suspend(node.part("kubelet"))
    try:
        yield
    finally:
        cluster.resume(node.part("kubelet"))


def _give_no_more_memory(pod: dict[str, Any]) -> None:
    """The daemon's container may have no more than it uses now; one that is started anew has the pod's limit again."""
    [container] = [one["containerID"].rpartition("/")[2] for one in pod["status"]["containerStatuses"]]
    [(limit, usage)] = [
        (cgroup / limit, cgroup / usage)
        for cgroup in CGROUPS.glob(f"**/k8s.io/{container}")
        for limit, usage in _MEMORY
        if (cgroup / limit).exists()
    ]
    assert int(limit.read_text()) == 256 << 20, "kubelet has not set the limit of the pod"
    if (
        limit.name == "memory.limit_in_bytes"
    ):  # takes no limit that it cannot keep, so what can go has to go first
        (limit.parent / "memory.force_empty").write_text("0")
        limit.write_text(str(int(usage.read_text()) + (256 << 10)))
    else:
        limit.write_text(str(int(usage.read_text()) // 2))


def _uses_memory(kubectl: Kubectl) -> bool:
    """Have the daemon know more and more files, each of which it remembers."""
    with suppress(ClusterError):  # the volume's end is what it is for
        kubectl("exec", "user", "--", "sh", "-c", "for i in $(seq 2000); do : > /data/more-$RANDOM-$i; done")
    return True


# ---- objects


_ATTACH_ERRORS = "jsonpath={.items[*].status.attachError.message}"


def _absent_volume(name: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": "",
            "capacity": {"storage": "16Mi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": "data"},
            "csi": {"driver": DRIVER_NAME, "volumeHandle": name},
        },
    }


def _claim_of(volume: str) -> dict[str, Any]:
    claim = objects.claim("data", "")
    claim["spec"]["volumeName"] = volume
    return claim


# ---- what is


def _not_the_controllers(fuse: FusePods) -> Node:
    """A node on which the Controller service is not."""
    return next(node for node in fuse.cluster.nodes if node != fuse.node_of(fuse.controller))


def _bytes(fuse: FusePods) -> list[Path]:
    """Where the bytes of volumes are."""
    return list((fuse.state / "data").iterdir())


def _pod_awaited(fuse: FusePods, kubectl: Kubectl, image: objects.Image, node: Node) -> dict[str, Any]:
    """The FUSE pod of a new volume on a node where it does not start."""
    kubectl.apply(objects.claim("data", STORAGE_CLASS), daemons.user("user", image, "data", node=node.name))
    daemons.eventually(lambda: daemons.pods(fuse), lambda: "no FUSE pod is made")
    [pod] = daemons.pods(fuse)
    return pod


def _calls(fuse: FusePods, target: Target) -> AbstractAsyncContextManager[Watching]:
    """csitrace, hearing the driver's Controller service as well."""
    return watching(target, feeds=[fuse.controller_feed()])


def _asked(watched: Watching, volume_id: str, method: str) -> list[RpcStarted]:
    """The calls of one method about one volume that csitrace heard: a feed tells of earlier ones, too."""
    return [body for body in _heard(watched) if isinstance(body, RpcStarted) and _is(body, volume_id, method)]


def _answers(watched: Watching, volume_id: str, method: str) -> list[RpcFinished]:
    """What they were answered."""
    return [
        body for body in _heard(watched) if isinstance(body, RpcFinished) and _is(body, volume_id, method)
    ]


def _heard(watched: Watching) -> Iterator[object]:
    history = watched.session.history
    return (event.body for event in history.events(history.first_seq, history.tail_seq))


def _is(body: RpcStarted | RpcFinished, volume_id: str, method: str) -> bool:
    return (body.driver, body.volume_id, short_method(body.method)) == (DRIVER_NAME, volume_id, method)


def _attached_without_a_detour(
    fuse: FusePods, kubectl: Kubectl, watched: Watching, pod: dict[str, Any]
) -> None:
    """The pod is the one that was made first, no answer meanwhile was final, and nobody asked to detach."""
    assert daemons.read(kubectl, "user") == "user"
    assert [one["metadata"]["uid"] for one in daemons.pods(fuse)] == [pod["metadata"]["uid"]]
    volume_id, _ = status.place_of(pod)
    codes = {answer.code for answer in _answers(watched, volume_id, "ControllerPublishVolume")}
    assert codes <= NOT_FINAL | {Code.OK}
    assert _asked(watched, volume_id, "ControllerUnpublishVolume") == []
