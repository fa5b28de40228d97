"""Agents on a real cluster: the DaemonSet of ``csitrace agent manifest``, heard over the API server alone."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from csitrace.agent.manifest import manifest
from csitrace.lifecycle.state import SourceState, State
from csitrace.lifecycle.verdict import verdict
from csitrace.lifecycle.views import Severity
from csitrace.model.events import Witness
from csitrace.sources.agents.source import AgentsSource
from csitrace.sources.kubernetes.config import ConnectionOptions
from csitrace.sources.kubernetes.source import KubernetesSource
from tests.cluster.conftest import Target
from tests.cluster.harness import objects, storage
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.watching import Watching, find_volume, hearing
from tools.image import build

NAMESPACE = "csitrace"
DAEMON_SET = "daemonset/csitrace-agent"
HEARD_WITHIN_S = 90.0


@pytest.fixture(scope="module")
def agents(target: Target) -> Iterator[Kubectl]:
    """An agent on every node; kubectl in their namespace. The last test takes them away."""
    cluster = target.cluster
    if cluster is None:
        pytest.skip(
            "no registry that the cluster of CSITRACE_TEST_KUBECONFIG knows has the image of this source tree"
        )
    image, archive = build(print)
    for node in cluster.nodes:
        node.import_images(archive)
    kubectl = target.kubectl.within(NAMESPACE)
    try:
        kubectl.apply(*_manifest(cluster, image))
        kubectl("rollout", "status", DAEMON_SET, "--timeout=300s", timeout_s=310)
        yield kubectl
    finally:
        target.kubectl("delete", "clusterrole/csitrace-agents", "--ignore-not-found")
        target.kubectl("delete", f"namespace/{NAMESPACE}", "--ignore-not-found", timeout_s=100)


async def test_kernel_and_drivers_of_both_nodes_are_heard_over_the_api_server_alone(
    agents: Kubectl, target: Target, kubectl: Kubectl, image: objects.Image
) -> None:
    """With nothing but a kubeconfig, a volume's whole way is seen as from the node itself: calls, mounts, and its FUSE daemon.
    The pods run with what the manifest gives them, and were never restarted."""
    async with _watching(target) as watched:
        for node in ("node-1", "node-2"):
            await _until_heard(watched, node)
        claim = objects.claim("data", storage.WAITING_CLASS)
        await asyncio.to_thread(kubectl.apply, claim, objects.pod("pod", image, claims=("data",)))

        def is_in_use(state: State) -> bool:
            volume = find_volume(state, kubectl.namespace)
            if volume is None or not (volume.uses and volume.mounts):
                return False
            return verdict(state, volume, watched.session.now).severity is Severity.OK

        await watched.until("the volume is in use, by all witnesses", is_in_use, HEARD_WITHIN_S)
        await watched.until("its daemon is known by its process", _has_daemon, HEARD_WITHIN_S)
    pods = await asyncio.to_thread(agents.get, "pods", "-l", "app.kubernetes.io/name=csitrace-agent")
    statuses = [status for pod in pods["items"] for status in pod["status"]["containerStatuses"]]
    assert [status["restartCount"] for status in statuses] == [0, 0]


async def test_who_may_not_forward_ports_is_told_so_and_the_printed_role_is_enough(
    agents: Kubectl, target: Target
) -> None:
    """A user who may read pods is told what is missing; one with the manifest's role, in the agents' namespace, hears them."""
    agents("create", "clusterrolebinding", "agents-reader", "--clusterrole=view", "--user=reader")
    try:
        async with _watching(target, as_user="reader") as watched:
            for node in ("node-1", "node-2"):
                missed = await _until_missed(
                    watched, node, "may not port-forward to pod csitrace/csitrace-agent-"
                )
                assert missed.denied
    finally:
        agents("delete", "clusterrolebinding", "agents-reader")
    agents("create", "rolebinding", "csitrace-agents", "--clusterrole=csitrace-agents", "--user=hearer")
    async with _watching(target, as_user="hearer") as watched:
        for node in ("node-1", "node-2"):
            await _until_heard(watched, node)


async def test_an_agent_that_hangs_and_one_that_is_gone_are_missed(
    agents: Kubectl, cluster: Cluster, target: Target
) -> None:
    """A stopped agent gives no sign of life, and the other node is heard; when it goes on it is heard again;
    without the DaemonSet there is no agent."""
    async with _watching(target) as watched:
        for node in ("node-1", "node-2"):
            await _until_heard(watched, node)
        process = _agent_on("node-1", cluster)
        os.kill(process, signal.SIGSTOP)
        try:
            await _until_missed(watched, "node-1", "gave no sign of life for")
            await _until_heard(watched, "node-2")
        finally:
            os.kill(process, signal.SIGCONT)
        await _until_heard(watched, "node-1")
        await asyncio.to_thread(agents, "delete", DAEMON_SET)
        for node in ("node-1", "node-2"):
            await _until_missed(watched, node, f"no agent on node {node}")


@asynccontextmanager
async def _watching(target: Target, as_user: str = "") -> AsyncIterator[Watching]:
    """A session that hears the cluster over the API server only."""
    options = ConnectionOptions(kubeconfig=str(target.kubectl.kubeconfig), as_user=as_user)
    kubernetes = await KubernetesSource.open(options)
    sources = [AgentsSource(kubernetes.connection)]
    async with hearing([kubernetes, *sources] if not as_user else sources, ()) as watched:
        yield watched


async def _until_heard(watched: Watching, node: str) -> None:
    """Until kernel and driver of a node are heard, and have told all there is."""

    def is_heard(state: State) -> bool:
        scopes = ((Witness.KERNEL, node), (Witness.DRIVER, f"{storage.DRIVER_NAME}@{node}"))
        sources = [state.sources.get(scope) for scope in scopes]
        return all(source is not None and source.up and source.listed for source in sources)

    await watched.until(f"{node} is heard", is_heard, HEARD_WITHIN_S)


async def _until_missed(watched: Watching, node: str, because: str) -> SourceState:
    def missed(state: State) -> SourceState | None:
        source = state.sources.get((Witness.KERNEL, node))
        return source if source is not None and not source.up and because in source.reason else None

    return await watched.until(f"{node} is missed: {because}", missed, HEARD_WITHIN_S)


def _has_daemon(state: State) -> bool:
    return any(connection.daemon is not None and connection.daemon.pid for connection in state.fuse.values())


def _manifest(cluster: Cluster, image: str) -> list[dict[str, Any]]:
    """What is printed, but for three things of this harness: where each node's kubelet and driver have their files, and which
    process stands for the host's init, into whose /proc nobody may look where all this runs in a sandbox."""
    text = manifest(image=image, kubelet_root=f"{cluster.directory}/$(NODE_NAME)/kubelet")
    found: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    (daemon_set,) = (item for item in found if item["kind"] == "DaemonSet")
    (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    container["imagePullPolicy"] = "Never"
    container["args"].append(f"--feed=unix://{cluster.directory}/$(NODE_NAME)/feed.sock")
    if not os.access("/proc/1/root/", os.R_OK):
        kubelet = cluster.processes.process("kubelet").pid
        container["args"] = [
            f"--host-pid={kubelet}" if arg == "--host-pid=1" else arg for arg in container["args"]
        ]
    return found


def _agent_on(node: str, cluster: Cluster) -> int:
    """The process of a node's agent, by the directory that it was given."""
    wanted = f"--kubelet-root={cluster.directory}/{node}/kubelet".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in words and b"agent" in words:
                return int(entry.name)
    raise AssertionError(f"no agent runs on {node}")
