"""The harness itself: what it starts works, and what it stops is gone."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import leftovers, mounts, objects, storage
from tests.cluster.harness.cluster import Cluster, reap_orphans
from tests.cluster.harness.errors import ClusterError
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.processes import ProcessId, marked

_SHARED_DIRECTORIES = (Path("/run/containerd/s"), Path("/var/log/containers"), Path("/var/lib/cni"))


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
    before = _outside()
    fresh.up(driver=False)
    containers = _run_a_pod(fresh)
    fresh.down()
    _assert_gone(fresh, containers)
    assert _outside() == before
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
    before = _outside()
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(fresh.directory)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    containers = _run_a_pod(fresh)
    reap_orphans()
    assert fresh.is_up, "a cluster whose owner lives was taken down"
    fresh.kill("containerd")
    owner.kill()
    owner.wait()
    owner.stdout.close()
    reap_orphans()
    _assert_gone(fresh, containers)
    assert _outside() == before
    assert not fresh.directory.exists()


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
    with pytest.raises(ClusterError, match=r"(?s)^containerd ended.*no room for containers"):
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
    assert leftovers.container_processes(set(containers)) == []


def _command_line(process: ProcessId) -> str:
    return Path(f"/proc/{process.pid}/cmdline").read_text().replace("\0", " ")


def _outside() -> set[Path]:
    """Everything that clusters may leave outside their directories."""
    cgroups = Path("/sys/fs/cgroup").glob("**/k8s.io/*/")
    return {path for directory in _SHARED_DIRECTORIES for path in directory.glob("**/*")} | set(cgroups)
