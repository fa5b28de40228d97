"""Steps 15 to 17: kubelet, the node's mounts, the containers."""

from msgspec.structs import replace

from csitrace.lifecycle.context import MOUNT_FAILURES, Context
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed.told import UNTOLD, Told, earliest, field, first_started, latest, turned
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

SANDBOX_READY = "PodReadyToStartContainers"

NOT_YET_RELATED = "no relationship found between node"
"""The node authorizer's refusal to a kubelet. Of a pod that has just been bound it only says that the authorizer's graph is
behind; seen on a busy cluster, gone at the next try."""


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
    return claims(
        "kubelet has taken the pod up", use_seq(ctx), field(pod.status.start_time, "startTime of Pod")
    )


STAGE_PREFIXES = (
    "MountVolume.MountDevice",
    "MountVolume.WaitForAttach",
    "MapVolume.SetUpDevice",
    "MapVolume.WaitForAttach",
)
PUBLISH_PREFIXES = (
    "MountVolume.SetUp",
    "MapVolume.MapPodDevice",
    "MapVolume.MapBlockVolume",
    "Unable to attach or mount",
)
"""How kubelet begins its Events on a volume that it could not stage, or publish (operation_generator.go). It publishes what it
has staged, so that of the two the later Event counts."""


def stage_claimed(ctx: Context) -> Testimony | None:
    """Only complaints: kubelet says nothing of what succeeds, and a volume that is published need not have been staged."""
    failed = ctx.last_event(MOUNT_FAILURES, *STAGE_PREFIXES, *PUBLISH_PREFIXES)
    if failed is None or was_mounted(ctx) or not failed.event.message.startswith(STAGE_PREFIXES):
        return None
    return complaint(failed, "NodeStageVolume")


def publish_claimed(ctx: Context) -> Testimony | None:
    if containers_run(ctx):
        return claims("containers run, so it was mounted", use_seq(ctx), _mounted_by(ctx))
    ready = ctx.condition(SANDBOX_READY)
    if ready is not None and ready.status == "True":
        return claims("the pod's sandbox is ready, so it was mounted", use_seq(ctx), _mounted_by(ctx))
    failed = ctx.last_event(MOUNT_FAILURES, *STAGE_PREFIXES, *PUBLISH_PREFIXES)
    if failed is None or not failed.event.message.startswith(PUBLISH_PREFIXES):
        return None
    if NOT_YET_RELATED in failed.event.message:
        return moving(
            "kubelet asked before the API server knew the pod for its own; it tries again", failed.seq
        )
    return complaint(failed, "NodePublishVolume")


def was_mounted(ctx: Context) -> bool:
    """Kubelet makes the pod's sandbox, and then starts containers, only once all volumes are mounted."""
    ready = ctx.condition(SANDBOX_READY)
    return containers_run(ctx) or (ready is not None and ready.status == "True")


def _mounted_by(ctx: Context) -> Told:
    """All volumes were mounted before the sandbox was ready, and before any container was started."""
    pod, ready = ctx.pod, ctx.condition(SANDBOX_READY)
    if pod is None:
        return UNTOLD
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    starts = [replace(told, at_latest=True) for status in statuses if (told := first_started(status)).at]
    is_ready = ready is not None and ready.status == "True"
    return earliest(*starts, turned(ready, at_latest=True) if is_ready else UNTOLD)


def staging_mounted(ctx: Context) -> Testimony | None:
    return mounted(ctx, "staging")


def publish_mounted(ctx: Context) -> Testimony | None:
    return mounted(ctx, "publish")


def containers_started(ctx: Context) -> Testimony | None:
    if ctx.pod is None or not ctx.node_name:
        return None
    statuses = containers_of(ctx)
    if containers_run(ctx):
        started = latest(*(first_started(status) for status in statuses))
        return claims(f"pod {ctx.pod.status.phase}", use_seq(ctx), started)
    waiting = next((s for s in statuses if s.state.waiting is not None and s.state.waiting.reason), None)
    reason = waiting.state.waiting.reason if waiting is not None and waiting.state.waiting is not None else ""
    return pending(reason or f"pod {ctx.pod.status.phase or 'Pending'}", use_seq(ctx))


def mounted(ctx: Context, role: str) -> Testimony | None:
    if not ctx.node_name:
        return None
    fact = ctx.mount(role) or (ctx.mount("map") if role == "publish" else None)
    if fact is not None:
        return Testimony(StepStatus.DONE, f"{fact.mount.fs_type} mounted", fact.at, fact.stamp, fact.seq)
    return _nothing(ctx, role, StepStatus.PENDING)


def unmounted(ctx: Context, role: str) -> Testimony | None:
    """On the way back, what was made of the published volume has to go before it: parts bound for containers, mapped devices."""
    if not ctx.node_name:
        return None
    roles = (role, "subpath", "map") if role == "publish" else (role,)
    fact = next((fact for each in roles if (fact := ctx.mount(each)) is not None), None)
    if fact is not None:
        return pending(f"{_WHAT.get(fact.role, fact.mount.fs_type)} still mounted", fact.seq)
    return _nothing(ctx, role, StepStatus.DONE)


_WHAT = {"subpath": "a subPath of it is", "map": "its mapped device is"}


def _nothing(ctx: Context, role: str, means: StepStatus) -> Testimony | None:
    """Nothing is mounted, as far as the kernel is heard; to stage a block device need leave no trace in it."""
    if ctx.kernel_silence:
        return Testimony(StepStatus.UNKNOWN, ctx.kernel_silence)
    return None if ctx.is_block and role == "staging" else Testimony(means, "nothing mounted")
