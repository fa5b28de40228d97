"""What holds a step up beyond the one who acts in it: another pod, another node, a FUSE pod that does not come up.

A table of questions, asked in order of the step that is waited for. Each answers from objects that can be read, or not at all.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from csitrace.lifecycle import index
from csitrace.lifecycle.context import Context
from csitrace.lifecycle.daemon_pods import daemon_pods, waits_for
from csitrace.lifecycle.elsewhere import (
    detached_by_force_at,
    is_kept_elsewhere,
    is_of_one_pod,
    node_elsewhere,
    other_users,
    stays_elsewhere,
    users_elsewhere,
)
from csitrace.lifecycle.heard import kind_silence, node_is_gone
from csitrace.lifecycle.leases import is_expired, leases_of, renewed_at
from csitrace.lifecycle.state import Use
from csitrace.lifecycle.steps import STEP_BY_ID
from csitrace.lifecycle.views import Evidence
from csitrace.model.events import Witness
from csitrace.model.kubernetes import CSINode, Lease, Node
from csitrace.model.times import format_rfc3339, parse_rfc3339

_AD = "attach/detach controller"

_CORDONED = "node(s) were unschedulable"
"""The scheduler's words (NodeUnschedulable, Filter) on nodes with `spec.unschedulable`."""

_NAMED = 3
"""How many nodes are named in a sentence."""


@dataclass(frozen=True, slots=True)
class Hold:
    """`text`: what holds the step up, in words that follow a semicolon. `holder`: who must act instead ("": who acts anyway)."""

    text: str
    holder: str = ""
    evidence: tuple[Evidence, ...] = ()
    command: str = ""


def hold(ctx: Context, step_id: str) -> Hold | None:
    """What holds the step up, by the first question about it that has an answer."""
    for steps, question in _QUESTIONS:
        if step_id in steps and (answer := question(ctx)) is not None:
            return answer
    return None


def fuse_pod(ctx: Context) -> Hold | None:
    """The volume's FUSE daemon has a pod of its own on the node, and that does not serve."""
    for pod in daemon_pods(ctx.state, ctx.volume, ctx.node_name):
        if text := waits_for(pod):
            told = (Evidence(Witness.KUBERNETES, text, pod.seq),)
            command = f"kubectl -n {pod.namespace} describe pod {pod.name}" if pod.seq else ""
            return Hold(text, f"FUSE pod {pod.full_name}", told, command)
    return None


def attached_elsewhere(ctx: Context) -> Hold | None:
    """A volume that one node at a time may have is wanted on this node, and attached to another."""
    other = node_elsewhere(ctx)
    if not is_kept_elsewhere(ctx):
        return None
    gone = node_is_gone(ctx.state, other)
    if not gone and (use := stays_elsewhere(ctx)) is not None:
        return _user(ctx, use)
    if (silent := _not_ready(ctx, other)) is None:
        return Hold(f"{other} is letting go of it", f"kubelet {other}")
    if _out_of_service(ctx, other):
        return replace(
            silent, text=f"{silent.text} and out of service: detached without waiting for it", holder=_AD
        )
    if users := users_elsewhere(ctx, other):
        keeps = f"{silent.text}: pod {users[0].pod.name} keeps it until"
        if gone:
            return replace(silent, text=f"{keeps} it is garbage-collected, about a minute after its node")
        return replace(
            silent,
            text=f"{keeps} the node is back or is tainted out-of-service, or the pod is deleted by force",
        )
    at = detached_by_force_at(ctx, other)
    when = f" at {format_rfc3339(at)[11:19]}Z" if at is not None else ""
    text = f"{silent.text}: the attach/detach controller gives it six minutes to unmount, then detaches by force{when}"
    return replace(silent, text=text)


def used_by_one_pod(ctx: Context) -> Hold | None:
    """A second pod wants a volume that only one may have (ReadWriteOncePod)."""
    others = other_users(ctx) if is_of_one_pod(ctx) else ()
    return _user(ctx, others[0]) if others else None


def _user(ctx: Context, use: Use) -> Hold:
    """The pod that has the volume, and since when it is there or is to go."""
    meta = use.pod.metadata
    since = meta.deletion_timestamp or use.pod.status.start_time
    doing = "is to go" if meta.deletion_timestamp else "uses it"
    text = f"pod {use.pod.name} {doing} on {use.node_name}{f' since {since[11:]}' if since else ''}"
    told = Evidence(Witness.KUBERNETES, text, use.seq, parse_rfc3339(since))
    command = f"kubectl -n {use.pod.namespace} describe pod {use.pod.name}"
    return Hold(text, f"pod {use.pod.name}", (told,), command)


def nodes_cordoned(ctx: Context) -> Hold | None:
    """The scheduler has found nodes cordoned: it says how many, the nodes themselves say which."""
    refused = ctx.condition("PodScheduled")
    if refused is None or refused.status != "False" or _CORDONED not in refused.message:
        return None
    nodes = sorted(node.name for node in index.of_kind(ctx.state, Node) if node.spec.unschedulable)
    if not nodes:
        return None
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    verb = "nodes {} are" if len(nodes) > 1 else "node {} is"
    text = f"{verb.format(', '.join(nodes[:_NAMED]) + more)} cordoned"
    told = (Evidence(Witness.KUBERNETES, text, _node_seq(ctx, nodes[0])),)
    return Hold(text, evidence=told, command="kubectl get nodes")


def _node_seq(ctx: Context, name: str) -> int:
    node = index.by_name(ctx.state, Node, name)
    stored = index.find(ctx.state, Node, node.uid) if node is not None else None
    return stored.seq if stored is not None else 0


def node_not_ready(ctx: Context) -> Hold | None:
    """The pod's own node does not report."""
    return _not_ready(ctx, ctx.node_name)


def _not_ready(ctx: Context, node_name: str) -> Hold | None:
    """A kubelet that does not report, says that it cannot work, or has no Node object: nothing is mounted, unmounted or stopped
    there."""
    if node_name and node_is_gone(ctx.state, node_name):
        told = Evidence(Witness.KUBERNETES, f"there is no Node {node_name}")
        return Hold(
            f"node {node_name} is gone", f"node {node_name}", (told,), f"kubectl get node {node_name}"
        )
    node = index.by_name(ctx.state, Node, node_name) if node_name else None
    conditions = node.status.conditions if node is not None else ()
    ready = next((condition for condition in conditions if condition.type == "Ready"), None)
    if ready is None or ready.status == "True":
        return None
    since = ready.last_transition_time
    text = f"node {node_name} is not ready{f' since {since[11:]}' if since else ''}"
    said = f"{text}: {ready.reason or ready.status}"
    told = Evidence(Witness.KUBERNETES, said, _node_seq(ctx, node_name), parse_rfc3339(since))
    return Hold(text, f"node {node_name}", (told,), f"kubectl describe node {node_name}")


def _out_of_service(ctx: Context, node_name: str) -> bool:
    node = index.by_name(ctx.state, Node, node_name)
    return node is not None and any(
        taint.key == "node.kubernetes.io/out-of-service" for taint in node.spec.taints
    )


def not_registered(ctx: Context) -> Hold | None:
    """Kubelet knows no such driver (any more): it can neither mount nor unmount."""
    known = index.by_name(ctx.state, CSINode, ctx.node_name) if ctx.node_name else None
    if known is None or ctx.registration is not None:
        return None
    text = f"{ctx.volume.driver} is not registered on {ctx.node_name}"
    return Hold(
        text, f"node plugin on {ctx.node_name}", command=f"kubectl get csinode {ctx.node_name} -o yaml"
    )


def taken_for_mounted(ctx: Context) -> Hold | None:
    """The volume was never attached, and its pod is gone. What the attach/detach controller has tried to attach it takes for
    mounted until the node tells which volumes it uses, as kubelet does when anything of its status changes, and after five
    minutes (`nodeStatusReportFrequency`)."""
    attachment = ctx.attachment
    if attachment is None or attachment.status.attached or attachment.metadata.deletion_timestamp:
        return None
    if (error := attachment.status.attach_error) is None or not ctx.node_name:
        return None
    node = ctx.node_name
    text = f"it takes the volume for mounted until {node} reports what it uses, within five minutes"
    told = Evidence(Witness.KUBERNETES, f"never attached: {error.message}", ctx.attachment_seq)
    return Hold(text, f"{_AD}, for the next status of node {node}", (told,))


def nobody_leads(ctx: Context, actor: str) -> Hold | None:
    """Who has to act takes part in an election, and whoever was elected has fallen silent, or nobody was. A Lease that is good
    speaks for him, whatever others of its name an earlier installation has left elsewhere."""
    leases = list(leases_of(ctx.state, actor, ctx.volume.driver))
    if any(lease.spec.holder_identity and not is_expired(lease, ctx.state.at) for lease in leases):
        return None
    for lease in leases:
        holder = lease.spec.holder_identity
        if kind_silence(ctx.state, "Lease", lease.namespace):
            continue
        at = renewed_at(lease) if holder else None
        since = f" since {format_rfc3339(at)[11:19]}Z" if at is not None else ""
        text = f"{holder} does not renew its Lease{since}" if holder else "nobody holds its Lease"
        stored = index.find(ctx.state, Lease, lease.uid)
        told = Evidence(
            Witness.KUBERNETES, f"Lease {lease.full_name}: {text}", stored.seq if stored else 0, at
        )
        command = f"kubectl -n {lease.namespace} describe lease {lease.name}"
        return Hold(f"{actor}: {text}", f"{actor}, which nobody leads", (told,), command)
    return None


def _elected() -> Iterator[tuple[tuple[str, ...], Callable[[Context], Hold | None]]]:
    """Of each step, who acts first in it (`a → b`, `a, b`)."""
    actors: dict[str, list[str]] = {}
    for step in STEP_BY_ID.values():
        actors.setdefault(re.split(" → |, ", step.actor)[0], []).append(step.id)
    for actor, steps in actors.items():
        yield tuple(steps), partial(nobody_leads, actor=actor)


_QUESTIONS: tuple[tuple[tuple[str, ...], Callable[[Context], Hold | None]], ...] = (
    *_elected(),  # who is not there does nothing about the others, either
    (("3",), used_by_one_pod),
    (("3",), nodes_cordoned),
    (("10",), attached_elsewhere),
    (("15", "16a", "16b", "17", "b2", "b3", "b4", "b5", "b6"), node_not_ready),
    (("12", "13", "16a", "16b", "b3", "b5"), not_registered),
    (("13", "16a", "16b"), fuse_pod),
    (("b7",), taken_for_mounted),
)
