"""The cluster as a whole: up, its parts killed and restarted one by one, and down without a trace."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.cluster.harness import leftovers, storage
from tests.cluster.harness.certificates import Authority
from tests.cluster.harness.controlplane import control_plane, write_kubeconfig
from tests.cluster.harness.errors import ClusterError, UnavailableError
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.node import Node
from tests.cluster.harness.processes import Processes, ProcessId, Program, marked_directories
from tests.cluster.harness.tools import build_all

BASE_TOOLS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
SIDECAR_TOOLS = tuple(storage.LEASES)

_PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
    "busybox": "busybox-static",
}


def default_directory() -> Path:
    """``$XDG_STATE_HOME/csitrace/cluster`` (default ``~/.local/state``): the cluster of ``make cluster-up``."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "csitrace" / "cluster"


def require_machine() -> None:
    """Raise UnavailableError, naming the remedy, when this machine or user cannot run a cluster."""
    if os.geteuid() != 0:
        raise UnavailableError("a cluster needs root (mounts, cgroups, containers); run it as root")
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        raise UnavailableError(f"missing programs; run: apt-get install -y {' '.join(missing)}")
    foreign = leftovers.foreign_kubelet()
    if foreign is not None:
        raise UnavailableError(
            f"this machine is a Kubernetes node already (kubelet, pid {foreign}); "
            "use its cluster: CSITRACE_TEST_KUBECONFIG=<kubeconfig>"
        )


class Cluster:
    """One cluster, whose every file is in ``directory``."""

    def __init__(self, directory: Path, announce: Callable[[str], None] = print) -> None:
        self.directory = directory.resolve()
        self.processes = Processes(self.directory)
        self.kubeconfig = self.directory / "kubeconfig"
        self.node = Node("node-1", self.directory / "node-1")
        self._announce = announce

    @property
    def feed(self) -> str:
        """The address of the reference driver's trace feed, for ``csitrace --feed``."""
        return storage.driver_feed(self.node)

    @property
    def is_up(self) -> bool:
        """Whether this cluster was brought up completely and has its API server running."""
        return self.processes.ledger().complete and self.processes.alive("kube-apiserver")

    def kubectl(self) -> Kubectl:
        """kubectl as this cluster's administrator."""
        return Kubectl(self.directory / "bin" / "kubectl", self.kubeconfig)

    def up(self, *, driver: bool = True, owner: ProcessId | None = None) -> None:
        """Bring the cluster up, or whatever of it does not run; returns when its node is Ready.

        ``owner``: when that process is dead, ``reap_orphans`` takes the cluster down. A first start that fails takes
        down what it started and keeps the logs.
        """
        require_machine()
        tools = build_all(BASE_TOOLS + (SIDECAR_TOOLS if driver else ()), self._announce)
        with self.processes.locked():
            try:
                if self.processes.ledger().complete:
                    self._revive()
                else:
                    self._clear()
                    self._start(tools, owner)
                if driver:
                    self._start_storage(tools)
            except BaseException:
                if not self.processes.ledger().complete:
                    self._clear_after_failure()
                raise

    def down(self) -> None:
        """End every process and unmount and delete everything of the cluster but its logs."""
        if self.directory.exists():
            with self.processes.locked():
                self._clear()

    def remove(self) -> None:
        """Take the cluster down and delete its logs too."""
        self.down()
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self, part: str) -> None:
        """kill -9 one part and wait until it is gone; it stays so until restarted, and what it started goes on."""
        with self.processes.locked():
            self.processes.kill(part)

    def suspend(self, part: str) -> None:
        """Freeze a part: it keeps its connections and answers nothing, as one that hangs."""
        self.processes.signal(part, signal.SIGSTOP)

    def resume(self, part: str) -> None:
        """Let a suspended part go on."""
        self.processes.signal(part, signal.SIGCONT)

    def restart(self, part: str) -> None:
        """End a part if it still runs and start it again, as it was."""
        with self.processes.locked():
            self._restart(part)

    def revive(self) -> list[str]:
        """Start again whatever has ended, killed or not; returns the names."""
        with self.processes.locked():
            return self._revive()

    def restart_ended(self) -> None:
        """Start again the kept parts that ended by themselves."""
        if self.processes.ended_by_themselves():
            with self.processes.locked():
                for part in self.processes.ended_by_themselves():
                    self._announce(f"starting {part} again")
                    self._restart(part)

    def _start(self, tools: dict[str, Path], owner: ProcessId | None) -> None:
        shutil.rmtree(self.processes.logs, ignore_errors=True)
        self.processes.own(owner)
        authority = Authority(self.directory / "pki")
        admin = authority.client("admin", "admin", "system:masters")
        plane = control_plane(self.directory, tools, authority)
        write_kubeconfig(self.kubeconfig, plane.url, authority, admin)
        (self.directory / "bin").mkdir(exist_ok=True)
        (self.directory / "bin" / "kubectl").symlink_to(tools["kubectl"])
        self.node.prepare()
        self._launch(self.node.containerd())
        self.node.import_images()
        for program in plane.programs:
            self._launch(program)
        self._launch(self.node.kubelet(tools["kubelet"], plane.url, authority))
        kubectl = self.kubectl()
        kubectl.wait("condition=Ready", f"node/{self.node.name}")
        kubectl.wait("create", "serviceaccount/default")
        self.processes.complete()

    def _start_storage(self, tools: dict[str, Path]) -> None:
        if "driver" in self.processes.names():
            return
        self.kubectl()("apply", "-f", str(storage.MANIFEST))
        self._launch(storage.driver(self.node))
        for program in storage.sidecars(self.node, tools, self.kubeconfig):
            self._launch(program)
        self._launch(storage.keeper(self.directory))
        self.kubectl().wait(
            f"jsonpath={{.spec.drivers[*].name}}={storage.DRIVER_NAME}", f"csinode/{self.node.name}"
        )

    def _launch(self, program: Program) -> None:
        self._announce(f"starting {program.name}")
        self.processes.start(program)

    def _restart(self, part: str) -> None:
        if part in storage.LEASES:
            # Its dead predecessor still leads for up to 15 s, and nothing would move meanwhile.
            self.processes.process(part).end(grace_s=5)
            with suppress(ClusterError):
                self.kubectl()(
                    "delete", "lease", "-n", "kube-system", storage.LEASES[part], "--ignore-not-found"
                )
        self.processes.restart(part)

    def _revive(self) -> list[str]:
        self.node.prepare()
        ended = [name for name in self.processes.names() if not self.processes.alive(name)]
        for name in ended:
            self._announce(f"starting {name} again")
            self._restart(name)
        return ended

    def _clear_after_failure(self) -> None:
        try:
            self._clear()
        except (ClusterError, OSError) as error:
            self._announce(f"cleaning up failed too: {error}")

    def _clear(self) -> None:
        self.processes.stop_all()
        for node in self.directory.glob("node-*/"):
            leftovers.clear_node(node)
        leftovers.clear_shared()
        for entry in self.directory.iterdir():
            if entry.name not in ("logs", "lock", "processes.json"):
                leftovers.remove_tree(entry) if entry.is_dir() else entry.unlink()
        self.processes.forget()


def reap_orphans(announce: Callable[[str], None] = print) -> None:
    """Take down clusters whose owner (a test run, killed) is gone."""
    for directory in marked_directories():
        cluster = Cluster(directory, announce)
        owner = cluster.processes.ledger().owner
        if owner is not None and not owner.alive:
            announce(f"taking down the cluster in {directory}, left by a killed run")
            cluster.remove()
