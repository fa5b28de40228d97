"""One driver on one node: registered or not, its pod, its volumes against the limit, its feed; and what is wrong there."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from csitrace.lifecycle.driver_pods import is_controller_pod, is_node_pod, sidecars
from csitrace.lifecycle.heard import kernel_silence, kind_silence
from csitrace.lifecycle.pod_trouble import pod_trouble
from csitrace.lifecycle.survey import Share, Survey
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.model.kubernetes import Node, Pod

Finding = tuple[Severity, str]


@dataclass(frozen=True, slots=True)
class DriverPod:
    """A pod of a driver. `roles`: "controller", "node", both or none; `trouble`: why it cannot do its work, "" where it can."""

    name: str  # namespace/name
    node_name: str
    roles: tuple[str, ...]
    sidecars: tuple[str, ...]
    restarts: int
    trouble: str


@dataclass(frozen=True, slots=True)
class OnNode:
    """`registered` is None where CSINodes cannot be read. `limit`: how many volumes the driver can have there, None: not told.

    `attached`, `used`, `counted`, `mounts`: as in `Share`; `mounts` is None where nobody tells of them. `feed`: whether the
    driver's feed from there is heard; None: it never was.
    """

    driver: str
    node_name: str
    node_exists: bool
    node_ready: bool
    registered: bool | None
    node_id: str = ""
    pods: tuple[DriverPod, ...] = ()
    attached: int = 0
    used: int = 0
    counted: int = 0
    limit: int | None = None
    mounts: int | None = 0
    feed: bool | None = None
    feed_reason: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def is_full(self) -> bool:
        return self.limit is not None and self.limit > 0 and self.counted >= self.limit


def on_node(survey: Survey, driver: str, node_name: str) -> OnNode:
    """How a driver stands on a node."""
    place = (driver, node_name)
    node = survey.nodes.get(node_name)
    share = survey.shares.get(place, Share())
    registration = survey.registrations.get(place)
    unread = kind_silence(survey.state, "CSINode")
    feed = survey.feeds.get(place)
    unheard = kernel_silence(survey.state, node_name) and not (feed is not None and feed.up)
    pods = tuple(
        driver_pod(pod) for pod in survey.pods.get(driver, ()) if pod.spec.node_name == node_name and is_node_pod(pod)
    )  # fmt: skip
    limit = registration.allocatable.count if registration and registration.allocatable else None
    here = OnNode(
        driver=driver,
        node_name=node_name,
        node_exists=node is not None,
        node_ready=is_ready(node) is True,
        registered=True if registration is not None else None if unread else False,
        node_id=registration.node_id if registration is not None else "",
        pods=pods,
        attached=share.attached,
        used=share.used,
        counted=share.counted,
        limit=limit,
        mounts=share.mounts if share.mounts or not unheard else None,
        feed=feed.up if feed is not None else None,
        feed_reason=feed.reason if feed is not None and not feed.up else "",
    )
    return _judged(here)


def driver_pod(pod: Pod) -> DriverPod:
    roles = [
        word for word, holds in (("controller", is_controller_pod(pod)), ("node", is_node_pod(pod))) if holds
    ]
    return DriverPod(
        pod.full_name,
        pod.spec.node_name,
        tuple(roles),
        sidecars(pod),
        sum(container.restart_count for container in pod.status.container_statuses),
        _trouble(pod),
    )  # fmt: skip


def _trouble(pod: Pod) -> str:
    """Why a pod cannot do its work, in a few words; "" when it can, or is about to."""
    if pod.is_terminating:
        return "is being deleted"
    if (trouble := pod_trouble(pod)) is not None:
        return trouble.in_short
    ready = next((c for c in pod.status.conditions if c.type == "Ready"), None)
    if not pod.spec.node_name:
        return "has no node yet"
    return "is not ready" if ready is not None and ready.status != "True" else ""


def is_ready(node: Node | None) -> bool | None:
    """The node's Ready condition: None where its kubelet does not report any more, or nothing is known."""
    conditions = node.status.conditions if node is not None else ()
    ready = next((condition for condition in conditions if condition.type == "Ready"), None)
    return None if ready is None or ready.status == "Unknown" else ready.status == "True"


def _judged(here: OnNode) -> OnNode:
    found: list[Finding] = []
    where = here.node_name
    if here.registered is False and here.used and here.node_exists:
        found.append(
            (Severity.STUCK, f"not registered on {where}, where {count(here.used, 'volume')} must be mounted")
        )
    if here.is_full:
        found.append((Severity.SLOW, f"{where} is full: {here.counted} of {here.limit} volumes"))
    for pod in here.pods:
        if pod.trouble:
            found.append((Severity.SLOW, f"pod {pod.name} on {where} {pod.trouble}"))
    if here.feed is False:
        found.append((Severity.UNKNOWN, f"its calls on {where} are unknown: {here.feed_reason}"))
    return replace(here, findings=tuple(found))


def count(number: int, noun: str) -> str:
    """`1 volume`, `3 volumes`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def worst_of(rows: Iterable[VolumeRow]) -> VolumeRow | None:
    """The volume that wants attention most; None where none does."""
    troubled = [row for row in rows if row.severity >= Severity.UNKNOWN]
    return min(troubled, key=lambda row: (-row.severity, row.display_name), default=None)


def troubled_text(worst: VolumeRow, troubled: int) -> str:
    """The worst volume's name and finding, and how many more are in trouble."""
    more = f" (and {count(troubled - 1, 'more volume')} in trouble)" if troubled > 1 else ""
    return f"volume {worst.display_name}: {worst.finding or worst.step_title}{more}"


def worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: -finding[0]))
