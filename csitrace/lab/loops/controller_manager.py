"""kube-controller-manager: which of its controllers the lab has."""

from collections.abc import Callable

from csitrace.lab.loops.attach_detach import AttachDetachController
from csitrace.lab.loops.deployments import Deployments, ReplicaSets
from csitrace.lab.loops.ephemeral import EphemeralClaims
from csitrace.lab.loops.expand import ExpandController
from csitrace.lab.loops.garbage import GarbageCollector, Namespaces
from csitrace.lab.loops.node_lifecycle import NodeLifecycle, PodGarbage, TaintEviction
from csitrace.lab.loops.protection import ClaimProtection, VolumeProtection
from csitrace.lab.loops.pv_controller import PersistentVolumeController
from csitrace.lab.loops.stateful_sets import StatefulSets
from csitrace.lab.program import Program

CONTROLLERS: tuple[Callable[[Program], object], ...] = (
    PersistentVolumeController,
    AttachDetachController,
    ClaimProtection,
    VolumeProtection,
    EphemeralClaims,
    ExpandController,
    NodeLifecycle,
    TaintEviction,
    PodGarbage,
    GarbageCollector,
    Namespaces,
    StatefulSets,
    Deployments,
    ReplicaSets,
)


def install_controllers(program: Program) -> None:
    """Build all of them on one program: they share its caches, as the real ones do."""
    for controller in CONTROLLERS:
        controller(program)
