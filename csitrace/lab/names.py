"""What things are called in the lab, and where to find them."""

import msgspec

DRIVER_NAME = "ref.csitrace.dev"
NODE_NAME = "lab-node"
NAMESPACE = "demo"
SYSTEM_NAMESPACES = ("default", "kube-system", "kube-node-lease")

IMMEDIATE = "csitrace-immediate"
WAIT = "csitrace-wait"
"""The two ordinary StorageClasses, by their volumeBindingMode."""


class LabReady(msgspec.Struct, frozen=True, kw_only=True):
    """How to watch a lab that has begun. Paths as strings; `feed`: gRPC address of the driver's trace feed; `pid`: the
    lab's process, in whose mount namespace the volumes are."""

    pid: int
    url: str
    kubeconfig: str
    kubelet_root: str
    node_name: str
    namespace: str
    driver_name: str
    feed: str
