"""One look over a state for what the cluster is made of: nodes, drivers, their pods and Leases, and how much is where.

The Drivers and Nodes screens are made from it. It reads the indexes of the cluster's few objects, and every volume once.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from csitrace.lifecycle import driver_pods, index
from csitrace.lifecycle.heard import feeds
from csitrace.lifecycle.leases import lease_names
from csitrace.lifecycle.state import Call, State, Volume
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.model.events import Witness
from csitrace.model.kubernetes import CSIDriver, CSINode, CSINodeDriver, Lease, Node, Pod, StorageClass
from csitrace.model.times import MINUTE

CALLS_NS = 5 * MINUTE
"""Calls that were answered longer ago do not count in an error rate."""

IN_TREE = "kubernetes.io/"
"""How provisioners begin that are part of Kubernetes, or stand for none at all."""

Place = tuple[str, str]
"""A driver's name and a node's."""


@dataclass(slots=True)
class Share:
    """What one driver's volumes take of one node. `counted`: attached there, or used there by a pod, each volume once: what
    the scheduler holds against the driver's limit (`CSINode.spec.drivers[].allocatable.count`)."""

    attached: int = 0
    used: int = 0
    counted: int = 0
    mounts: int = 0


@dataclass(slots=True)
class Calls:
    """A driver's calls: those without an answer yet, the oldest first; how many were answered lately, how many with an error."""

    in_flight: list[Call] = field(default_factory=list)
    answered: int = 0
    failed: int = 0


class Survey:
    """`rows`: the volumes' rows at the same moment, from which problems are counted."""

    def __init__(self, state: State, rows: Iterable[VolumeRow], now: int) -> None:
        self.state, self.now = state, now
        self.rows = [row for row in rows if row.severity is not Severity.GONE]
        self.shares: dict[Place, Share] = defaultdict(Share)
        self.volume_drivers: set[str] = set()
        for volume in state.volumes.values():
            if volume.gone_at is None:
                self._place(volume)
        self.feeds = feeds(state)

    @cached_property
    def nodes(self) -> dict[str, Node]:
        return {node.name: node for node in index.of_kind(self.state, Node)}

    @cached_property
    def csi_drivers(self) -> dict[str, CSIDriver]:
        return {driver.name: driver for driver in index.of_kind(self.state, CSIDriver)}

    @cached_property
    def registrations(self) -> dict[Place, CSINodeDriver]:
        """What kubelet has written of each driver that registered with it."""
        return {
            (driver.name, csi_node.name): driver
            for csi_node in index.of_kind(self.state, CSINode)
            for driver in csi_node.spec.drivers or ()
        }

    @cached_property
    def csi_node_names(self) -> set[str]:
        return {csi_node.name for csi_node in index.of_kind(self.state, CSINode)}

    @cached_property
    def classes(self) -> dict[str, list[StorageClass]]:
        """By provisioner, without those of Kubernetes' own volumes."""
        found: dict[str, list[StorageClass]] = defaultdict(list)
        for storage_class in sorted(index.of_kind(self.state, StorageClass), key=_name):
            if storage_class.provisioner and not storage_class.provisioner.startswith(IN_TREE):
                found[storage_class.provisioner].append(storage_class)
        return found

    @cached_property
    def driver_names(self) -> list[str]:
        """Every driver that anything names."""
        named = {*self.csi_drivers, *self.classes, *self.volume_drivers}
        named.update(driver for driver, _ in (*self.registrations, *self.feeds))
        return sorted(named)

    @cached_property
    def node_names(self) -> list[str]:
        """Every node that anything names."""
        named = {*self.nodes, *self.csi_node_names}
        named.update(node for _, node in (*self.shares, *self.feeds) if node)
        named.update(scope for witness, scope in self.state.sources if witness is Witness.KERNEL and scope)
        return sorted(named)

    @cached_property
    def leases(self) -> dict[str, list[Lease]]:
        """By name; those of one name are of different namespaces."""
        found: dict[str, list[Lease]] = defaultdict(list)
        for lease in index.of_kind(self.state, Lease):
            found[lease.name].append(lease)
        return found

    @cached_property
    def pods(self) -> dict[str, list[Pod]]:
        """The pods of each driver, as far as they can be told; see `driver_pods`."""
        return {driver: sorted(pods, key=_name) for driver, pods in self._pods_by_driver().items()}

    @cached_property
    def calls(self) -> dict[str, Calls]:
        """Of each driver that is heard, or was."""
        found: dict[str, Calls] = defaultdict(Calls)
        for subject, calls in self.state.calls.items():
            mine = found[subject.partition("/")[0]]
            for call in reversed(calls):
                if call.in_flight:
                    mine.in_flight.append(call)
                elif call.started_at < self.now - CALLS_NS:
                    break
                elif call.code is not None:
                    mine.answered += 1
                    mine.failed += call.code != 0
        for each in found.values():
            each.in_flight.sort(key=lambda call: call.started_at)
        return found

    def leaders(self, driver: str) -> list[tuple[str, Lease]]:
        """The Leases of the driver's sidecars, as (sidecar, Lease)."""
        names = lease_names(driver).items()
        return [(sidecar, lease) for sidecar, name in names for lease in self.leases.get(name, ())]

    def holder_pod(self, lease: Lease) -> Pod | None:
        """The pod that holds a Lease: sidecars hold it in the name of their host, which is the pod's."""
        holder = lease.spec.holder_identity or ""
        return index.by_name(self.state, Pod, holder, lease.namespace) if holder else None

    def _place(self, volume: Volume) -> None:
        driver = volume.driver
        self.volume_drivers.add(driver)
        wanted = {attachment.spec.node_name for attachment, _ in volume.attachments}
        used = {use.node_name for use in volume.uses if use.ended_at is None and not use.is_finished}
        for attachment, _ in volume.attachments:
            self.shares[driver, attachment.spec.node_name].attached += attachment.status.attached
        for node_name in used - {""}:
            self.shares[driver, node_name].used += 1
        for node_name in (wanted | used) - {""}:
            self.shares[driver, node_name].counted += 1
        for fact in volume.mounts:
            self.shares[driver, fact.node_name].mounts += 1

    def _pods_by_driver(self) -> dict[str, list[Pod]]:
        candidates = [
            pod
            for uid in index.members(self.state, index.DRIVER_PODS, "")
            if (pod := index.get(self.state, Pod, uid)) is not None
        ]
        found: dict[str, dict[str, Pod]] = {driver: {} for driver in self.driver_names}
        homes: dict[str, set[str]] = defaultdict(set)  # namespace -> drivers that live there
        for driver in self.driver_names:
            for _, lease in self.leaders(driver):
                homes[lease.namespace].add(driver)
                if (pod := self.holder_pod(lease)) is not None:
                    found[driver][pod.uid] = pod
        known = set(self.driver_names)
        for pod in candidates:
            for driver in driver_pods.driver_directories(pod) & known:
                found[driver][pod.uid] = pod
                homes[pod.namespace].add(driver)
        owner_of = {
            owner: driver for driver, pods in found.items() for pod in pods.values() if (owner := _owner(pod))
        }
        placed = {uid for pods in found.values() for uid in pods}
        for pod in candidates:
            residents = homes.get(pod.namespace, set())
            alone = next(iter(residents)) if len(residents) == 1 else ""
            if pod.uid not in placed and (driver := owner_of.get(_owner(pod), alone)):
                found[driver][pod.uid] = pod
        return {driver: list(pods.values()) for driver, pods in found.items()}


def _name(obj: StorageClass | Pod) -> str:
    return obj.full_name


def _owner(pod: Pod) -> str:
    return next((owner.uid for owner in pod.metadata.owner_references if owner.controller), "")
