"""The Drivers screen: one view per CSI driver, from whatever names it, the worst first."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from csitrace.lifecycle.filter import Field, Filter, Kind, parse
from csitrace.lifecycle.heard import kind_silence
from csitrace.lifecycle.leases import is_expired, renewed_at
from csitrace.lifecycle.onnode import (
    DriverPod,
    Finding,
    OnNode,
    driver_pod,
    on_node,
    troubled_text,
    worst_first,
    worst_of,
)
from csitrace.lifecycle.state import State
from csitrace.lifecycle.survey import Calls, Survey
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.model.kubernetes import CSIDriver, Lease
from csitrace.model.times import format_duration


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads for one sidecar. `holder`: the Lease's identity, "" where nobody holds it; `pod`: that pod, where it is seen.

    `renewed_at` is the holder's time (ns). `expired`: it was not renewed in time, so nobody acts for this sidecar.
    """

    sidecar: str
    lease: str
    holder: str
    pod: str
    node_name: str
    renewed_at: int | None
    expired: bool


@dataclass(frozen=True, slots=True)
class DriverView:
    """One driver. `spec` is None where there is no CSIDriver object, or none may be read (`undeclared` says which).

    `nodes`: it on every node, those that matter first; `pods_unknown`, `leaders_unknown`, `classes_unknown`: why none is seen.
    """

    name: str
    spec: CSIDriver | None
    undeclared: str
    classes: tuple[str, ...]
    classes_unknown: str
    leaders: tuple[Leader, ...]
    leaders_unknown: str
    pods: tuple[DriverPod, ...]
    pods_unknown: str
    nodes: tuple[OnNode, ...]
    volumes: int
    troubled: int
    in_flight: int
    oldest_call: str
    oldest_call_at: int | None
    answered: int
    failed: int
    severity: Severity
    findings: tuple[Finding, ...]

    @property
    def attach_required(self) -> bool | None:
        """None where that cannot be read; without a CSIDriver object, Kubernetes takes attach to be required."""
        if self.spec is not None:
            return self.spec.spec.attach_required
        return True if self.undeclared == NO_OBJECT else None

    @property
    def registered(self) -> int | None:
        """On how many nodes; None where that cannot be read."""
        known = [node.registered for node in self.nodes if node.registered is not None]
        return sum(known) if known else None

    @property
    def missing(self) -> tuple[str, ...]:
        """The ready nodes it is not registered on."""
        return tuple(node.node_name for node in self.nodes if node.node_ready and node.registered is False)

    @property
    def fullest(self) -> OnNode | None:
        """The node nearest to its limit."""
        limited = [node for node in self.nodes if node.limit]
        return max(limited, key=lambda node: node.counted / (node.limit or 1), default=None)

    @property
    def feeds(self) -> tuple[int, int]:
        """How many of its feeds are heard, of how many that were."""
        told = [node.feed for node in self.nodes if node.feed is not None]
        return sum(told), len(told)

    @property
    def finding(self) -> str:
        return self.findings[0][1] if self.findings else ""


NO_OBJECT = (
    "no CSIDriver object: Kubernetes takes attach to be required, and other settings to be as by default"
)


def driver_views(state: State, rows: Iterable[VolumeRow], now: int) -> list[DriverView]:
    """Every driver that anything names, the worst first. `rows`: those of the volumes at this moment."""
    survey = Survey(state, rows, now)
    views = [_view(survey, name) for name in survey.driver_names if name]
    return sorted(views, key=lambda view: (-view.severity, view.name))


def settings(view: DriverView) -> list[tuple[str, str, str]]:
    """(field of the CSIDriver's spec, its value, what that means) for people."""
    if view.spec is None:
        return []
    spec = view.spec.spec
    audiences = ", ".join(request.audience or "the API server" for request in spec.token_requests)
    selinux = "not told" if spec.se_linux_mount is None else _yes(spec.se_linux_mount)
    return [
        ("attachRequired", _yes(spec.attach_required), _ATTACH[spec.attach_required]),
        ("podInfoOnMount", *_if(spec.pod_info_on_mount, "NodePublishVolume is told of the pod")),
        ("fsGroupPolicy", spec.fs_group_policy or "ReadWriteOnceWithFSType", ""),
        ("storageCapacity", *_if(spec.storage_capacity, "the scheduler asks for free capacity")),
        ("volumeLifecycleModes", ", ".join(spec.volume_lifecycle_modes), ""),
        ("tokenRequests", audiences or "none", "kubelet passes service account tokens" if audiences else ""),
        ("requiresRepublish", *_if(spec.requires_republish, "kubelet repeats NodePublishVolume")),
        ("seLinuxMount", selinux, ""),
    ]


_ATTACH = {
    True: "ControllerPublishVolume before a node may mount",
    False: "no VolumeAttachments: a node mounts at once",
}


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _if(value: bool, meaning: str) -> tuple[str, str]:
    return _yes(value), meaning if value else ""


def _view(survey: Survey, name: str) -> DriverView:
    state, now = survey.state, survey.now
    nodes = tuple(sorted((on_node(survey, name, node) for node in survey.node_names), key=_relevance))
    pods = tuple(driver_pod(pod) for pod in survey.pods.get(name, ()))
    leaders = tuple(_leader(survey, sidecar, lease) for sidecar, lease in survey.leaders(name))
    mine = [row for row in survey.rows if row.driver == name]
    calls = survey.calls.get(name, Calls())
    oldest = calls.in_flight[0] if calls.in_flight else None
    spec = survey.csi_drivers.get(name)
    view = DriverView(
        name=name,
        spec=spec,
        undeclared="" if spec is not None else kind_silence(state, "CSIDriver") or NO_OBJECT,
        classes=tuple(each.name for each in survey.classes.get(name, ())),
        classes_unknown=kind_silence(state, "StorageClass"),
        leaders=leaders,
        leaders_unknown="" if leaders else _no_leaders(survey),
        pods=pods,
        pods_unknown="" if pods else _no_pods(survey, leaders),
        nodes=nodes,
        volumes=len(mine),
        troubled=sum(row.severity >= Severity.UNKNOWN for row in mine),
        in_flight=len(calls.in_flight),
        oldest_call=f"{oldest.method} {oldest.volume_id}".rstrip() if oldest is not None else "",
        oldest_call_at=oldest.started_at if oldest is not None else None,
        answered=calls.answered,
        failed=calls.failed,
        severity=Severity.OK,
        findings=(),
    )
    return _judged(view, now, worst_of(mine))


def _judged(view: DriverView, now: int, worst: VolumeRow | None) -> DriverView:
    found: list[Finding] = []
    for leader in view.leaders:
        if leader.expired and leader.renewed_at is not None:
            silent = format_duration(now - leader.renewed_at)
            found.append(
                (Severity.STUCK, f"{leader.sidecar}: {leader.holder} does not renew its Lease since {silent}")
            )
        elif not leader.holder:
            found.append((Severity.SLOW, f"{leader.sidecar}: nobody holds its Lease, so none leads"))
    if view.registered == 0 and view.nodes:
        known = view.volumes or view.spec is not None
        text = "registered on no node" if known else "only named by a class: not installed, or no CSI driver"
        found.append((Severity.STUCK if view.volumes else Severity.UNKNOWN, text))
    for pod in view.pods:
        if pod.trouble and "node" not in pod.roles:
            found.append((Severity.SLOW, f"pod {pod.name} {pod.trouble}"))
    for node in view.nodes:
        found += node.findings
    if view.spec is None and view.undeclared == NO_OBJECT and view.registered:
        found.append((Severity.SLOW, "no CSIDriver object: attach is taken to be required"))
    if worst is not None:
        found.append((worst.severity, troubled_text(worst, view.troubled)))
    findings = worst_first(found)
    return replace(view, findings=findings, severity=findings[0][0] if findings else Severity.OK)


def _relevance(node: OnNode) -> tuple[bool, bool, int, str]:
    return not node.findings, not (node.registered and node.counted), -node.counted, node.node_name


def _leader(survey: Survey, sidecar: str, lease: Lease) -> Leader:
    spec = lease.spec
    pod = survey.holder_pod(lease)
    heard = not kind_silence(survey.state, "Lease", lease.namespace)
    held = bool(spec.holder_identity)
    return Leader(
        sidecar,
        lease.full_name,
        spec.holder_identity or "",
        pod.full_name if pod is not None else "",
        pod.spec.node_name if pod is not None else "",
        renewed_at(lease),
        expired=held and heard and is_expired(lease, survey.now),
    )


def _no_leaders(survey: Survey) -> str:
    silent = kind_silence(survey.state, "Lease")
    return silent or "no Lease of a sidecar of it is there: none runs, or they run without leader election"


def _no_pods(survey: Survey, leaders: tuple[Leader, ...]) -> str:
    if silent := kind_silence(survey.state, "Pod"):
        return silent
    holder = next((leader.holder for leader in leaders if leader.holder), "")
    if holder:
        return f"none with its sidecars or its socket is seen; its Leases are held by {holder}, which is no pod here"
    return "none with its sidecars, its socket (plugins/<driver>) or its Leases is seen"


def parse_driver_filter(text: str) -> Filter[DriverView]:
    """A filter over the list of drivers. Raises `FilterError`."""
    return parse(text, DRIVER_FIELDS, _names)


def _names(view: DriverView) -> tuple[str, ...]:
    return (view.name, *view.classes, view.severity.name.lower())


DRIVER_FIELDS: dict[str, Field[DriverView]] = {
    "driver": Field(Kind.TEXT, "its name", lambda view: (view.name,)),
    "class": Field(Kind.TEXT, "a StorageClass of it", lambda view: view.classes),
    "node": Field(Kind.TEXT, "a node it is registered on", lambda view: tuple(n.node_name for n in view.nodes if n.registered)),
    "missing": Field(Kind.TEXT, "a ready node it is not registered on", lambda view: view.missing),
    "pod": Field(Kind.TEXT, "a pod of it", lambda view: tuple(pod.name for pod in view.pods)),
    "leader": Field(Kind.TEXT, "who leads for one of its sidecars", lambda view: tuple(each.holder for each in view.leaders)),
    "finding": Field(Kind.TEXT, "what is wrong with it", lambda view: tuple(text for _, text in view.findings)),
    "volumes": Field(Kind.NUMBER, "its volumes", number=lambda view, now: view.volumes),
    "calls": Field(Kind.NUMBER, "calls without an answer yet", number=lambda view, now: view.in_flight),
    "failed": Field(Kind.NUMBER, "calls that failed in the last 5 minutes", number=lambda view, now: view.failed),
}  # fmt: skip
"""The fields of the list of drivers."""
