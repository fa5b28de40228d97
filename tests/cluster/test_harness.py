"""The harness itself: what it starts works, and what it stops is gone."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import leftovers, mounts, network, objects, storage
from tests.cluster.harness.cluster import Cluster, reap_orphans
from tests.cluster.harness.errors import ClusterError
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.processes import NODE_MARKER, ProcessId, marked


@pytest.fixture
def fresh(machine: None) -> Iterator[Cluster]:
    """A cluster of this test alone, not yet up."""
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="csitrace-cluster-")))
    yield cluster
    cluster.remove()


def test_a_pod_runs_and_can_be_looked_into(kubectl: Kubectl, image: objects.Image) -> None:
    """A pod reaches Ready, its output is in ``kubectl logs``, and ``kubectl exec`` runs a program in it."""
    kubectl.apply(objects.pod("pod", image, "echo started; exec sleep 3600"))
    kubectl.wait("condition=Ready", "pod/pod")
    assert kubectl("logs", "pod") == "started\n"
    assert kubectl("exec", "pod", "--", "cat", "/etc/hostname").strip()


def test_a_killed_api_server_comes_back_where_its_clients_look(cluster: Cluster, kubectl: Kubectl) -> None:
    """After kill -9 the API server is gone at once; restarted, it serves the old address and the old objects."""
    kubectl("create", "configmap", "kept")
    cluster.kill("kube-apiserver")
    with pytest.raises(ClusterError, match="refused"):
        kubectl("get", "configmap", "kept")
    cluster.restart("kube-apiserver")
    assert kubectl.get("configmap", "kept")["metadata"]["name"] == "kept"


def test_a_suspended_part_hangs_and_goes_on_when_resumed(cluster: Cluster, kubectl: Kubectl) -> None:
    """While suspended, the API server accepts connections and answers nothing; resumed, it answers."""
    cluster.suspend("kube-apiserver")
    with pytest.raises(ClusterError, match=r"no answer|[Tt]imeout"):
        kubectl("get", "configmaps", "--request-timeout=1s", timeout_s=5)
    cluster.resume("kube-apiserver")
    assert kubectl.get("configmaps")["kind"] == "List"


def test_down_leaves_nothing_but_logs(fresh: Cluster) -> None:
    """With a pod still running, down ends every process and removes every mount, socket, cgroup and link."""
    fresh.up(driver=False)
    containers = _run_a_pod(fresh)
    outside = _outside(fresh, containers)
    assert outside != set()
    fresh.down()
    _assert_gone(fresh, containers)
    assert {path for path in outside if os.path.lexists(path)} == set()
    assert {entry.name for entry in fresh.directory.iterdir()} == {"lock", "logs"}


def test_down_does_not_wait_for_a_hung_volume(fresh: Cluster) -> None:
    """With a volume's FUSE process frozen and a pod's read of it stuck, down still ends and removes everything."""
    fresh.up()
    kubectl = fresh.kubectl()
    kubectl.apply(
        objects.claim("data", storage.WAITING_CLASS),
        objects.pod("pod", objects.LOCAL, claims=("data",)),
    )
    kubectl.wait("condition=Ready", "pod/pod", timeout_s=120)
    containers = _containers(fresh)
    (fuse,) = [process for process in marked(fresh.directory) if "driver_ref.fs" in _command_line(process)]
    fuse.signal(signal.SIGSTOP)
    with pytest.raises(ClusterError, match="no answer"):
        kubectl("exec", "pod", "--", "touch", "/data/file", timeout_s=3)
    fresh.down()
    _assert_gone(fresh, containers)


def test_a_killed_run_is_cleared_away_by_the_next(fresh: Cluster) -> None:
    """Its owner and its containerd killed with -9, a cluster with a running pod is found and taken down whole."""
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(fresh.directory)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    containers = _run_a_pod(fresh)
    outside = _outside(fresh, containers)
    reap_orphans()
    assert fresh.is_up, "a cluster whose owner lives was taken down"
    fresh.kill("containerd")
    owner.kill()
    owner.wait()
    owner.stdout.close()
    reap_orphans()
    _assert_gone(fresh, containers)
    assert {path for path in outside if os.path.lexists(path)} == set()
    assert not fresh.directory.exists()


def test_a_node_comes_and_goes(cluster: Cluster, kubectl: Kubectl, image: objects.Image) -> None:
    """An added node runs a pod with a volume; removed with its kubelet killed, it leaves no process, mount, file or Node, and the
    other nodes go on."""
    before = set(cluster.processes.names())
    node = cluster.add_node()
    try:
        pod = objects.pod("pod", image, claims=("data",), node=node.name)
        kubectl.apply(objects.claim("data", storage.WAITING_CLASS), pod)
        kubectl.wait("condition=Ready", "pod/pod", timeout_s=120)
        assert mounts.below(node.directory) != []
        containers = leftovers.container_ids(node.directory)
        cluster.kill(node.part("kubelet"))
        assert cluster.revive() == [], "what was killed on an added node is the business of who added it"
    finally:
        cluster.remove_node(node)
    assert set(cluster.processes.names()) == before
    assert marked(node.directory, NODE_MARKER) == []
    assert mounts.below(node.directory) == []
    assert leftovers.container_processes(set(containers)) == []
    assert not node.directory.exists()
    names = {item["metadata"]["name"] for item in kubectl.get("nodes")["items"]}
    assert names == {own.name for own in cluster.nodes}
    kubectl("delete", "pod/pod", "--force", "--grace-period=0")


def test_pods_of_both_nodes_have_addresses_and_hear_each_other(
    cluster: Cluster, kubectl: Kubectl, image: objects.Image
) -> None:
    """Pods without the host's network get one address each from their cluster's network, and reach each other across nodes."""
    for number, node in enumerate(cluster.nodes):
        pod = objects.pod(
            f"pod-{number}", image, "echo $(hostname) > /index.html; httpd -f -h /", node=node.name
        )
        del pod["spec"]["hostNetwork"]
        kubectl.apply(pod)
    kubectl.wait("condition=Ready", "pod/pod-0", "pod/pod-1")
    other = kubectl.get("pod/pod-1")["status"]["podIP"]
    assert other != kubectl.get("pod/pod-0")["status"]["podIP"]
    assert kubectl("exec", "pod-0", "--", "wget", "-q", "-O", "-", f"http://{other}/") == "pod-1\n"


def test_up_again_starts_only_what_has_ended(fresh: Cluster) -> None:
    """On a cluster that stands, up restarts the parts that died and leaves the others alone."""
    fresh.up(driver=False)
    processes = {name: fresh.processes.process(name) for name in fresh.processes.names()}
    fresh.kill("kube-scheduler")
    fresh.up(driver=False)
    changed = {name for name, process in processes.items() if fresh.processes.process(name) != process}
    assert changed == {"kube-scheduler"}
    assert all(fresh.processes.alive(name) for name in processes)


def test_a_start_that_fails_names_the_part_and_leaves_nothing(
    fresh: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """When containerd cannot start, the error carries its name and its last words, and nothing stays running."""
    broken = tmp_path / "containerd"
    broken.write_text("#!/bin/sh\necho no room for containers >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ClusterError, match=r"(?s)^containerd(-2)? ended.*no room for containers"):
        fresh.up(driver=False)
    _assert_gone(fresh, [])


_OWNER = """
import os, signal, sys
from pathlib import Path
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.processes import ProcessId
Cluster(Path(sys.argv[1]), announce=lambda _: None).up(driver=False, owner=ProcessId.of(os.getpid()))
print("up", flush=True)
signal.pause()
"""


def _run_a_pod(cluster: Cluster) -> list[str]:
    kubectl = cluster.kubectl()
    kubectl.apply(objects.pod("pod", objects.LOCAL))
    kubectl.wait("condition=Ready", "pod/pod")
    containers = _containers(cluster)
    assert len(containers) == 2, "the sandbox and the container"
    return containers


def _containers(cluster: Cluster) -> list[str]:
    return [container for node in cluster.nodes for container in leftovers.container_ids(node.directory)]


def _assert_gone(cluster: Cluster, containers: list[str]) -> None:
    assert marked(cluster.directory) == []
    assert mounts.below(cluster.directory) == []
    assert network.find(cluster.directory) is None
    assert leftovers.container_processes(set(containers)) == []


def _command_line(process: ProcessId) -> str:
    return Path(f"/proc/{process.pid}/cmdline").read_text().replace("\0", " ")


def _outside(cluster: Cluster, containers: list[str]) -> set[Path]:
    """What a cluster's containers have outside its directory: sockets of shims, links to logs, cgroups, network results."""
    addresses = [
        node.directory.joinpath(leftovers.BUNDLES, container, "address")
        for node in cluster.nodes
        for container in containers
    ]
    sockets = {Path(path.read_text().removeprefix("unix://")) for path in addresses if path.exists()}
    links = {
        link
        for link in leftovers.LOG_LINKS.iterdir()
        if os.readlink(link).startswith(f"{cluster.directory}/")
    }
    named = {
        path
        for container in containers
        for path in (
            *leftovers.CGROUPS.glob(f"**/k8s.io/{container}"),
            *leftovers.CNI_CACHE.glob(f"**/*{container}*"),
        )
    }
    return sockets | links | named
