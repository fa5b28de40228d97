"""The reference driver and the unmodified sidecars that drive it, as programs on the host."""

import shutil
import sys
from pathlib import Path

from tests.cluster.harness.node import Node
from tests.cluster.harness.processes import Program

DRIVER_NAME = "ref.csitrace.dev"
IMMEDIATE_CLASS = "csitrace-immediate"
WAITING_CLASS = "csitrace-wait"
TOPOLOGY = f"topology.{DRIVER_NAME}/zone=shared"
"""Where every node is, so that a volume can be used on each."""

MANIFEST = Path(__file__).resolve().parent.parent / "manifests" / "driver.yaml"

# The Leases by which each sidecar's replicas choose their leader, in kube-system.
LEASES = {
    "csi-provisioner": DRIVER_NAME.replace(".", "-"),
    "csi-attacher": f"external-attacher-leader-{DRIVER_NAME.replace('.', '-')}",
    "csi-resizer": f"external-resizer-{DRIVER_NAME.replace('.', '-')}",
}

_EXTRA_FLAGS = {
    # The provisioner writes name and namespace of the claim into the volume's parameters.
    "csi-provisioner": ["--extra-create-metadata"],
    "csi-attacher": [],
    "csi-resizer": ["--handle-volume-inuse-error=false"],
}


def driver_feed(node: Node) -> str:
    """Where the driver on ``node`` publishes its trace feed, as csitrace's ``--feed`` takes it."""
    return f"unix://{node.directory / 'feed.sock'}"


def driver_state(cluster: Path) -> Path:
    """Where the driver on every node keeps its records and the volumes' bytes, as on a file system that all nodes mount."""
    return cluster / "driver"


def driver(node: Node) -> Program:
    """The reference driver, registering itself with kubelet: the node service, and on the first node the controller service."""
    socket = node.driver_socket(DRIVER_NAME)
    socket.parent.mkdir(parents=True, exist_ok=True)
    return Program(
        name=node.part("driver"),
        env=node.environment,
        argv=[
            sys.executable,
            "-m",
            "driver_ref",
            f"--endpoint=unix://{socket}",
            f"--node-id={node.name}",
            f"--driver-name={DRIVER_NAME}",
            f"--state-dir={driver_state(node.cluster)}",
            f"--topology={TOPOLOGY}",
            f"--registration-dir={node.registration_directory}",
            f"--kubelet-dir={node.kubelet_root}",
            f"--feed={driver_feed(node)}",
            *(["--node", "--controller"] if node.number == 1 else ["--node"]),
        ],
        ready=f"unix://{socket}",
        kept=True,
    )


def forget_node(node: Node) -> None:
    """Remove what the driver on a node that is no more has left in the common directory."""
    state = driver_state(node.cluster)
    (state / "nodes" / f"{node.name}.json").unlink(missing_ok=True)
    shutil.rmtree(state / "on-node" / node.name, ignore_errors=True)


def sidecars(node: Node, tools: dict[str, Path], kubeconfig: Path) -> list[Program]:
    """external-provisioner, -attacher and -resizer beside the driver on ``node``."""
    return [
        Program(
            name=name,
            argv=[
                str(tools[name]),
                f"--csi-address={node.driver_socket(DRIVER_NAME)}",
                f"--kubeconfig={kubeconfig}",
                "--leader-election",
                "--leader-election-namespace=kube-system",
                "--v=5",
                *flags,
            ],
            kept=True,
        )
        for name, flags in _EXTRA_FLAGS.items()
    ]


def keeper(directory: Path) -> Program:
    """What restarts driver and sidecars of the cluster in ``directory`` when they end by themselves."""
    return Program(
        name="keeper",
        argv=[sys.executable, "-m", "tests.cluster.harness.keeper", str(directory)],
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[3])},
    )
