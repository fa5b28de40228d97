"""What holds a step up beyond the one who acts in it: another pod, another node, a FUSE pod that does not come up.

A table of questions, asked in order of the step that is waited for. Each answers from objects that can be read, or not at all.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from csitrace.lifecycle import index
from csitrace.lifecycle.context import Context
from csitrace.lifecycle.daemon_pods import daemon_pods, waits_for
from csitrace.lifecycle.elsewhere import multi_attach, node_elsewhere, stays_elsewhere, users_elsewhere
from csitrace.lifecycle.views import Evidence
from csitrace.model.events import Witness
from csitrace.model.kubernetes import CSINode, Node
from csitrace.model.times import parse_rfc3339


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
    if not other or multi_attach(ctx) is None:
        return None
    if (use := stays_elsewhere(ctx)) is not None:
        command = f"kubectl -n {ctx.volume.namespace} describe pod {use.pod.name}"
        return Hold(f"pod {use.pod.name} uses it on {other}", f"pod {use.pod.name}", command=command)
    if (silent := _not_ready(ctx, other)) is None:
        return Hold("it is being let go of there", f"kubelet {other}")
    if users := users_elsewhere(ctx, other):
        until = "until the node is back or is tainted out-of-service, or the pod is deleted by force"
        return replace(silent, text=f"{silent.text}: pod {users[0].pod.name} keeps it {until}")
    return replace(
        silent, text=f"{silent.text}: the attach/detach controller gives it six minutes to unmount, then detaches by force"
    )  # fmt: skip


def node_not_ready(ctx: Context) -> Hold | None:
    """The pod's own node does not report."""
    return _not_ready(ctx, ctx.node_name)


def _not_ready(ctx: Context, node_name: str) -> Hold | None:
    """A kubelet that does not report, or says that it cannot work: nothing is mounted, unmounted or stopped there."""
    node = index.by_name(ctx.state, Node, node_name) if node_name else None
    conditions = node.status.conditions if node is not None else ()
    ready = next((condition for condition in conditions if condition.type == "Ready"), None)
    if ready is None or ready.status == "True":
        return None
    text = f"node {node_name} is not ready"
    said = f"{text}: {ready.reason or ready.status}"
    told = Evidence(Witness.KUBERNETES, said, at=parse_rfc3339(ready.last_transition_time))
    return Hold(text, f"node {node_name}", (told,), f"kubectl describe node {node_name}")


def not_registered(ctx: Context) -> Hold | None:
    """Kubelet knows no such driver (any more): it can neither mount nor unmount."""
    known = index.by_name(ctx.state, CSINode, ctx.node_name) if ctx.node_name else None
    if known is None or ctx.registration is not None:
        return None
    text = f"{ctx.volume.driver} is not registered on {ctx.node_name}"
    return Hold(
        text, f"node plugin on {ctx.node_name}", command=f"kubectl get csinode {ctx.node_name} -o yaml"
    )


_QUESTIONS: tuple[tuple[tuple[str, ...], Callable[[Context], Hold | None]], ...] = (
    (("10",), attached_elsewhere),
    (("15", "16a", "16b", "17", "b2", "b3", "b4", "b5", "b6"), node_not_ready),
    (("16a", "16b", "b3", "b5"), not_registered),
    (("13", "16a", "16b"), fuse_pod),
)
