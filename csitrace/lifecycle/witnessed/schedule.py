"""Steps 1 to 4: the pod, its node, and the node's name on the claim."""

from collections.abc import Iterator

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed.told import (
    UNTOLD,
    Told,
    created,
    earliest,
    first_said,
    latest,
    turned,
    wrote,
)
from csitrace.lifecycle.witnessed.words import claims, moving, pending, use_seq
from csitrace.model.events import Stamp, Witness
from csitrace.model.kubernetes import Manager
from csitrace.model.times import parse_rfc3339

TRIED_TOO_EARLY = {
    "unbound immediate PersistentVolumeClaims": "the pod's claims were bound",
    "waiting for ephemeral volume controller to create": "its claim was made",
}
"""The scheduler's words (VolumeBinding, PreFilter) on every pod that comes before its claims of class Immediate are bound, or
before the claims of its generic ephemeral volumes are made. It tries again when they are, usually within a tenth of a second,
so that by itself this is no failure."""


def objects_created(ctx: Context) -> Testimony | None:
    pod, claim = ctx.pod, ctx.claim
    if claim is not None and pod is not None:
        both = latest(created(claim), created(pod))
        return claims("claim and pod exist", max(ctx.volume.claim_seq, use_seq(ctx)), both)
    if claim is not None:
        return claims("claim exists", ctx.volume.claim_seq, created(claim))
    if pod is not None:
        return claims("pod exists", use_seq(ctx), created(pod))
    return None


def scheduler_saw_pod(ctx: Context) -> Testimony | None:
    if ctx.pod is None:
        return pending("no pod uses it yet")
    condition = ctx.condition("PodScheduled")
    if condition is not None:
        return claims(f"PodScheduled={condition.status}", use_seq(ctx), _seen_by_scheduler(ctx))
    if ctx.node_name:
        return claims("the pod names its node", use_seq(ctx), _seen_by_scheduler(ctx))
    if (
        ctx.claim is not None
        and ctx.claim.metadata.annotations.selected_node
        and not was_chosen_for_another(ctx)
    ):
        return claims("the claim names the chosen node", ctx.volume.claim_seq, _noted_for_pod(ctx))
    return pending("the scheduler has not said anything of the pod")


def node_chosen(ctx: Context) -> Testimony | None:
    if ctx.pod is None:
        return pending("no pod uses it yet")
    if ctx.node_name:
        return claims(ctx.node_name, use_seq(ctx), earliest(_noted_for_pod(ctx), _bound_to_node(ctx)))
    selected = ctx.claim.metadata.annotations.selected_node if ctx.claim is not None else ""
    condition = ctx.condition("PodScheduled")
    if selected and not was_chosen_for_another(ctx):
        return claims(selected, ctx.volume.claim_seq, _noted_for_pod(ctx))
    for said, meaning in _tried_too_early(ctx):
        if condition is not None and said in condition.message:
            return moving(f"tried before {meaning}; the scheduler tries again", use_seq(ctx))
    if condition is not None and condition.status == "False":
        return Testimony(
            StepStatus.FAILED,
            condition.message or condition.reason,
            parse_rfc3339(condition.last_transition_time),
            Stamp.SERVER,
            use_seq(ctx),
        )
    return pending("no node chosen")


def _tried_too_early(ctx: Context) -> Iterator[tuple[str, str]]:
    """A claim that is there can be missed by a scheduler whose watch of claims is a little behind that of pods: by the lister
    (VolumeBinding, PreFilter) or by its cache (VolumeBinding, AssumeCache)."""
    yield from TRIED_TOO_EARLY.items()
    if ctx.claim is not None:
        yield f'persistentvolumeclaim "{ctx.claim.name}" not found', "it knew of the claim"
        full_name = f"{ctx.claim.namespace}/{ctx.claim.name}"
        yield f'could not find v1.PersistentVolumeClaim "{full_name}"', "it knew of the claim"


def was_chosen_for_another(ctx: Context) -> bool:
    """The node's name stays on a claim that is bound: for a pod that the scheduler has refused, it tells of a pod before."""
    condition = ctx.condition("PodScheduled")
    refused = condition is not None and condition.status == "False"
    chosen = ctx.use is not None and ("3", Witness.KUBERNETES) in ctx.use.marks
    return refused and not chosen and ctx.claim is not None and ctx.claim.status.phase == "Bound"


def selected_node_noted(ctx: Context) -> Testimony | None:
    if ctx.claim is None:
        return None
    selected = "" if was_chosen_for_another(ctx) else ctx.claim.metadata.annotations.selected_node
    return (
        claims(selected, ctx.volume.claim_seq, _noted(ctx))
        if selected
        else pending("the claim names no node")
    )


def _seen_by_scheduler(ctx: Context) -> Told:
    """By its first word on the pod: a condition that it could not be placed, or that it was, or the first Event."""
    failed = ctx.last_event(("FailedScheduling",))
    condition = turned(ctx.condition("PodScheduled"), at_latest=True)
    return earliest(condition, first_said(failed.event if failed is not None else None))


def _bound_to_node(ctx: Context) -> Told:
    """A node was chosen before the pod was bound to it."""
    condition = ctx.condition("PodScheduled")
    is_bound = condition is not None and condition.status == "True"
    return turned(condition, at_latest=True) if is_bound else UNTOLD


def _noted(ctx: Context) -> Told:
    """The chosen node's name is all that the scheduler ever writes on a claim."""
    if ctx.claim is None or not ctx.claim.metadata.annotations.selected_node:
        return UNTOLD
    return wrote(ctx.claim, Manager.SCHEDULER, exactly=True)


def _noted_for_pod(ctx: Context) -> Told:
    """Not where it was noted before there was this pod: that was for another."""
    noted = _noted(ctx)
    born = created(ctx.pod).at if ctx.pod is not None else None
    return noted if noted.at is not None and noted.at >= (born or 0) else UNTOLD
