"""The cluster as a whole: up, its parts killed and restarted one by one, and down without a trace."""

import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.cluster.harness import images, leftovers, network, storage
from tests.cluster.harness.certificates import Authority
from tests.cluster.harness.controlplane import control_plane, write_kubeconfig
from tests.cluster.harness.errors import ClusterError, UnavailableError
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.network import Network
from tests.cluster.harness.node import Node
from tests.cluster.harness.processes import Processes, ProcessId, Program, marked_directories
from tests.cluster.harness.tools import build_all

OWN_NODES = 2
"""Every cluster has these from its start to its end; what volumes do between nodes needs two."""

MAXIMUM_NODES = 5

BASE_TOOLS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
SIDECAR_TOOLS = tuple(storage.LEASES)

_PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
    "busybox": "busybox-static",
    "ip": "iproute2",
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
        self._announce = announce

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The two that are always there, and those that were added, in the order of their numbers."""
        return (*self._own_nodes(), *self.added_nodes)

    @property
    def added_nodes(self) -> tuple[Node, ...]:
        """The throw-away nodes."""
        names = set(self.processes.names())
        added = (self._node(number) for number in range(OWN_NODES + 1, MAXIMUM_NODES + 1))
        return tuple(node for node in added if node.part("containerd") in names)

    def hearing(self) -> list[str]:
        """csitrace's flags by which kernel and driver of every node are heard."""
        return [
            flag
            for node in self.nodes
            for flag in (
                f"--kubelet-root={node.kubelet_root}",
                f"--node-name={node.name}",
                f"--feed={storage.driver_feed(node)}",
            )
        ]

    @property
    def is_up(self) -> bool:
        """Whether this cluster was brought up completely and has its API server running."""
        return self.processes.ledger().complete and self.processes.alive("kube-apiserver")

    def kubectl(self) -> Kubectl:
        """kubectl as this cluster's administrator."""
        return Kubectl(self.directory / "bin" / "kubectl", self.kubeconfig)

    def up(self, *, driver: bool = True, owner: ProcessId | None = None) -> None:
        """Bring the cluster up, or whatever of it does not run; returns when its nodes are Ready.

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

    def parts(self) -> list[str]:
        """The names of what runs, or should; what is on added nodes is the affair of who added them."""
        added = {str(node.directory) for node in self.added_nodes}
        return [name for name in self.processes.names() if self.processes.node(name) not in added]

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

    def replace(self, part: str, *flags: str) -> None:
        """End a part as an upgrade does, and start it with other flags after its usual ones; without any it is as it was."""
        with self.processes.locked():
            self.processes.replace(part, flags)

    def revive(self) -> list[str]:
        """Start again whatever has ended, killed or not, but on added nodes; returns the names."""
        with self.processes.locked():
            return self._revive()

    def restart_ended(self) -> None:
        """Start again the kept parts that ended by themselves."""
        if self.processes.ended_by_themselves():
            with self.processes.locked():
                for part in self.processes.ended_by_themselves():
                    self._announce(f"starting {part} again")
                    self._restart(part)

    def add_node(self) -> Node:
        """Start one more node, with the driver if the others have it; returns when it is Ready. Who adds it removes it."""
        tools = build_all(BASE_TOOLS, self._announce)
        with self.processes.locked():
            number = next(
                (n for n in range(OWN_NODES + 1, MAXIMUM_NODES + 1) if self._node(n) not in self.added_nodes),
                0,
            )
            if not number:
                raise ClusterError(f"a cluster has {MAXIMUM_NODES} nodes at most: remove one")
            node = self._node(number)
            try:
                self._start_runtimes(node)
                self._start_kubelets(tools, self._api_server(), node)
                if "driver" in self.processes.names():
                    self._start_drivers(node)
            except BaseException:
                self._remove_node(node)
                raise
            return node

    def remove_node(self, node: Node) -> None:
        """End an added node, whatever of it still runs, and take its Node object away, as who scraps a machine does."""
        with self.processes.locked():
            self._remove_node(node)
        self.kubectl()("delete", "node", node.name, "--ignore-not-found")

    def _remove_node(self, node: Node) -> None:
        self.processes.stop_node(node.directory)
        leftovers.clear_node(node.directory)
        if node.directory.exists():
            leftovers.remove_tree(node.directory)
        storage.forget_node(node)

    def _api_server(self) -> str:
        return self.kubectl()("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")

    def _node(self, number: int) -> Node:
        return Node(number, self.directory)

    def _own_nodes(self) -> tuple[Node, ...]:
        return tuple(self._node(number) for number in range(1, OWN_NODES + 1))

    def _start(self, tools: dict[str, Path], owner: ProcessId | None) -> None:
        shutil.rmtree(self.processes.logs, ignore_errors=True)
        self.processes.own(owner)
        authority = Authority(self.directory / "pki")
        admin = authority.client("admin", "admin", "system:masters")
        plane = control_plane(self.directory, tools, authority)
        write_kubeconfig(self.kubeconfig, plane.url, authority, admin)
        (self.directory / "bin").mkdir(exist_ok=True)
        (self.directory / "bin" / "kubectl").symlink_to(tools["kubectl"])
        self._start_runtimes(*self.nodes)
        for program in plane.programs:
            self._launch(program)
        self._start_kubelets(tools, plane.url, *self.nodes)
        self.kubectl().wait("create", "serviceaccount/default")
        self.processes.complete()

    def _start_runtimes(self, *nodes: Node) -> None:
        network = Network.of(self.directory)
        for node in nodes:
            node.prepare()
        self._launch(*(node.containerd(network) for node in nodes))
        archive = self.directory / "images.tar"
        images.write_archive(archive)
        with ThreadPoolExecutor(len(nodes)) as importing:
            for _ in importing.map(lambda node: node.import_images(archive), nodes):
                pass  # an error is raised here
        archive.unlink()

    def _start_kubelets(self, tools: dict[str, Path], url: str, *nodes: Node) -> None:
        authority = Authority(self.directory / "pki")
        self._launch(*(node.kubelet(tools["kubelet"], url, authority) for node in nodes))
        self.kubectl().wait("condition=Ready", *(f"node/{node.name}" for node in nodes))

    def _start_drivers(self, *nodes: Node) -> None:
        self._launch(*(storage.driver(node) for node in nodes))
        for node in nodes:
            self.kubectl().wait(
                f"jsonpath={{.spec.drivers[*].name}}={storage.DRIVER_NAME}", f"csinode/{node.name}"
            )

    def _start_storage(self, tools: dict[str, Path]) -> None:
        if "driver" in self.processes.names():
            return
        self.kubectl()("apply", "-f", str(storage.MANIFEST))
        self._start_drivers(*self.nodes)
        first = self.nodes[0]
        self._launch(*storage.sidecars(first, tools, self.kubeconfig), storage.keeper(self.directory))

    def _launch(self, *programs: Program) -> None:
        self._announce(f"starting {', '.join(program.name for program in programs)}")
        self.processes.start(*programs)

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
        Network.of(self.directory)
        for node in self._own_nodes():
            node.prepare()
        ended = [name for name in self.parts() if not self.processes.alive(name)]
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
        network.remove(self.directory)
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
