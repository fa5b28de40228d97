"""One kubelet, put together."""

from functools import partial
from pathlib import Path

from csitrace.lab.kubelet.layout import Layout
from csitrace.lab.kubelet.node_status import create_node
from csitrace.lab.kubelet.pods import PodWorkers
from csitrace.lab.kubelet.registration import PluginRegistry
from csitrace.lab.kubelet.volume_manager import VolumeManager
from csitrace.lab.loops.leases import hold_lease
from csitrace.lab.program import Program

_LEASE_NAMESPACE = "kube-node-lease"
_LEASE_SECONDS = 40


async def install_kubelet(program: Program, node_name: str, root: Path) -> None:
    """Register the node, and build kubelet's loops over the directory `root`."""
    layout = Layout(root)
    layout.registration_directory.mkdir(parents=True, exist_ok=True)
    await create_node(program.client, node_name)
    registry = PluginRegistry(program, node_name, layout.registration_directory)
    volumes = VolumeManager(program, node_name, layout, registry)
    PodWorkers(program, node_name, layout, volumes)
    program.task(partial(hold_lease, program, _LEASE_NAMESPACE, node_name, node_name, _LEASE_SECONDS))
