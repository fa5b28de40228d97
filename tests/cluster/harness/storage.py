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


def driver_feed(node: Node, name: str = DRIVER_NAME) -> str:
    """Where a driver on ``node`` publishes its trace feed, as csitrace's ``--feed`` takes it."""
    own = "feed.sock" if name == DRIVER_NAME else f"{name.partition('.')[0]}-feed.sock"
    return f"unix://{node.directory / own}"


def driver_state(cluster: Path) -> Path:
    """Where the driver on every node keeps its records and the volumes' bytes, as on a file system that all nodes mount."""
    return cluster / "driver"


def driver(node: Node) -> Program:
    """The reference driver, registering itself with kubelet: the node service, and on the first node the controller service."""
    return driver_program(node, DRIVER_NAME, "driver", driver_state(node.cluster), TOPOLOGY)


def driver_program(node: Node, name: str, kind: str, state: Path, topology: str, *flags: str) -> Program:
    """A driver as `driver` is, by another name; ``kind``: of the part."""
    socket = node.driver_socket(name)
    socket.parent.mkdir(parents=True, exist_ok=True)
    return Program(
        name=node.part(kind),
        env=node.environment,
        argv=[
            sys.executable,
            "-m",
            "driver_ref",
            f"--endpoint=unix://{socket}",
            f"--node-id={node.name}",
            f"--driver-name={name}",
            f"--state-dir={state}",
            f"--topology={topology}",
            f"--registration-dir={node.registration_directory}",
            f"--kubelet-dir={node.kubelet_root}",
            f"--feed={driver_feed(node, name)}",
            *(["--node", "--controller"] if node.number == 1 else ["--node"]),
            *flags,
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
    return [sidecar(name, name, node.driver_socket(DRIVER_NAME), tools, kubeconfig) for name in _EXTRA_FLAGS]


def sidecar(part: str, name: str, driver: Path, tools: dict[str, Path], kubeconfig: Path) -> Program:
    """One sidecar of the driver whose CSI socket is ``driver``."""
    return Program(
        name=part,
        argv=[
            str(tools[name]),
            f"--csi-address={driver}",
            f"--kubeconfig={kubeconfig}",
            "--leader-election",
            "--leader-election-namespace=kube-system",
            "--v=5",
            *_EXTRA_FLAGS[name],
        ],
        kept=True,
    )


def keeper(directory: Path) -> Program:
    """What restarts driver and sidecars of the cluster in ``directory`` when they end by themselves."""
    return Program(
        name="keeper",
        argv=[sys.executable, "-m", "tests.cluster.harness.keeper", str(directory)],
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[3])},
    )
