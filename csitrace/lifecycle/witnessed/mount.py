"""Steps 15 to 17: kubelet, the node's mounts, the containers."""

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed.words import (
    claims,
    complaint,
    containers_of,
    containers_run,
    moving,
    pending,
    use_seq,
)
from csitrace.model.times import parse_rfc3339


def kubelet_saw_pod(ctx: Context) -> Testimony | None:
    pod = ctx.pod
    if pod is None or not ctx.node_name:
        return None
    if not pod.status.start_time:
        return pending(f"kubelet {ctx.node_name} has not taken the pod up")
    if ctx.attach_required and ctx.is_in_use is False:
        return moving(
            "kubelet begins only when its node status lists the volume in volumesInUse (updated every 10 s)",
            use_seq(ctx),
            parse_rfc3339(pod.status.start_time),
        )
    return claims("kubelet has taken the pod up", use_seq(ctx), pod.status.start_time)


def stage_claimed(ctx: Context) -> Testimony | None:
    failed = ctx.last_event(
        ("FailedMount", "FailedMapVolume"), "MountVolume.MountDevice", "MountVolume.WaitForAttach"
    )
    return complaint(failed) if failed is not None and not containers_run(ctx) else None


def publish_claimed(ctx: Context) -> Testimony | None:
    if containers_run(ctx):
        return claims("containers run, so it was mounted", use_seq(ctx))
    ready = ctx.condition("PodReadyToStartContainers")
    if ready is not None and ready.status == "True":
        return claims(
            "the pod's sandbox is ready, so it was mounted", use_seq(ctx), ready.last_transition_time
        )
    failed = ctx.last_event(
        ("FailedMount", "FailedMapVolume"), "MountVolume.SetUp", "Unable to attach or mount"
    )
    return complaint(failed) if failed is not None else None


def staging_mounted(ctx: Context) -> Testimony | None:
    return mounted(ctx, "staging")


def publish_mounted(ctx: Context) -> Testimony | None:
    return mounted(ctx, "publish")


def containers_started(ctx: Context) -> Testimony | None:
    if ctx.pod is None or not ctx.node_name:
        return None
    statuses = containers_of(ctx)
    if containers_run(ctx):
        started = [s.state.running.started_at or "" for s in statuses if s.state.running is not None]
        return claims(f"pod {ctx.pod.status.phase}", use_seq(ctx), max(started, default="") or None)
    waiting = next((s for s in statuses if s.state.waiting is not None and s.state.waiting.reason), None)
    reason = waiting.state.waiting.reason if waiting is not None and waiting.state.waiting is not None else ""
    return pending(reason or f"pod {ctx.pod.status.phase or 'Pending'}", use_seq(ctx))


def mounted(ctx: Context, role: str) -> Testimony | None:
    if not ctx.node_name:
        return None
    fact = ctx.mount(role)
    if fact is not None:
        return Testimony(StepStatus.DONE, f"{fact.mount.fs_type} mounted", fact.at, fact.stamp, fact.seq)
    if ctx.kernel_silence:
        return Testimony(StepStatus.UNKNOWN, ctx.kernel_silence)
    return pending("nothing mounted")


def unmounted(ctx: Context, role: str) -> Testimony | None:
    if not ctx.node_name:
        return None
    fact = ctx.mount(role)
    if fact is not None:
        return pending(f"{fact.mount.fs_type} still mounted", fact.seq)
    if ctx.kernel_silence:
        return Testimony(StepStatus.UNKNOWN, ctx.kernel_silence)
    return Testimony(StepStatus.DONE, "nothing mounted")
