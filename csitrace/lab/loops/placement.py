"""Where a pod may go: the scheduler's filters that matter to volumes, each with its own words.

Order and texts: plugins of kube-scheduler 1.34 (nodeunschedulable, tainttoleration, nodeaffinity, volumerestrictions,
volumebinding).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from csitrace.lab import objects
from csitrace.lab.status import Object

_REPELLING = frozenset({"NoSchedule", "NoExecute"})
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_ONE_POD = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"


class UnschedulableError(Exception):
    """Why no node takes the pod now; the text of its FailedScheduling event."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a pod asks of a node. `places`: node affinities of its bound volumes; `selected`: the node that an unbound claim was
    promised; `is_blocked`: another pod has a claim that is for one pod only."""

    pod: Object
    places: tuple[Object, ...] = ()
    selected: frozenset[str] = frozenset()
    is_blocked: bool = False


def choose_node(wanted: Wanted, nodes: Sequence[Object], pods: Iterable[Object]) -> str:
    """The fitting node with the fewest pods. UnschedulableError, in the scheduler's words, when none fits."""
    refused = {node["metadata"]["name"]: _why_not(wanted, node) for node in nodes}
    load = Counter(pod["spec"].get("nodeName") for pod in pods)
    fitting = sorted((load[name], name) for name, why in refused.items() if not why)
    if fitting:
        return str(fitting[0][1])
    head = f"0/{len(nodes)} nodes are available"
    if not nodes:
        raise UnschedulableError("no nodes available to schedule pods")
    reasons = Counter(refused.values())
    told = ", ".join(sorted(f"{count} {why}" for why, count in reasons.items()))
    tail = _preemption(head, reasons)
    raise UnschedulableError(f"{head}: {told}. no new claims to deallocate, preemption: {tail}")


def refused_before(nodes: Sequence[Object], why: str) -> UnschedulableError:
    """A refusal that no node was asked for."""
    # The tail is empty text plus "not found" since dynamic resources answer for a pod they do not know.
    return UnschedulableError(f"0/{len(nodes)} nodes are available: {why}. not found")


def _preemption(head: str, reasons: Counter[str]) -> str:
    """Only where a pod is in the way could evicting one help; and none here has a priority above another."""
    answers = {
        "No preemption victims found for incoming pod": reasons[_ONE_POD],
        "Preemption is not helpful for scheduling": reasons.total() - reasons[_ONE_POD],
    }
    told = ", ".join(f"{count} {answer}" for answer, count in answers.items() if count)
    return f"{head}: {told}."


def _why_not(wanted: Wanted, node: Object) -> str:
    """The first filter that refuses; empty when the pod fits."""
    spec = wanted.pod["spec"]
    tolerations = spec.get("tolerations") or []
    marked = {"key": _UNSCHEDULABLE, "effect": "NoSchedule"}
    if node["spec"].get("unschedulable") and not _tolerated(marked, tolerations):
        return "node(s) were unschedulable"
    for taint in node["spec"].get("taints") or []:
        if taint["effect"] in _REPELLING and not _tolerated(taint, tolerations):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    labels = node["metadata"].get("labels") or {}
    if (spec.get("nodeSelector") or {}).items() - labels.items() or not _matches(_affinity(spec), labels):
        return "node(s) didn't match Pod's node affinity/selector"
    if wanted.is_blocked:
        return _ONE_POD
    if not all(_matches(place, labels) for place in wanted.places):
        return "node(s) didn't match PersistentVolume's node affinity"
    if wanted.selected - {node["metadata"]["name"]}:
        return "node(s) didn't find available persistent volumes to bind"
    return ""


def _affinity(spec: Object) -> Object:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    return affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}


def _matches(selector: Object, labels: dict[str, str]) -> bool:
    """Of a v1.NodeSelector one term has to match wholly; none at all is no condition."""
    terms = selector.get("nodeSelectorTerms") or []
    return not terms or any(
        all(_holds(expression, labels) for expression in term.get("matchExpressions") or []) for term in terms
    )


def _holds(expression: Object, labels: dict[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False


def _tolerated(taint: Object, tolerations: Sequence[Object]) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)


def tolerates(toleration: Object, taint: Object) -> bool:
    """v1.Toleration's rule: an empty key with Exists is every taint, an empty effect every effect."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key", "") in ("", taint["key"])
    return bool(
        toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")
    )


def place_of(volume: Object | None) -> Object:
    """A PV's node affinity as a v1.NodeSelector."""
    spec = volume["spec"] if volume else {}
    return (spec.get("nodeAffinity") or {}).get("required") or {}


def is_for_one_pod(claim: Object) -> bool:
    return "ReadWriteOncePod" in claim["spec"]["accessModes"]


def uses(pod: Object, namespace: str, claim_name: str) -> bool:
    """The pod is on a node, has not ended, and refers to the claim."""
    return (
        bool(pod["spec"].get("nodeName"))
        and not objects.is_finished(pod)
        and pod["metadata"]["namespace"] == namespace
        and any(name == claim_name for _, name in objects.claim_volumes(pod))
    )
