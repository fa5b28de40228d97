"""How a testimony is worded: what an object claims, what is missing, what is under way, what an Event complains of."""

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import EventFact, StepStatus
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed.told import UNTOLD, Told
from csitrace.model.events import Stamp
from csitrace.model.kubernetes import ContainerStatus
from csitrace.model.rpc import RPC_BY_METHOD, code_of

STILL_RUNNING = "it may still be running in the driver, and is tried again"
"""What the caller takes a non-final error to mean (`Rpc.is_final`)."""


def claims(text: str, seq: int, told: Told = UNTOLD, status: StepStatus = StepStatus.DONE) -> Testimony:
    """A field of a Kubernetes object says so; `told` is the server's own time, to the second."""
    return Testimony(status, text, told.at, Stamp.SERVER, seq, told.source, told.at_latest)


def pending(text: str, seq: int = 0) -> Testimony:
    return Testimony(StepStatus.PENDING, text, seq=seq)


def moving(text: str, seq: int = 0, at: int | None = None) -> Testimony:
    return Testimony(StepStatus.MOVING, text, at, Stamp.ORIGIN if at else Stamp.OBSERVED, seq)


def complaint(fact: EventFact, method: str = "") -> Testimony:
    """An Event's message, of a call or of no certain one."""
    return refusal(fact.event.message.strip(), method, fact.seq, fact.at)


def refusal(text: str, method: str, seq: int, at: int | None) -> Testimony:
    """An error as its caller tells it: failed, or where its gRPC code is not final for the call, still moving."""
    code = code_of(text)
    if method and code is not None and not RPC_BY_METHOD[method].is_final(code):
        return Testimony(StepStatus.MOVING, f"{text}; {STILL_RUNNING}", at, Stamp.SERVER, seq, refused=True)
    return Testimony(StepStatus.FAILED, text, at, Stamp.SERVER, seq)


def use_seq(ctx: Context) -> int:
    return ctx.use.seq if ctx.use is not None else 0


def containers_of(ctx: Context) -> tuple[ContainerStatus, ...]:
    return ctx.pod.status.container_statuses if ctx.pod is not None else ()


def containers_run(ctx: Context) -> bool:
    """Every container has been started at least once: then all volumes were mounted (kubelet mounts before it starts any)."""
    statuses = containers_of(ctx)
    if ctx.pod is not None and any(s.state.running for s in ctx.pod.status.init_container_statuses):
        return True
    return bool(statuses) and all(
        status.state.running is not None or status.state.terminated is not None or status.restart_count > 0
        for status in statuses
    )
