"""The Nodes screen: one view per node, from whatever names it, the worst first."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from csitrace.lifecycle import index
from csitrace.lifecycle.filter import Field, Filter, Kind, parse
from csitrace.lifecycle.fuse import trouble
from csitrace.lifecycle.heard import kernel_silence, kind_silence
from csitrace.lifecycle.leases import is_expired, renewed_at
from csitrace.lifecycle.onnode import (
    Finding,
    OnNode,
    count,
    is_ready,
    on_node,
    troubled_text,
    worst_first,
    worst_of,
)
from csitrace.lifecycle.state import FuseState, State
from csitrace.lifecycle.survey import Survey
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.model.events import Witness
from csitrace.model.kubernetes import Condition, Lease, Node, Pod
from csitrace.model.times import format_duration, parse_rfc3339

LEASE_NAMESPACE = "kube-node-lease"
_LEASE_SECONDS = 40
"""Kubelet's default (`nodeLeaseDurationSeconds`), where a Lease does not say."""

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_NODE_TAINTS = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")
_CSI = "kubernetes.io/csi/"


@dataclass(frozen=True, slots=True)
class Daemon:
    """One FUSE connection of the node and what serves it. `pod`: namespace/name, "" where it runs in none that is seen."""

    connection: int
    volume: str
    pid: int
    state: str
    waiting: int | None
    pod: str
    ended: bool
    trouble: str


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node. `unseen`: why there is no Node object of it, "" where there is. `ready`: None when its kubelet does not report.

    `taints`: those that say something of the node's state. `renewed_at`: when kubelet renewed its Lease (its clock, ns);
    `expired`: not in time. `in_use`: how many CSI volumes kubelet says are in use, None where the Node cannot be read.
    `kernel`: whether its mounts and FUSE connections are heard; None: nobody was ever asked. `kernel_silence`: why not.
    """

    name: str
    unseen: str
    ready: bool | None
    ready_since: int | None
    ready_reason: str
    cordoned: bool
    taints: tuple[str, ...]
    renewed_at: int | None
    expired: bool
    lease_silence: str
    kubelet_version: str
    kernel_version: str
    in_use: int | None
    drivers: tuple[OnNode, ...]
    daemons: tuple[Daemon, ...]
    kernel: bool | None
    kernel_silence: str
    kernel_last_at: int | None
    volumes: int
    troubled: int
    severity: Severity = Severity.OK
    findings: tuple[Finding, ...] = ()

    @property
    def status(self) -> str:
        """As kubectl says it."""
        if self.unseen:
            return "?"
        word = {True: "Ready", False: "NotReady", None: "Unknown"}[self.ready]
        return f"{word},cordoned" if self.cordoned else word

    @property
    def attached(self) -> int:
        return sum(driver.attached for driver in self.drivers)

    @property
    def mounts(self) -> int | None:
        """How many mounts of CSI volumes it has; None where its kernel is not heard and no driver told of any."""
        told = sum(driver.mounts or 0 for driver in self.drivers)
        return told if self.kernel or told else None

    @property
    def hung(self) -> int:
        return sum(bool(daemon.trouble) and not daemon.ended for daemon in self.daemons)

    @property
    def waiting(self) -> int:
        """Requests that the kernel holds for daemons."""
        return sum(daemon.waiting or 0 for daemon in self.daemons)

    @property
    def fullest(self) -> OnNode | None:
        """The driver nearest to its limit."""
        limited = [driver for driver in self.drivers if driver.limit]
        return max(limited, key=lambda driver: driver.counted / (driver.limit or 1), default=None)

    @property
    def finding(self) -> str:
        return self.findings[0][1] if self.findings else ""


def node_views(state: State, rows: Iterable[VolumeRow], now: int) -> list[NodeView]:
    """Every node that anything names, the worst first. `rows`: those of the volumes at this moment."""
    survey = Survey(state, rows, now)
    volumes: dict[str, list[VolumeRow]] = defaultdict(list)
    for row in survey.rows:
        for node_name in row.node_names:
            volumes[node_name].append(row)
    connections: dict[str, list[FuseState]] = defaultdict(list)
    for connection in state.fuse.values():
        connections[connection.node_name].append(connection)
    leases = {
        lease.name: lease for lease in index.of_kind(state, Lease) if lease.namespace == LEASE_NAMESPACE
    }
    views = [
        _view(survey, name, volumes.get(name, []), connections.get(name, []), leases.get(name)) for name in survey.node_names
    ]  # fmt: skip
    return sorted(views, key=lambda view: (-view.severity, view.name))


def _view(
    survey: Survey, name: str, rows: list[VolumeRow], connections: list[FuseState], lease: Lease | None
) -> NodeView:
    state, now, node = survey.state, survey.now, survey.nodes.get(name)
    conditions = node.status.conditions if node is not None else ()
    ready = next((condition for condition in conditions if condition.type == "Ready"), None)
    drivers = (on_node(survey, driver, name) for driver in survey.driver_names if driver)
    source = state.sources.get((Witness.KERNEL, name))
    lease_silence = kind_silence(state, "Lease", LEASE_NAMESPACE)
    view = NodeView(
        name=name,
        unseen="" if node is not None else kind_silence(state, "Node") or "there is no such Node",
        ready=is_ready(node),
        ready_since=parse_rfc3339(ready.last_transition_time) if ready and ready.last_transition_time else None,
        ready_reason=_why_not_ready(ready),
        cordoned=node is not None and node.spec.unschedulable,
        taints=tuple(_taints(node)) if node is not None else (),
        renewed_at=renewed_at(lease) if lease is not None else None,
        expired=not lease_silence and lease is not None and is_expired(lease, now, _LEASE_SECONDS),
        lease_silence=lease_silence or ("" if lease is not None else "kubelet has no Lease"),
        kubelet_version=node.status.node_info.kubelet_version if node is not None else "",
        kernel_version=node.status.node_info.kernel_version if node is not None else "",
        in_use=sum(each.startswith(_CSI) for each in node.status.volumes_in_use) if node is not None else None,
        drivers=tuple(here for here in drivers if _matters(here)),
        daemons=tuple(sorted(_daemons(state, connections, now), key=_worst_daemon)),
        kernel=None if source is None else source.up and source.listed,
        kernel_silence=kernel_silence(state, name),
        kernel_last_at=source.last_at if source is not None else None,
        volumes=len(rows),
        troubled=sum(row.severity >= Severity.UNKNOWN for row in rows),
    )  # fmt: skip
    return _judged(view, worst_of(rows), now)


def _why_not_ready(ready: Condition | None) -> str:
    if ready is None:
        return "its kubelet has not reported yet"
    return "" if ready.status == "True" else ready.message or ready.reason


def _judged(view: NodeView, worst: VolumeRow | None, now: int) -> NodeView:
    found: list[Finding] = []
    busy = view.volumes or view.attached
    if view.unseen and busy and not view.unseen.startswith("may not"):
        found.append(
            (
                Severity.SLOW,
                f"{view.unseen}, but it has {count(max(view.attached, view.volumes), 'volume')}",
            )
        )
    if not view.unseen and view.ready is not True:
        since = f" for {format_duration(now - view.ready_since)}" if view.ready_since is not None else ""
        reason = f": {view.ready_reason}" if view.ready_reason else ""
        found.append((Severity.STUCK, f"{view.status.partition(',')[0]}{since}{reason}"))
    if any(taint.startswith(OUT_OF_SERVICE) for taint in view.taints):
        found.append(
            (Severity.STUCK, "tainted out-of-service: pods are deleted and volumes detached by force")
        )
    if view.expired and view.ready is True and view.renewed_at is not None:
        found.append(
            (
                Severity.SLOW,
                f"kubelet does not renew its Lease since {format_duration(now - view.renewed_at)}",
            )
        )
    for daemon in view.daemons:
        if daemon.trouble:
            found.append(
                (Severity.STUCK, f"{daemon.volume or f'connection {daemon.connection}'}: {daemon.trouble}")
            )
    for driver in view.drivers:
        found += [(severity, f"{driver.driver}: {text}") for severity, text in driver.findings]
    if view.kernel is False:
        found.append((Severity.UNKNOWN, f"its mounts are unknown: {view.kernel_silence}"))
    if worst is not None and not (worst.finding and any(worst.finding in text for _, text in found)):
        found.append((worst.severity, troubled_text(worst, view.troubled)))
    findings = worst_first(found)
    return replace(view, findings=findings, severity=findings[0][0] if findings else Severity.OK)


def _matters(here: OnNode) -> bool:
    """A driver that a node has something to do with, or ought to."""
    return here.registered is True or bool(here.counted or here.mounts or here.pods or here.feed is not None)


def _taints(node: Node) -> Iterable[str]:
    for taint in node.spec.taints:
        of_the_node = taint.key.startswith(_NODE_TAINTS) and taint.key != _UNSCHEDULABLE
        if of_the_node or taint.effect == "NoExecute":
            yield f"{taint.key}:{taint.effect}"


def _daemons(state: State, connections: Iterable[FuseState], now: int) -> Iterable[Daemon]:
    """Those that serve a mount, and those that live though nothing is mounted from them."""
    for connection in connections:
        mounts = index.members(
            state, index.MOUNTS_ON, index.connection_key(connection.node_name, connection.connection)
        )
        if connection.ended and not mounts:
            continue
        process = connection.daemon
        pod = index.get(state, Pod, process.pod_uid) if process is not None and process.pod_uid else None
        yield Daemon(
            connection.connection,
            _volume_name(state, connection, mounts),
            process.pid if process is not None else 0,
            process.state if process is not None else "",
            connection.waiting,
            pod.full_name if pod is not None else "",
            connection.ended,
            trouble(connection, now),
        )


def _volume_name(state: State, connection: FuseState, mounts: Iterable[tuple[str, int]]) -> str:
    for mount in mounts:
        fact = state.mounts.get(mount)
        for key in index.members(state, index.HOLDERS_OF, fact.name) if fact is not None else ():
            if (volume := state.volumes.get(key)) is not None:
                return volume.display_name
    return connection.volume_id


def _worst_daemon(daemon: Daemon) -> tuple[bool, int, str]:
    return not daemon.trouble, -(daemon.waiting or 0), daemon.volume


def parse_node_filter(text: str) -> Filter[NodeView]:
    """A filter over the list of nodes. Raises `FilterError`."""
    return parse(text, NODE_FIELDS, _names)


def _names(view: NodeView) -> tuple[str, ...]:
    return (view.name, view.status, view.severity.name.lower(), *view.taints)


NODE_FIELDS: dict[str, Field[NodeView]] = {
    "node": Field(Kind.TEXT, "its name", lambda view: (view.name,)),
    "status": Field(Kind.TEXT, "Ready, NotReady, Unknown, cordoned", lambda view: (view.status,)),
    "taint": Field(Kind.TEXT, "a taint that says something of its state", lambda view: view.taints),
    "driver": Field(Kind.TEXT, "a driver registered on it", lambda view: tuple(d.driver for d in view.drivers if d.registered)),
    "finding": Field(Kind.TEXT, "what is wrong with it", lambda view: tuple(text for _, text in view.findings)),
    "volumes": Field(Kind.NUMBER, "volumes on it or on their way to it", number=lambda view, now: view.volumes),
    "attached": Field(Kind.NUMBER, "volumes attached to it", number=lambda view, now: view.attached),
    "mounts": Field(Kind.NUMBER, "mounts of CSI volumes on it", number=lambda view, now: view.mounts),
    "fuse": Field(Kind.NUMBER, "FUSE daemons on it", number=lambda view, now: len(view.daemons)),
    "hung": Field(Kind.NUMBER, "FUSE daemons that do not answer", number=lambda view, now: view.hung),
    "age": Field(Kind.DURATION, "for how long it has been Ready or not", number=lambda view, now: _since(view, now)),
}  # fmt: skip
"""The fields of the list of nodes."""


def _since(view: NodeView, now: int) -> float | None:
    return None if view.ready_since is None else now - view.ready_since
