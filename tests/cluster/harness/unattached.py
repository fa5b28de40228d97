"""A second driver on the cluster, for a while: never attached, so without an attacher, and with inline volumes."""

import time
from pathlib import Path

from tests.cluster.harness import leftovers, storage
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.errors import ClusterError
from tests.cluster.harness.node import Node
from tests.cluster.harness.processes import Program
from tests.cluster.harness.tools import build_all

DRIVER_NAME = "node.csitrace.dev"
STORAGE_CLASS = "csitrace-unattached"

_MANIFEST = storage.MANIFEST.with_name("unattached.yaml")
_KIND = "unattached"
_PROVISIONER = "unattached-provisioner"
_LEASE = DRIVER_NAME.replace(".", "-")
_WITHIN_S = 60.0


def state(cluster: Path) -> Path:
    """Where this driver on every node keeps its records and the volumes' bytes."""
    return cluster / _KIND


class Unattached:
    """The driver `node.csitrace.dev` on the nodes of a cluster of this harness."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    @property
    def feeds(self) -> list[str]:
        """Its trace feeds, as csitrace's ``--feed`` takes them."""
        return [storage.driver_feed(node, DRIVER_NAME) for node in self.cluster.nodes]

    def up(self) -> None:
        """Start it and external-provisioner, and wait until every node has it."""
        tools = build_all(("csi-provisioner",), lambda _: None)
        cluster = self.cluster
        cluster.kubectl()("apply", "-f", str(_MANIFEST))
        with cluster.processes.locked():
            cluster.processes.start(*(_driver(node) for node in cluster.nodes))
            socket = cluster.nodes[0].driver_socket(DRIVER_NAME)
            cluster.processes.start(
                storage.sidecar(_PROVISIONER, "csi-provisioner", socket, tools, cluster.kubeconfig)
            )
        self._until_registered(True)

    def down(self) -> None:
        """Take everything of it away again. Volumes must be gone before."""
        cluster, kubectl = self.cluster, self.cluster.kubectl()
        with cluster.processes.locked():
            cluster.processes.remove(_PROVISIONER, *(node.part(_KIND) for node in cluster.nodes))
        for node in cluster.nodes:
            for socket in node.registration_directory.glob(f"{DRIVER_NAME}*"):
                socket.unlink(missing_ok=True)
        self._until_registered(False)
        kubectl("delete", "storageclass", STORAGE_CLASS, "--ignore-not-found")
        kubectl("delete", "csidriver", DRIVER_NAME, "--ignore-not-found")
        kubectl("delete", "lease", "-n", "kube-system", _LEASE, "--ignore-not-found")
        if state(cluster.directory).exists():
            leftovers.remove_tree(state(cluster.directory))

    def _until_registered(self, wanted: bool) -> None:
        """Until every node's CSINode has the driver, or none has it."""
        deadline = time.monotonic() + _WITHIN_S
        while {self._is_registered(node) for node in self.cluster.nodes} != {wanted}:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{DRIVER_NAME} is not {'' if wanted else 'un'}registered after {_WITHIN_S:g} s"
                )
            time.sleep(0.2)

    def _is_registered(self, node: Node) -> bool:
        drivers = self.cluster.kubectl().get(f"csinode/{node.name}")["spec"].get("drivers") or []
        return any(driver["name"] == DRIVER_NAME for driver in drivers)


def _driver(node: Node) -> Program:
    zone = f"topology.{DRIVER_NAME}/zone=shared"
    return storage.driver_program(node, DRIVER_NAME, _KIND, state(node.cluster), zone, "--without=publish")
