"""What each witness says of each step: small functions of a Context, named after what they attest.

A function returns None where its witness has nothing to say about the step, and never guesses: DONE needs a fact. Sources of the
facts: the objects' fields as the controllers write them (docs/lifecycle.md lists them per step), seen on a real cluster.
"""

from collections.abc import Callable

from csitrace.lifecycle.context import Context
from csitrace.lifecycle.state import Call, EventFact, StepStatus
from csitrace.lifecycle.views import Testimony
from csitrace.model.events import Stamp
from csitrace.model.kubernetes import ContainerStatus
from csitrace.model.rpc import code_name
from csitrace.model.times import parse_rfc3339

Attest = Callable[[Context], Testimony | None]


def _claims(text: str, seq: int, time: str | None = None, status: StepStatus = StepStatus.DONE) -> Testimony:
    """A field of a Kubernetes object says so; `time` is the server's own, to the second."""
    return Testimony(status, text, parse_rfc3339(time), Stamp.SERVER, seq)


def _pending(text: str, seq: int = 0) -> Testimony:
    return Testimony(StepStatus.PENDING, text, seq=seq)


def _moving(text: str, seq: int = 0, at: int | None = None) -> Testimony:
    return Testimony(StepStatus.MOVING, text, at, Stamp.ORIGIN if at else Stamp.OBSERVED, seq)


def _complaint(fact: EventFact) -> Testimony:
    return Testimony(StepStatus.FAILED, fact.event.message.strip(), fact.at, Stamp.SERVER, fact.seq)


def _use_seq(ctx: Context) -> int:
    return ctx.use.seq if ctx.use is not None else 0


# Schedule ------------------------------------------------------------------------------------------------------------------


def objects_created(ctx: Context) -> Testimony | None:
    pod, claim = ctx.pod, ctx.claim
    if claim is not None and pod is not None:
        newest = max(claim.metadata.creation_timestamp, pod.metadata.creation_timestamp)
        return _claims("claim and pod exist", max(ctx.volume.claim_seq, _use_seq(ctx)), newest)
    if claim is not None:
        return _claims("claim exists", ctx.volume.claim_seq, claim.metadata.creation_timestamp)
    if pod is not None:
        return _claims("pod exists", _use_seq(ctx), pod.metadata.creation_timestamp)
    return None


def scheduler_saw_pod(ctx: Context) -> Testimony | None:
    if ctx.pod is None:
        return _pending("no pod uses it yet")
    condition = ctx.condition("PodScheduled")
    if condition is not None:
        return _claims(f"PodScheduled={condition.status}", _use_seq(ctx), ctx.pod.metadata.creation_timestamp)
    if ctx.node_name:
        return _claims("the pod names its node", _use_seq(ctx), ctx.pod.metadata.creation_timestamp)
    if ctx.claim is not None and ctx.claim.metadata.annotations.selected_node:
        return _claims("the claim names the chosen node", ctx.volume.claim_seq)
    return _pending("the scheduler has not said anything of the pod")


def node_chosen(ctx: Context) -> Testimony | None:
    if ctx.pod is None:
        return _pending("no pod uses it yet")
    if ctx.node_name:
        return _claims(ctx.node_name, _use_seq(ctx))
    selected = ctx.claim.metadata.annotations.selected_node if ctx.claim is not None else ""
    if selected:
        return _claims(selected, ctx.volume.claim_seq)
    condition = ctx.condition("PodScheduled")
    if condition is not None and condition.status == "False":
        return Testimony(
            StepStatus.FAILED,
            condition.message or condition.reason,
            parse_rfc3339(condition.last_transition_time),
            Stamp.SERVER,
            _use_seq(ctx),
        )
    return _pending("no node chosen")


def selected_node_noted(ctx: Context) -> Testimony | None:
    if ctx.claim is None:
        return None
    selected = ctx.claim.metadata.annotations.selected_node
    return _claims(selected, ctx.volume.claim_seq) if selected else _pending("the claim names no node")


# Provision -----------------------------------------------------------------------------------------------------------------


def provisioner_named(ctx: Context) -> Testimony | None:
    if ctx.claim is None:
        return None
    annotations = ctx.claim.metadata.annotations
    provisioner = annotations.storage_provisioner or annotations.storage_provisioner_beta
    if provisioner:
        return _claims(f"{provisioner} is to act", ctx.volume.claim_seq)
    complaint = ctx.last_event(("ProvisioningFailed", "FailedBinding"))
    if complaint is not None:
        return _complaint(complaint)
    return _pending("no provisioner named on the claim")


def volume_created_claimed(ctx: Context) -> Testimony | None:
    if ctx.pv is not None:
        return _claims("a PV tells of it", ctx.volume.pv_seq, ctx.pv.metadata.creation_timestamp)
    failed = ctx.last_event(("ProvisioningFailed",))
    if failed is not None:
        return _complaint(failed)
    started = ctx.last_event(("Provisioning", "ExternalProvisioning"))
    if started is not None:
        return _moving(f"{started.event.reason}, {started.event.times_seen}x", started.seq, started.at)
    return _pending("no PV, no Event")


def pv_created(ctx: Context) -> Testimony | None:
    if ctx.pv is not None:
        return _claims(ctx.pv.name, ctx.volume.pv_seq, ctx.pv.metadata.creation_timestamp)
    return _pending("no PV for the claim")


def claim_bound(ctx: Context) -> Testimony | None:
    if ctx.claim is not None:
        phase = ctx.claim.status.phase
        if phase == "Bound":
            moment = ctx.pv.status.last_phase_transition_time if ctx.pv is not None else None
            return _claims("claim Bound", ctx.volume.claim_seq, moment)
        if phase == "Lost":
            return Testimony(StepStatus.FAILED, "claim Lost: its PV is gone", seq=ctx.volume.claim_seq)
        return _pending(f"claim {phase or 'has no phase'}", ctx.volume.claim_seq)
    if ctx.pv is not None and ctx.pv.status.phase in ("Bound", "Released"):
        return _claims(
            f"PV {ctx.pv.status.phase}", ctx.volume.pv_seq, ctx.pv.status.last_phase_transition_time
        )
    return None


def pod_bound(ctx: Context) -> Testimony | None:
    if ctx.pod is None:
        return _pending("no pod uses it yet")
    if ctx.node_name:
        condition = ctx.condition("PodScheduled")
        return _claims(ctx.node_name, _use_seq(ctx), condition.last_transition_time if condition else None)
    return _pending("the pod names no node")


# Attach --------------------------------------------------------------------------------------------------------------------


def attach_needed(ctx: Context) -> Testimony | None:
    if ctx.attachment is not None:
        return _claims("a VolumeAttachment tells of it", ctx.attachment_seq)
    refused = ctx.last_event(("FailedAttachVolume",))
    if refused is not None:
        return _complaint(refused)
    return _pending("no VolumeAttachment yet") if ctx.node_name else None


def attachment_created(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is not None:
        return _claims(va.name[:12] + "…", ctx.attachment_seq, va.metadata.creation_timestamp)
    return _pending(f"none to {ctx.node_name}") if ctx.node_name else None


def attacher_saw(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        return None
    finalizer = next((name for name in va.metadata.finalizers if name.startswith("external-attacher/")), "")
    if finalizer:
        return _claims(finalizer, ctx.attachment_seq)
    if va.status.attached:
        return _claims("attached without a finalizer: no call was needed", ctx.attachment_seq)
    if va.status.attach_error is not None:
        return _claims("it reports an error", ctx.attachment_seq, va.status.attach_error.time)
    return _pending("no finalizer, no status: nobody has touched it", ctx.attachment_seq)


def controller_published_claimed(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        return None
    if va.status.attached:
        return _claims("attached: true", ctx.attachment_seq)
    error = va.status.attach_error
    if error is not None:
        return _claims(error.message, ctx.attachment_seq, error.time, StepStatus.FAILED)
    return _pending("attached: false", ctx.attachment_seq)


def attached(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        return None
    if va.status.attached:
        return _claims(f"attached to {va.spec.node_name}", ctx.attachment_seq)
    return _pending("attached: false", ctx.attachment_seq)


# Mount ---------------------------------------------------------------------------------------------------------------------


def kubelet_saw_pod(ctx: Context) -> Testimony | None:
    pod = ctx.pod
    if pod is None or not ctx.node_name:
        return None
    if not pod.status.start_time:
        return _pending(f"kubelet {ctx.node_name} has not taken the pod up")
    if ctx.attach_required and ctx.is_in_use is False:
        return _moving(
            "kubelet begins only when its node status lists the volume in volumesInUse (updated every 10 s)",
            _use_seq(ctx),
            parse_rfc3339(pod.status.start_time),
        )
    return _claims("kubelet has taken the pod up", _use_seq(ctx), pod.status.start_time)


def stage_claimed(ctx: Context) -> Testimony | None:
    failed = ctx.last_event(
        ("FailedMount", "FailedMapVolume"), "MountVolume.MountDevice", "MountVolume.WaitForAttach"
    )
    return _complaint(failed) if failed is not None and not _containers_run(ctx) else None


def publish_claimed(ctx: Context) -> Testimony | None:
    if _containers_run(ctx):
        return _claims("containers run, so it was mounted", _use_seq(ctx))
    ready = ctx.condition("PodReadyToStartContainers")
    if ready is not None and ready.status == "True":
        return _claims(
            "the pod's sandbox is ready, so it was mounted", _use_seq(ctx), ready.last_transition_time
        )
    failed = ctx.last_event(
        ("FailedMount", "FailedMapVolume"), "MountVolume.SetUp", "Unable to attach or mount"
    )
    return _complaint(failed) if failed is not None else None


def staging_mounted(ctx: Context) -> Testimony | None:
    return _mounted(ctx, "staging")


def publish_mounted(ctx: Context) -> Testimony | None:
    return _mounted(ctx, "publish")


def containers_started(ctx: Context) -> Testimony | None:
    if ctx.pod is None or not ctx.node_name:
        return None
    statuses = _containers(ctx)
    if _containers_run(ctx):
        started = [s.state.running.started_at or "" for s in statuses if s.state.running is not None]
        return _claims(f"pod {ctx.pod.status.phase}", _use_seq(ctx), max(started, default="") or None)
    waiting = next((s for s in statuses if s.state.waiting is not None and s.state.waiting.reason), None)
    reason = waiting.state.waiting.reason if waiting is not None and waiting.state.waiting is not None else ""
    return _pending(reason or f"pod {ctx.pod.status.phase or 'Pending'}", _use_seq(ctx))


# The way back --------------------------------------------------------------------------------------------------------------


def pod_leaving(ctx: Context) -> Testimony | None:
    if ctx.use is None or ctx.pod is None:
        return None
    if ctx.pod.metadata.deletion_timestamp:
        return _claims("pod is to be deleted", ctx.use.seq, ctx.pod.metadata.deletion_timestamp)
    if ctx.use.ended_at is not None:
        return Testimony(StepStatus.DONE, "pod is gone", ctx.use.ended_at, seq=ctx.use.ended_seq or 0)
    if ctx.pod.status.phase in ("Succeeded", "Failed"):
        return _claims(f"pod {ctx.pod.status.phase}", ctx.use.seq)
    return _pending("pod stays")


def containers_stopped(ctx: Context) -> Testimony | None:
    if ctx.use is None:
        return None
    if ctx.use.ended_at is not None:
        return Testimony(StepStatus.DONE, "pod is gone", ctx.use.ended_at, seq=ctx.use.ended_seq or 0)
    running = [status.name for status in _containers(ctx) if status.state.running is not None]
    if running:
        return _pending(f"still running: {', '.join(running)}", ctx.use.seq)
    return _claims("no container runs", ctx.use.seq)


def publish_unmounted(ctx: Context) -> Testimony | None:
    return _unmounted(ctx, "publish")


def pod_deleted(ctx: Context) -> Testimony | None:
    if ctx.use is None:
        return None
    if ctx.use.ended_at is not None:
        return Testimony(StepStatus.DONE, "pod is gone", ctx.use.ended_at, seq=ctx.use.ended_seq or 0)
    return _pending("pod object still there", ctx.use.seq)


def staging_unmounted(ctx: Context) -> Testimony | None:
    return _unmounted(ctx, "staging")


def kubelet_let_go(ctx: Context) -> Testimony | None:
    if ctx.is_in_use is None:
        return None
    if ctx.is_in_use:
        return _pending("still in volumesInUse (updated every 10 s)")
    return Testimony(StepStatus.DONE, "not in volumesInUse")


def detach_asked(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        return Testimony(StepStatus.DONE, "VolumeAttachment is gone")
    if va.metadata.deletion_timestamp:
        return _claims(
            "VolumeAttachment is to be deleted", ctx.attachment_seq, va.metadata.deletion_timestamp
        )
    return _pending("VolumeAttachment stays", ctx.attachment_seq)


def controller_unpublished_claimed(ctx: Context) -> Testimony | None:
    va = ctx.attachment
    if va is None:
        return Testimony(StepStatus.DONE, "VolumeAttachment is gone")
    error = va.status.detach_error
    if error is not None:
        return _claims(error.message, ctx.attachment_seq, error.time, StepStatus.FAILED)
    return _pending("still attached", ctx.attachment_seq)


def attachment_gone(ctx: Context) -> Testimony | None:
    if ctx.attachment is None:
        return Testimony(StepStatus.DONE, "none to the node")
    return _pending("VolumeAttachment still there", ctx.attachment_seq)


def claim_deleted(ctx: Context) -> Testimony | None:
    if ctx.volume.claim_gone_at is not None:
        return Testimony(StepStatus.DONE, "claim is gone", ctx.volume.claim_gone_at, seq=ctx.volume.claim_seq)
    if ctx.claim is None:
        return None
    if ctx.claim.is_terminating:
        holders = ", ".join(use.pod.name for use in ctx.volume.uses if use.ended_at is None)
        return _moving(
            f"held by pod {holders}" if holders else f"held by {', '.join(ctx.claim.metadata.finalizers)}",
            ctx.volume.claim_seq,
            parse_rfc3339(ctx.claim.metadata.deletion_timestamp),
        )
    return _pending("claim stays", ctx.volume.claim_seq)


def pv_released(ctx: Context) -> Testimony | None:
    if ctx.volume.pv_gone_at is not None:
        return Testimony(StepStatus.DONE, "PV is gone", ctx.volume.pv_gone_at, seq=ctx.volume.pv_seq)
    if ctx.pv is None:
        return None
    phase = ctx.pv.status.phase
    if phase in ("Released", "Failed") or ctx.pv.is_terminating:
        return _claims(f"PV {phase}", ctx.volume.pv_seq, ctx.pv.status.last_phase_transition_time)
    return _pending(f"PV {phase}", ctx.volume.pv_seq)


def volume_deleted_claimed(ctx: Context) -> Testimony | None:
    if ctx.volume.pv_gone_at is not None:
        return Testimony(StepStatus.DONE, "PV is gone", ctx.volume.pv_gone_at, seq=ctx.volume.pv_seq)
    failed = ctx.last_event(("VolumeFailedDelete",))
    if failed is not None:
        return _complaint(failed)
    return _pending("PV still there", ctx.volume.pv_seq) if ctx.pv is not None else None


def pv_gone(ctx: Context) -> Testimony | None:
    if ctx.volume.pv_gone_at is not None:
        return Testimony(StepStatus.DONE, "PV is gone", ctx.volume.pv_gone_at, seq=ctx.volume.pv_seq)
    if ctx.pv is None:
        return None
    return _pending(f"held by {', '.join(ctx.pv.metadata.finalizers) or 'nothing'}", ctx.volume.pv_seq)


# The driver ----------------------------------------------------------------------------------------------------------------


def call_answered(method: str, inverse: str = "", *, target: bool = False) -> Attest:
    """The driver's word on a step that is one CSI call: answered OK, refused, or in flight; an `inverse` call undoes it."""

    def attest(ctx: Context) -> Testimony | None:
        methods = (method, inverse) if inverse else (method,)
        newest = ctx.last_call(*methods, target=target)
        if newest is None:
            return None
        if newest.method == inverse:
            if newest.code == 0:
                return Testimony(
                    StepStatus.PENDING, f"undone by {inverse}", newest.finished_at, Stamp.ORIGIN, newest.seq
                )
            newest = ctx.last_call(method, target=target)
        return _call_testimony(newest, len(ctx.calls(method, target=target))) if newest is not None else None

    return attest


def _call_testimony(call: Call, calls: int) -> Testimony:
    times = f", try {call.attempt}" if call.attempt > 1 else ""
    if call.in_flight:
        return _moving(f"{call.method} in flight{times}", call.seq, call.started_at)
    if call.abandoned:
        return Testimony(
            StepStatus.FAILED,
            f"{call.method} was under way when the driver stopped",
            call.finished_at,
            Stamp.OBSERVED,
            call.seq,
        )
    seq = call.finished_seq or call.seq
    if call.code == 0:
        return Testimony(
            StepStatus.DONE,
            f"{call.method} OK{f' ({calls} calls)' if calls > 1 else ''}",
            call.finished_at,
            Stamp.ORIGIN,
            seq,
        )
    text = f"{code_name(call.code or 0)}: {call.message}{times}"
    return Testimony(StepStatus.FAILED, text, call.finished_at, Stamp.ORIGIN, seq)


# The kernel ----------------------------------------------------------------------------------------------------------------


def _mounted(ctx: Context, role: str) -> Testimony | None:
    if not ctx.node_name:
        return None
    fact = ctx.mount(role)
    if fact is not None:
        return Testimony(StepStatus.DONE, f"{fact.mount.fs_type} mounted", fact.at, fact.stamp, fact.seq)
    if ctx.kernel_silence:
        return Testimony(StepStatus.UNKNOWN, ctx.kernel_silence)
    return _pending("nothing mounted")


def _unmounted(ctx: Context, role: str) -> Testimony | None:
    if not ctx.node_name:
        return None
    fact = ctx.mount(role)
    if fact is not None:
        return _pending(f"{fact.mount.fs_type} still mounted", fact.seq)
    if ctx.kernel_silence:
        return Testimony(StepStatus.UNKNOWN, ctx.kernel_silence)
    return Testimony(StepStatus.DONE, "nothing mounted")


# Containers ----------------------------------------------------------------------------------------------------------------


def _containers(ctx: Context) -> tuple[ContainerStatus, ...]:
    return ctx.pod.status.container_statuses if ctx.pod is not None else ()


def _containers_run(ctx: Context) -> bool:
    """Every container has been started at least once: then all volumes were mounted (kubelet mounts before it starts any)."""
    statuses = _containers(ctx)
    if ctx.pod is not None and any(s.state.running for s in ctx.pod.status.init_container_statuses):
        return True
    return bool(statuses) and all(
        status.state.running is not None or status.state.terminated is not None or status.restart_count > 0
        for status in statuses
    )
