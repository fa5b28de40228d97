"""Steps 5 to 9: from the provisioner's name to the pod bound to its node."""

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed.told import (
    UNTOLD,
    Told,
    created,
    earliest,
    field,
    first_said,
    turned,
    wrote,
)
from csitrace.lifecycle.witnessed.words import claims, complaint, moving, pending, use_seq
from csitrace.model.kubernetes import Manager

PV_CONTROLLER = "persistentvolume-controller"
"""Who complains of a class that is not there; all other Events of provisioning are the provisioner's."""


def provisioner_named(ctx: Context) -> Testimony | None:
    if ctx.claim is None:
        return None
    annotations = ctx.claim.metadata.annotations
    provisioner = annotations.storage_provisioner or annotations.storage_provisioner_beta
    if provisioner:
        return claims(f"{provisioner} is to act", ctx.volume.claim_seq, _named(ctx))
    refused = ctx.last_event(("ProvisioningFailed", "FailedBinding"))
    if refused is None:
        return pending("no provisioner named on the claim")
    if refused.event.component == PV_CONTROLLER:
        return complaint(refused)
    return claims("the provisioner has spoken", refused.seq)  # its Event came in before the claim's change


def volume_created_claimed(ctx: Context) -> Testimony | None:
    if ctx.pv is not None:
        return claims("a PV tells of it", ctx.volume.pv_seq, created(ctx.pv, at_latest=True))
    told = ctx.last_event(("ProvisioningFailed", "ProvisioningSucceeded"))
    if told is not None and told.event.reason == "ProvisioningSucceeded":
        return claims(f"Event {told.event.reason}", told.seq, first_said(told.event))
    if told is not None:
        return complaint(told, "CreateVolume")
    started = ctx.last_event(("Provisioning", "ExternalProvisioning"))
    if started is not None:
        return moving(f"{started.event.reason}, {started.event.times_seen}x", started.seq, started.at)
    return pending("no PV, no Event")


def pv_created(ctx: Context) -> Testimony | None:
    if ctx.pv is not None:
        return claims(ctx.pv.name, ctx.volume.pv_seq, created(ctx.pv))
    if ctx.claim is not None and ctx.claim.status.phase == "Bound" and ctx.silence("PersistentVolume"):
        return claims(f"the claim names {ctx.claim.spec.volume_name}", ctx.volume.claim_seq)
    told = ctx.last_event(("ProvisioningSucceeded",))
    if told is not None and ctx.silence("PersistentVolume"):
        return claims(f"Event {told.event.reason}", told.seq, first_said(told.event))
    return pending("no PV for the claim")


def claim_bound(ctx: Context) -> Testimony | None:
    if ctx.claim is not None:
        phase = ctx.claim.status.phase
        if phase == "Bound":
            return claims("claim Bound", ctx.volume.claim_seq, _bound(ctx))
        if phase == "Lost":
            return Testimony(StepStatus.FAILED, "claim Lost: its PV is gone", seq=ctx.volume.claim_seq)
        return pending(f"claim {phase or 'has no phase'}", ctx.volume.claim_seq)
    if ctx.pv is not None and ctx.pv.status.phase in ("Bound", "Released"):
        return claims(f"PV {ctx.pv.status.phase}", ctx.volume.pv_seq, _bound(ctx))
    return None


def pod_bound(ctx: Context) -> Testimony | None:
    if ctx.pod is None:
        return pending("no pod uses it yet")
    if ctx.node_name:
        condition = ctx.condition("PodScheduled")
        is_scheduled = condition is not None and condition.status == "True"
        return claims(ctx.node_name, use_seq(ctx), turned(condition) if is_scheduled else UNTOLD)
    return pending("the pod names no node")


def _named(ctx: Context) -> Told:
    """The PV controller writes the provisioner's name first, and the PV's when they are bound: from then on its Event, which soon
    follows the name, is the better bound."""
    if ctx.claim is None:
        return UNTOLD
    has_written_once = not ctx.claim.spec.volume_name and not ctx.claim.metadata.annotations.storage_resizer
    waiting = ctx.last_event(("ExternalProvisioning",))
    return earliest(
        wrote(ctx.claim, Manager.CONTROLLER_MANAGER, exactly=has_written_once),
        first_said(waiting.event if waiting is not None else None),
    )


def _bound(ctx: Context) -> Told:
    """When the PV became Bound, or, where it has changed since, when the PV controller last wrote the claim's status."""
    pv = ctx.pv
    since = UNTOLD
    if pv is not None and pv.status.phase in ("Bound", "Released"):
        moved_on = pv.status.phase == "Released"
        source = f"lastPhaseTransitionTime of {pv.kind}"
        since = field(pv.status.last_phase_transition_time, source, at_latest=moved_on)
    if ctx.claim is None:
        return since
    return earliest(since, wrote(ctx.claim, Manager.CONTROLLER_MANAGER, "status"))
