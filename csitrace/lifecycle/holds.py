"""What holds a step up beyond the one who acts in it: another pod, another node, a FUSE pod that does not come up.

A table of questions, asked in order of the step that is waited for. Each answers from objects that can be read, or not at all.
"""

from collections.abc import Callable
from dataclasses import dataclass

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.daemon_pods import daemon_pods, waits_for
from csitrace.lifecycle.views import Evidence
from csitrace.model.events import Witness


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


_QUESTIONS: tuple[tuple[tuple[str, ...], Callable[[Context], Hold | None]], ...] = (
    (("13", "16a", "16b"), fuse_pod),
)
