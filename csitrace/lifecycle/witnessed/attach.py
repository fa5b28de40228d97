"""Steps 10 to 14: the VolumeAttachment, and what external-attacher writes on it; where it may not be read, the pod's Events."""

from csitrace.lifecycle.context import ATTACH_EVENTS, Context
from csitrace.lifecycle.elsewhere import multi_attach, node_elsewhere, stays_elsewhere
from csitrace.lifecycle.state import EventFact
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed.told import UNTOLD, Told, created, earliest, field, first_said, wrote
from csitrace.lifecycle.witnessed.words import claims, complaint, moving, pending, refusal
from csitrace.model.kubernetes import Manager
from csitrace.model.times import parse_rfc3339

ATTACH_FAILED = "AttachVolume.Attach failed"
"""How the attach/detach controller quotes external-attacher's error: there is a VolumeAttachment, and the driver was asked."""


def attach_needed(ctx: Context) -> Testimony | None:
    if ctx.attachment is not None:
        known = created(ctx.attachment, at_latest=True)
        return claims("a VolumeAttachment tells of it", ctx.attachment_seq, known)
    if (told := _told_by_event(ctx)) is not None:
        return told
    if (refused := multi_attach(ctx)) is not None and stays_elsewhere(ctx) is None:
        # Told as an error, and yet what a volume that moves waits for, as long as the other node lets go of it.
        return moving(
            f"was attached to {node_elsewhere(ctx) or 'another node'} when it was tried", refused.seq
        )
    refused = ctx.last_event(("FailedAttachVolume",))
    if refused is not None:
        return complaint(refused)
    return pending("no VolumeAttachment yet") if ctx.node_name else None


def attachment_created(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is not None:
        return claims(va.name[:12] + "…", ctx.attachment_seq, created(va))
    if (told := _told_by_event(ctx)) is not None:
        return told
    return pending(f"none to {ctx.node_name}") if ctx.node_name else None


def attacher_saw(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        told = _newest_unseen(ctx)  # a driver's error came through external-attacher
        return _claims_event(told) if told is not None and "rpc error" in told.event.message else None
    finalizer = next((name for name in va.metadata.finalizers if name.startswith("external-attacher/")), "")
    if finalizer:
        return claims(
            finalizer, ctx.attachment_seq, wrote(va, Manager.ATTACHER, exactly=not va.is_terminating)
        )
    if va.status.attached:
        text = "attached without a finalizer: no call was needed"
        return claims(text, ctx.attachment_seq, _reported(ctx, at_latest=True))
    if va.status.attach_error is not None:
        failed = field(va.status.attach_error.time, "attachError.time", at_latest=True)
        return claims("it reports an error", ctx.attachment_seq, failed)
    return pending("no finalizer, no status: nobody has touched it", ctx.attachment_seq)


def controller_published_claimed(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        failed, newest = quoted(ctx), _newest_unseen(ctx)
        return (
            complaint(failed, "ControllerPublishVolume") if failed is not None and failed is newest else None
        )
    if va.status.attached:
        return claims("attached: true", ctx.attachment_seq, _reported(ctx, at_latest=True))
    error = va.status.attach_error
    if error is not None:
        return refusal(
            error.message, "ControllerPublishVolume", ctx.attachment_seq, parse_rfc3339(error.time)
        )
    return pending("attached: false", ctx.attachment_seq)


def attached(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        told = _newest_unseen(ctx)
        succeeded = told is not None and told.event.reason == "SuccessfulAttachVolume"
        return _claims_event(told) if told is not None and succeeded else None
    if va.status.attached:
        return claims(f"attached to {va.spec.node_name}", ctx.attachment_seq, _reported(ctx))
    return pending("attached: false", ctx.attachment_seq)


def quoted(ctx: Context) -> EventFact | None:
    """The latest complaint in the driver's words: it was asked, which an attach that succeeds does not show."""
    return ctx.last_event(("FailedAttachVolume",), ATTACH_FAILED)


def _told_by_event(ctx: Context) -> Testimony | None:
    """An Event that there would not be without a VolumeAttachment, where none may be read."""
    told = _newest_unseen(ctx)
    if told is None:
        return None
    shows = told.event.reason == "SuccessfulAttachVolume" or told.event.message.startswith(ATTACH_FAILED)
    return _claims_event(told) if shows else None


def _newest_unseen(ctx: Context) -> EventFact | None:
    """The newest Event about attaching, where a VolumeAttachment, or whose PV it is for, may not be read."""
    unseen = ctx.silence("VolumeAttachment") or (ctx.pv is None and ctx.silence("PersistentVolume"))
    return ctx.last_event(ATTACH_EVENTS) if unseen else None


def _claims_event(fact: EventFact) -> Testimony:
    return claims(f"Event {fact.event.reason}", fact.seq, first_said(fact.event))


def _reported(ctx: Context, *, at_latest: bool = False) -> Told:
    """That it is attached is the last that external-attacher writes into the status, until it is to be detached. Elsewhere the
    first Event of it is a bound."""
    va = ctx.attachment
    if va is None:
        return UNTOLD
    has_gone_on = at_latest or va.is_terminating or va.status.detach_error is not None
    done = ctx.last_event(("SuccessfulAttachVolume",))
    return earliest(
        wrote(va, Manager.ATTACHER, "status", exactly=not has_gone_on),
        first_said(done.event if done is not None else None),
    )
