"""Steps 10 to 14: the VolumeAttachment, and what external-attacher writes on it."""

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed.words import claims, complaint, pending


def attach_needed(ctx: Context) -> Testimony | None:
    if ctx.attachment is not None:
        created = ctx.attachment.metadata.creation_timestamp
        return claims("a VolumeAttachment tells of it", ctx.attachment_seq, created)
    refused = ctx.last_event(("FailedAttachVolume",))
    if refused is not None:
        return complaint(refused)
    return pending("no VolumeAttachment yet") if ctx.node_name else None


def attachment_created(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is not None:
        return claims(va.name[:12] + "…", ctx.attachment_seq, va.metadata.creation_timestamp)
    return pending(f"none to {ctx.node_name}") if ctx.node_name else None


def attacher_saw(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        return None
    finalizer = next((name for name in va.metadata.finalizers if name.startswith("external-attacher/")), "")
    if finalizer:
        return claims(finalizer, ctx.attachment_seq)
    if va.status.attached:
        return claims("attached without a finalizer: no call was needed", ctx.attachment_seq)
    if va.status.attach_error is not None:
        return claims("it reports an error", ctx.attachment_seq, va.status.attach_error.time)
    return pending("no finalizer, no status: nobody has touched it", ctx.attachment_seq)


def controller_published_claimed(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        return None
    if va.status.attached:
        return claims("attached: true", ctx.attachment_seq)
    error = va.status.attach_error
    if error is not None:
        return claims(error.message, ctx.attachment_seq, error.time, StepStatus.FAILED)
    return pending("attached: false", ctx.attachment_seq)


def attached(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        return None
    if va.status.attached:
        return claims(f"attached to {va.spec.node_name}", ctx.attachment_seq)
    return pending("attached: false", ctx.attachment_seq)
