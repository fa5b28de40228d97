"""The way back: what shows that a pod, its mounts, the attachment, the claim and the PV go."""

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed.calls import call_answered
from csitrace.lifecycle.witnessed.mount import unmounted
from csitrace.lifecycle.witnessed.told import UNTOLD, Told, deletion_asked, field, latest
from csitrace.lifecycle.witnessed.words import claims, complaint, containers_of, moving, pending, refusal
from csitrace.model.events import Witness
from csitrace.model.kubernetes import PersistentVolume
from csitrace.model.times import parse_rfc3339

STILL_ATTACHED = "is still attached to node"
"""external-provisioner's refusal while a VolumeAttachment refers to the PV (`VolumeFailedDelete`)."""

_deleted = call_answered("DeleteVolume", "CreateVolume")


def pod_leaving(ctx: Context) -> Testimony | None:
    if ctx.use is None or ctx.pod is None:
        return None
    if ctx.pod.metadata.deletion_timestamp:
        return claims("pod is to be deleted", ctx.use.seq, deletion_asked(ctx.pod))
    if (gone := _pod_gone(ctx)) is not None:
        return gone
    if ctx.use.is_finished:
        return claims(f"pod {ctx.pod.status.phase}", ctx.use.seq, _ended(ctx))
    return pending("pod stays")


def containers_stopped(ctx: Context) -> Testimony | None:
    if ctx.use is None:
        return None
    running = [status.name for status in containers_of(ctx) if status.state.running is not None]
    if running and ctx.was_collected:
        return Testimony(StepStatus.UNKNOWN, "garbage-collected with its node, on which containers ran")
    if (gone := _pod_gone(ctx)) is not None:
        return gone
    if running:
        return pending(f"still running: {', '.join(running)}", ctx.use.seq)
    return claims("no container runs", ctx.use.seq, _ended(ctx))


def publish_unmounted(ctx: Context) -> Testimony | None:
    return unmounted(ctx, "publish")


def pod_deleted(ctx: Context) -> Testimony | None:
    if ctx.use is None:
        return None
    if (gone := _pod_gone(ctx)) is not None:
        return gone
    return pending("pod object still there", ctx.use.seq)


def staging_unmounted(ctx: Context) -> Testimony | None:
    return None if ctx.is_inline else unmounted(ctx, "staging")


def kubelet_let_go(ctx: Context) -> Testimony | None:
    if not ctx.volume.volume_id and (silence := ctx.silence("PersistentVolume")):
        return Testimony(StepStatus.UNKNOWN, f"{silence}, by whose handle the node lists it")
    if ctx.is_in_use is None or ctx.silence("Node") or _never_attached(ctx):
        return None
    if ctx.is_in_use:
        return pending("still in volumesInUse (updated every 10 s)")
    return Testimony(StepStatus.DONE, "not in volumesInUse")


def detach_asked(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        return _attachment_gone(ctx, "VolumeAttachment is gone")
    if va.metadata.deletion_timestamp:
        return claims("VolumeAttachment is to be deleted", ctx.attachment_seq, deletion_asked(va))
    return pending("VolumeAttachment stays", ctx.attachment_seq)


def controller_unpublished_claimed(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        return _attachment_gone(ctx, "VolumeAttachment is gone")
    error = va.status.detach_error
    if error is not None:
        return refusal(
            error.message, "ControllerUnpublishVolume", ctx.attachment_seq, parse_rfc3339(error.time)
        )
    return pending("still attached", ctx.attachment_seq)


def attachment_gone(ctx: Context) -> Testimony | None:
    if ctx.attachment is None:
        return _attachment_gone(ctx, "none to the node")
    return pending("VolumeAttachment still there", ctx.attachment_seq)


def claim_deleted(ctx: Context) -> Testimony | None:
    if ctx.volume.claim_gone_at is not None:
        return Testimony(StepStatus.DONE, "claim is gone", ctx.volume.claim_gone_at, seq=ctx.volume.claim_seq)
    if ctx.claim is None:
        return None
    if ctx.claim.is_terminating:
        holders = ", ".join(use.pod.name for use in ctx.volume.uses if use.ended_at is None)
        return moving(
            f"held by pod {holders}" if holders else f"held by {', '.join(ctx.claim.metadata.finalizers)}",
            ctx.volume.claim_seq,
            parse_rfc3339(ctx.claim.metadata.deletion_timestamp),
        )
    return pending("claim stays", ctx.volume.claim_seq)


def pv_released(ctx: Context) -> Testimony | None:
    if (gone := _pv_gone(ctx)) is not None:
        return gone
    if ctx.volume.pv_kept:
        text = "PV is no longer this claim's"
        return Testimony(StepStatus.DONE, text, ctx.volume.pv_gone_at, seq=ctx.volume.pv_seq)
    if ctx.pv is None:
        return None
    phase = ctx.pv.status.phase
    if phase in ("Released", "Failed") or ctx.pv.is_terminating:
        return claims(f"PV {phase}", ctx.volume.pv_seq, _released(ctx.pv))
    return pending(f"PV {phase}", ctx.volume.pv_seq)


def _released(pv: PersistentVolume) -> Told:
    if pv.status.phase in ("Released", "Failed"):
        source, moved_on = f"lastPhaseTransitionTime of {pv.kind}", pv.status.phase == "Failed"
        return field(pv.status.last_phase_transition_time, source, at_latest=moved_on)
    return UNTOLD  # asked to go while it was bound: nobody has released it


def volume_deleted_claimed(ctx: Context) -> Testimony | None:
    if ctx.volume.pv_kept:
        return None
    if (gone := _pv_gone(ctx)) is not None:
        return gone
    failed = ctx.last_event(("VolumeFailedDelete",))
    if (
        failed is not None and STILL_ATTACHED in failed.event.message
    ):  # said at every teardown, and tried again
        return moving("tried before the detach was done; tried again after a while", failed.seq)
    if failed is not None:
        return complaint(failed, "DeleteVolume")
    return pending("PV still there", ctx.volume.pv_seq) if ctx.pv is not None else None


def volume_deleted(ctx: Context) -> Testimony | None:
    """A volume that was kept is deleted for somebody else, if ever."""
    return None if ctx.volume.pv_kept else _deleted(ctx)


def pv_gone(ctx: Context) -> Testimony | None:
    if (gone := _pv_gone(ctx)) is not None:
        return gone
    if ctx.pv is None or ctx.volume.pv_kept:
        return None
    return pending(f"held by {', '.join(ctx.pv.metadata.finalizers) or 'nothing'}", ctx.volume.pv_seq)


def _ended(ctx: Context) -> Told:
    """When the last of the containers ended that ran."""
    ended = [status.state.terminated for status in containers_of(ctx) if status.state.terminated is not None]
    return latest(*(field(each.finished_at, "finishedAt of containers") for each in ended))


def _pod_gone(ctx: Context) -> Testimony | None:
    if ctx.use is None or ctx.use.ended_at is None:
        return None
    return Testimony(StepStatus.DONE, "pod is gone", ctx.use.ended_at, seq=ctx.use.ended_seq or 0)


def _pv_gone(ctx: Context) -> Testimony | None:
    if ctx.volume.pv_gone_at is None or ctx.volume.pv_kept:
        return None
    return Testimony(StepStatus.DONE, "PV is gone", ctx.volume.pv_gone_at, seq=ctx.volume.pv_seq)


def _attachment_gone(ctx: Context, text: str) -> Testimony | None:
    """There is none that we know of, which says something only where they can be read."""
    if not ctx.pv_name and (silence := ctx.silence("PersistentVolume")):
        return Testimony(StepStatus.UNKNOWN, f"{silence}, by whose name attachments are known")
    if _never_attached(ctx):
        return None
    return None if ctx.silence("VolumeAttachment") else Testimony(StepStatus.DONE, text)


def _never_attached(ctx: Context) -> bool:
    """That nothing is attached shows no detach where nothing had to be attached, nor was seen to be."""
    seen = ctx.use is not None and ("14", Witness.KUBERNETES) in ctx.use.marks
    return ctx.attach_required is False and not seen
