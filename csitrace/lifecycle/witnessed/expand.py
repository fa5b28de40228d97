"""The steps of an expansion: what external-resizer and kubelet write on claim and PV, and the Events that tell of it."""

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import Mark, StepStatus
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed import Attest
from csitrace.lifecycle.witnessed.calls import call_answered
from csitrace.lifecycle.witnessed.told import UNTOLD, Told, field, wrote
from csitrace.lifecycle.witnessed.words import claims, complaint, moving, pending, refusal
from csitrace.model.events import Witness
from csitrace.model.kubernetes import Manager
from csitrace.model.quantity import size_of
from csitrace.model.times import parse_rfc3339

RESIZE_FAILED, NODE_RESIZE_FAILED = "VolumeResizeFailed", ("VolumeResizeFailed", "FileSystemResizeFailed")
ON_NODE = ("NodeResizePending", "NodeResizeInProgress", "NodeResizeInfeasible")
"""`allocatedResourceStatuses` from when external-resizer has done its part."""


def answered(method: str) -> Attest:
    """The driver's word on a call of this expansion, and of none before it."""
    return call_answered(method, since=_since)


def asked(ctx: Context) -> Testimony | None:
    expansion = ctx.volume.expansion
    if expansion is None:
        return None
    return Testimony(
        StepStatus.DONE, f"from {expansion.before} to {expansion.wanted}", expansion.at, seq=expansion.seq
    )


def controller_expanded_claimed(ctx: Context) -> Testimony | None:
    if is_grown(ctx, ctx.pv.spec.capacity.storage if ctx.pv is not None else "") or _left_to_node(ctx):
        return claims("the PV tells of it", ctx.volume.pv_seq, _resized(ctx))
    if (failed := _condition(ctx, "ControllerResizeError")) is not None:
        return failed
    if _status(ctx) == "ControllerResizeInfeasible":
        told = ctx.last_event((RESIZE_FAILED,))
        return (
            complaint(told)
            if told is not None
            else claims("infeasible", ctx.volume.claim_seq, status=StepStatus.FAILED)
        )
    told = ctx.last_event((RESIZE_FAILED, "Resizing"))
    if told is not None and told.event.reason == RESIZE_FAILED and told.event.involved_object.kind != "Pod":
        return complaint(told, "ControllerExpandVolume")
    if _status(ctx) == "ControllerResizeInProgress" or _has_condition(ctx, "Resizing"):
        return moving("external-resizer is at it", ctx.volume.claim_seq)
    return pending("external-resizer has not begun", ctx.volume.claim_seq)


def pv_resized(ctx: Context) -> Testimony | None:
    if ctx.pv is None:
        return None
    capacity = ctx.pv.spec.capacity.storage
    if is_grown(ctx, capacity):
        return claims(f"PV has {capacity}", ctx.volume.pv_seq, _resized(ctx))
    return pending(f"PV has {capacity}", ctx.volume.pv_seq)


def left_to_node(ctx: Context) -> Testimony | None:
    if _left_to_node(ctx):
        return claims(_status(ctx) or "FileSystemResizePending", ctx.volume.claim_seq)
    if is_complete(ctx):
        mark = _marked(ctx, "e4")
        return (
            Testimony(StepStatus.DONE, "was seen", mark.at, mark.stamp, mark.seq)
            if mark is not None
            else None
        )
    return pending("the claim tells of nothing left to the node", ctx.volume.claim_seq)


def node_expanded_claimed(ctx: Context) -> Testimony | None:
    told = ctx.last_event(("FileSystemResizeSuccessful", *NODE_RESIZE_FAILED))
    if told is not None and told.seq >= _since(ctx) and told.event.component == "kubelet":
        if told.event.reason == "FileSystemResizeSuccessful":
            return claims(
                f"Event {told.event.reason}",
                told.seq,
                field(told.event.last_time, f"Event {told.event.reason}"),
            )
        if not is_complete(ctx):
            return complaint(told, "NodeExpandVolume")
    if (failed := _condition(ctx, "NodeResizeError")) is not None:
        return failed
    if _status(ctx) == "NodeResizeInProgress":
        return moving("kubelet is at it", ctx.volume.claim_seq)
    return None if is_complete(ctx) else pending("kubelet has not begun")


def claim_grown(ctx: Context) -> Testimony | None:
    if ctx.claim is None:
        return None
    capacity = ctx.claim.status.capacity.storage
    if is_complete(ctx):
        return claims(f"claim has {capacity}", ctx.volume.claim_seq)
    return pending(f"claim has {capacity}", ctx.volume.claim_seq)


def is_complete(ctx: Context) -> bool:
    """The claim has what was asked for; a claim that asks for less again (a recovery) has it, too."""
    return ctx.claim is not None and is_grown(ctx, ctx.claim.status.capacity.storage)


def is_grown(ctx: Context, capacity: str) -> bool:
    wanted = ctx.volume.expansion.wanted if ctx.volume.expansion is not None else ""
    return (size_of(capacity) or 0) >= (size_of(wanted) or 0) > 0


def node_has_no_part(ctx: Context) -> str:
    """Why the node has nothing to do; "" while it may have."""
    told = ctx.last_event(("VolumeResizeSuccessful",))
    if told is not None and told.seq >= _since(ctx):
        return "external-resizer says that it is all done"
    if not is_complete(ctx) or _had_part(ctx):
        return ""
    return "" if node_doubt(ctx) else "the driver has no part of it on the node"


def node_doubt(ctx: Context) -> str:
    """Why it cannot be told whether the node had a part in what is complete."""
    return ctx.driver_silence("NodeExpandVolume") if is_complete(ctx) and not _had_part(ctx) else ""


def _had_part(ctx: Context) -> bool:
    called = ctx.last_call("NodeExpandVolume")
    return _marked(ctx, "e4") is not None or (called is not None and called.seq >= _since(ctx))


def _left_to_node(ctx: Context) -> bool:
    return _status(ctx) in ON_NODE or _has_condition(ctx, "FileSystemResizePending")


def _status(ctx: Context) -> str:
    return ctx.claim.status.allocated_resource_statuses.storage if ctx.claim is not None else ""


def _has_condition(ctx: Context, kind: str) -> bool:
    conditions = ctx.claim.status.conditions if ctx.claim is not None else ()
    return any(condition.type == kind and condition.status == "True" for condition in conditions)


def _condition(ctx: Context, kind: str) -> Testimony | None:
    """The claim's complaint, with the driver's own words in it."""
    method = {"ControllerResizeError": "ControllerExpandVolume", "NodeResizeError": "NodeExpandVolume"}[kind]
    for condition in ctx.claim.status.conditions if ctx.claim is not None else ():
        if condition.type == kind and condition.status == "True":
            at = parse_rfc3339(condition.last_transition_time)
            return refusal(condition.message or kind, method, ctx.volume.claim_seq, at)
    return None


def _resized(ctx: Context) -> Told:
    """external-resizer writes the PV's new capacity last; what it wrote before was of an expansion before."""
    return wrote(ctx.pv, Manager.RESIZER) if ctx.pv is not None else UNTOLD


def _marked(ctx: Context, step_id: str) -> Mark | None:
    expansion = ctx.volume.expansion
    return expansion.marks.get((step_id, Witness.KUBERNETES)) if expansion is not None else None


def _since(ctx: Context) -> int:
    return ctx.volume.expansion.seq if ctx.volume.expansion is not None else 0
