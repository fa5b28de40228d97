"""What things are called in the lab, and where to find them."""

import msgspec

DRIVER_NAME = "ref.csitrace.dev"
TOPOLOGY = f"topology.{DRIVER_NAME}/zone=shared"
"""Where every node is, so that a volume can be used on each."""

NAMESPACE = "demo"
SYSTEM_NAMESPACES = ("default", "kube-system", "kube-node-lease")

IMMEDIATE = "csitrace-immediate"
WAIT = "csitrace-wait"
"""The two ordinary StorageClasses, by their volumeBindingMode."""


def node_name(number: int) -> str:
    """The `number`-th node, from 1 on."""
    return f"lab-node-{number}"


class LabNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a lab: where its kubelet keeps things, and the gRPC address of its driver's trace feed."""

    name: str
    kubelet_root: str
    feed: str


class LabReady(msgspec.Struct, frozen=True, kw_only=True):
    """How to watch a lab that has begun. Paths as strings; `pid`: the lab's process, in whose mount namespace the volumes
    of all nodes are."""

    pid: int
    url: str
    kubeconfig: str
    namespace: str
    driver_name: str
    nodes: tuple[LabNode, ...]
