"""The seventeen steps from Schedule to Mount, and the way back, as a table.

Each row says who acts, what each witness says (`witnessed`), whose word decides, when the step does not apply, and which later
steps prove it. The numbers are the product's: they appear on screens, in traces and in the docs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from csitrace.lifecycle.context import IMMEDIATE, Context
from csitrace.lifecycle.witnessed import Attest, attach, back, expand, mount, provision, schedule
from csitrace.lifecycle.witnessed.calls import call_answered
from csitrace.model.events import Witness

K, D, N = Witness.KUBERNETES, Witness.DRIVER, Witness.KERNEL

SCHEDULE, PROVISION, ATTACH, MOUNT, BACK = "Schedule", "Provision", "Attach", "Mount", "Back"
EXPAND = "Expand"


@dataclass(frozen=True, slots=True)
class Step:
    """One row.

    `attests`: what each witness says. `authority`: whose word decides, best first; one that is not heard is passed over.
    `needs`: the kinds without which Kubernetes' silence means nothing. `not_applicable`: the reason, or ""; `doubt`: why it
    cannot be told whether it applies, or "".
    `proved_by`: steps that cannot have happened without this one. `waits_for`: what is missing while it is pending.
    """

    id: str
    stage: str
    title: str
    actor: str
    attests: dict[Witness, Attest]
    needs: tuple[str, ...]
    waits_for: str
    authority: tuple[Witness, ...] = (K,)
    not_applicable: Callable[[Context], str] = lambda ctx: ""
    proved_by: tuple[str, ...] = ()
    doubt: Callable[[Context], str] = lambda ctx: ""


_OF_ITS_OWN = "the PV was not provisioned for the claim"


def _no_scheduling_of_binding(ctx: Context) -> str:
    if ctx.is_inline:
        return "inline volume: nothing to bind"
    if not ctx.is_provisioned:
        return _OF_ITS_OWN
    if schedule.was_chosen_for_another(ctx):
        return "the claim was bound for a pod before"
    return "class binds immediately" if ctx.binding_mode == IMMEDIATE else ""


def _binding_doubt(ctx: Context) -> str:
    if ctx.binding_mode:
        return ""
    return ctx.silence("StorageClass") or (ctx.silence(_PVC) if ctx.claim is None else "")


def _no_provisioning(ctx: Context) -> str:
    if ctx.is_inline:
        return "inline volume: nothing is provisioned"
    return "" if ctx.is_provisioned else _OF_ITS_OWN


def _no_claim(ctx: Context) -> str:
    return "inline volume: no claim, no PV" if ctx.is_inline else ""


def _no_attach(ctx: Context) -> str:
    if ctx.is_inline:
        return "inline volume: never attached"
    return "CSIDriver says attachRequired: false" if ctx.attach_required is False else ""


def _attach_doubt(ctx: Context) -> str:
    return f"{ctx.silence('CSIDriver')}, which says whether to attach" if ctx.attach_required is None else ""


def _no_controller_publish(ctx: Context) -> str:
    if reason := _no_attach(ctx):
        return reason
    return "the driver has no PUBLISH_UNPUBLISH_VOLUME" if ctx.attach_is_trivial else ""


def _controller_publish_doubt(ctx: Context) -> str:
    if reason := _attach_doubt(ctx):
        return reason
    told = ctx.last_call("ControllerPublishVolume") is not None or attach.quoted(ctx) is not None
    return ctx.silence("VolumeAttachment") if ctx.attachment is None and not told else ""


def _no_stage(ctx: Context) -> str:
    if ctx.is_inline:
        return "inline volume: published only"
    return "the driver stages nothing" if ctx.stages_nothing else ""


def _stage_doubt(ctx: Context) -> str:
    silence = ctx.kernel_silence or ctx.driver_silence("NodeStageVolume")
    return f"{silence}; the driver may have nothing to stage" if ctx.stages_nothing is None else ""


def _collected(ctx: Context) -> str:
    """That the pod's object, and then the attachment, are gone tells nothing of what was done on a node that is not there."""
    return "the pod was garbage-collected, since its node is gone" if ctx.was_collected else ""


def _collected_unseen(ctx: Context) -> str:
    collected, silent = _collected(ctx), ctx.kernel_silence
    return f"{collected}, and {silent}" if collected and silent else ""


def _unstage_doubt(ctx: Context) -> str:
    return _collected_unseen(ctx) or _stage_doubt(ctx)


def _let_go_doubt(ctx: Context) -> str:
    return _collected(ctx) or _attach_doubt(ctx)


def _unpublish_doubt(ctx: Context) -> str:
    """A pod's object can be deleted by force while its node is silent: then nobody there has unmounted anything."""
    if reason := _collected_unseen(ctx):
        return reason
    silent = ctx.kernel_silence
    ready = (
        next((c for c in ctx.node.status.conditions if c.type == "Ready"), None)
        if ctx.node is not None
        else None
    )
    not_ready = ready is not None and ready.status != "True"
    return f"node {ctx.node_name} is not ready, and {silent}" if not_ready and silent else ""


def _still_used_here(ctx: Context) -> str:
    return "another pod on the node uses it" if ctx.other_pods_on_node else ""


def _pod_stays(ctx: Context) -> str:
    finished = ctx.use is not None and ctx.use.ended_at is None and ctx.use.is_finished
    return "the pod has ended; nobody asked to delete it" if finished and not ctx.is_leaving else ""


def _no_unstage(ctx: Context) -> str:
    return _still_used_here(ctx) or _no_stage(ctx)


def _no_detach(ctx: Context) -> str:
    return _still_used_here(ctx) or _no_attach(ctx)


def _no_controller_unpublish(ctx: Context) -> str:
    if reason := _no_detach(ctx):
        return reason
    va = ctx.attachment
    trivial = va is not None and ctx.attach_is_trivial
    never_called = (
        va is None and ctx.was_attached_in_sight and ctx.last_call("ControllerPublishVolume") is None
    )
    return "the driver has no PUBLISH_UNPUBLISH_VOLUME" if trivial or never_called else ""


def _no_deletion(ctx: Context) -> str:
    if reason := _no_claim(ctx):
        return reason
    if ctx.claim is not None and ctx.volume.claim_gone_at is None and not ctx.claim.is_terminating:
        return "the claim stays"
    return ""


def _no_volume_deletion(ctx: Context) -> str:
    if reason := _no_deletion(ctx):
        return reason
    if ctx.pv is not None and ctx.pv.spec.persistent_volume_reclaim_policy == "Retain":
        return "reclaim policy Retain"
    return "the PV is no longer this claim's" if ctx.volume.pv_kept else _no_provisioning(ctx)


_PVC, _PV, _POD, _VA, _NODE = "PersistentVolumeClaim", "PersistentVolume", "Pod", "VolumeAttachment", "Node"
_USER, _SCHEDULER, _PV_CONTROLLER = "user", "scheduler", "PV controller"
_PROVISIONER, _AD, _ATTACHER = "external-provisioner", "attach/detach controller", "external-attacher"
_KUBELET, _RESIZER = "kubelet", "external-resizer"

FORWARD: tuple[Step, ...] = (
    Step("1", SCHEDULE, "pod and claim created", _USER, {K: schedule.objects_created}, (_PVC, _POD), "the objects"),
    Step(
        "2", SCHEDULE, "scheduler sees the pod", _SCHEDULER, {K: schedule.scheduler_saw_pod}, (_POD,),
        "a pod that uses the claim, and the scheduler's word on it", proved_by=("3", "9"),
    ),
    Step(
        "3", SCHEDULE, "node chosen", _SCHEDULER, {K: schedule.node_chosen}, (_POD,),
        "a node on which the pod and its volumes can be", proved_by=("4", "9"),
    ),
    Step(
        "4", SCHEDULE, "chosen node noted on the claim", _SCHEDULER, {K: schedule.selected_node_noted}, (_PVC,),
        "the scheduler to choose a node", not_applicable=_no_scheduling_of_binding, proved_by=("6", "7"),
        doubt=_binding_doubt,
    ),
    Step(
        "5", PROVISION, "provisioner named", _PV_CONTROLLER, {K: provision.provisioner_named}, (_PVC,),
        "the PV controller to name a provisioner", not_applicable=_no_provisioning, proved_by=("6", "7", "8"),
    ),
    Step(
        "6", PROVISION, "CreateVolume", f"{_PROVISIONER} → driver",
        {K: provision.volume_created_claimed, D: call_answered("CreateVolume", "DeleteVolume")}, (_PV,),
        "external-provisioner to have the volume made", (D, K), _no_provisioning, ("7",),
    ),
    Step(
        "7", PROVISION, "PV created", _PROVISIONER, {K: provision.pv_created}, (_PV,),
        "external-provisioner to write the PV", not_applicable=_no_provisioning, proved_by=("8",),
    ),
    Step(
        "8", PROVISION, "claim and PV bound", _PV_CONTROLLER, {K: provision.claim_bound}, (_PVC,),
        "the PV controller to bind them", not_applicable=_no_claim,
    ),
    Step(
        "9", PROVISION, "pod bound to its node", _SCHEDULER, {K: provision.pod_bound}, (_POD,),
        "the scheduler to bind the pod",
    ),
    Step(
        "10", ATTACH, "attach needed", _AD, {K: attach.attach_needed}, (_VA, _PV),
        "the attach/detach controller to see the pod's need", not_applicable=_no_attach, proved_by=("11", "14"),
        doubt=_attach_doubt,
    ),
    Step(
        "11", ATTACH, "VolumeAttachment created", _AD, {K: attach.attachment_created}, (_VA, _PV),
        "the attach/detach controller to create it", not_applicable=_no_attach, proved_by=("14", "16a", "16b"),
        doubt=_attach_doubt,
    ),
    Step(
        "12", ATTACH, "attacher sees it", _ATTACHER, {K: attach.attacher_saw}, (_VA, _PV),
        "external-attacher to take it up", not_applicable=_no_attach, proved_by=("13", "14"),
        doubt=_attach_doubt,
    ),
    Step(
        "13", ATTACH, "ControllerPublishVolume", f"{_ATTACHER} → driver",
        {
            K: attach.controller_published_claimed,
            D: call_answered("ControllerPublishVolume", "ControllerUnpublishVolume"),
        },
        (_VA, _PV), "the driver to attach the volume", (D, K), _no_controller_publish, ("14",), _controller_publish_doubt,
    ),
    Step(
        "14", ATTACH, "attached", _ATTACHER, {K: attach.attached}, (_VA, _PV),
        "external-attacher to report it", not_applicable=_no_attach, proved_by=("16a", "16b", "17"),
        doubt=_attach_doubt,
    ),
    Step(
        "15", MOUNT, "kubelet sees the pod", _KUBELET, {K: mount.kubelet_saw_pod}, (_POD,),
        "the node's kubelet to take the pod up", proved_by=("16a", "16b", "17"),
    ),
    Step(
        "16a", MOUNT, "NodeStageVolume", f"{_KUBELET} → driver",
        {
            K: mount.stage_claimed,
            D: call_answered("NodeStageVolume", "NodeUnstageVolume"),
            N: mount.staging_mounted,
        },
        (_POD,), "the volume to be mounted at the staging path", (N, D, K), _no_stage, ("16b", "17"), _stage_doubt,
    ),
    Step(
        "16b", MOUNT, "NodePublishVolume", f"{_KUBELET} → driver",
        {
            K: mount.publish_claimed,
            D: call_answered("NodePublishVolume", "NodeUnpublishVolume", target=True),
            N: mount.publish_mounted,
        },
        (_POD,), "the volume to be mounted into the pod's directory", (N, D, K),
    ),
    Step(
        "17", MOUNT, "containers started", _KUBELET, {K: mount.containers_started}, (_POD,),
        "the pod's containers to start",
    ),
)  # fmt: skip

BACKWARD: tuple[Step, ...] = (
    Step("b1", BACK, "pod asked to go", _USER, {K: back.pod_leaving}, (_POD,), "the pod to be deleted or to end"),
    Step(
        "b2", BACK, "containers stopped", _KUBELET, {K: back.containers_stopped}, (_POD,),
        "the containers to stop", proved_by=("b3", "b4"), doubt=_collected,
    ),
    Step(
        "b3", BACK, "NodeUnpublishVolume", f"{_KUBELET} → driver",
        {D: call_answered("NodeUnpublishVolume", "NodePublishVolume", target=True), N: back.publish_unmounted},
        (), "the pod's mount to be taken away", (N, D), proved_by=("b4", "b5"), doubt=_unpublish_doubt,
    ),
    Step(
        "b4", BACK, "pod deleted", _KUBELET, {K: back.pod_deleted}, (_POD,),
        "kubelet to let the pod object go", not_applicable=_pod_stays,
    ),
    Step(
        "b5", BACK, "NodeUnstageVolume", f"{_KUBELET} → driver",
        {D: call_answered("NodeUnstageVolume", "NodeStageVolume"), N: back.staging_unmounted},
        (), "the staging mount to be taken away", (N, D), _no_unstage, ("b7", "b9"), _unstage_doubt,
    ),
    Step(
        "b6", BACK, "kubelet lets go", _KUBELET, {K: back.kubelet_let_go}, (_NODE,),
        "the node's status to drop the volume", not_applicable=_no_detach, proved_by=("b7", "b9"),
        doubt=_let_go_doubt,
    ),
    Step(
        "b7", BACK, "detach asked", _AD, {K: back.detach_asked}, (_VA,),
        "the attach/detach controller to delete the VolumeAttachment", not_applicable=_no_detach, proved_by=("b9",),
        doubt=_attach_doubt,
    ),
    Step(
        "b8", BACK, "ControllerUnpublishVolume", f"{_ATTACHER} → driver",
        {
            K: back.controller_unpublished_claimed,
            D: call_answered("ControllerUnpublishVolume", "ControllerPublishVolume"),
        },
        (_VA,), "the driver to detach the volume", (D, K), _no_controller_unpublish, ("b9",), _controller_publish_doubt,
    ),
    Step(
        "b9", BACK, "VolumeAttachment gone", _ATTACHER, {K: back.attachment_gone}, (_VA,),
        "external-attacher to let it go", not_applicable=_no_detach, doubt=_attach_doubt,
    ),
    Step(
        "b10", BACK, "claim deleted", "pvc-protection", {K: back.claim_deleted}, (_PVC,),
        "every pod that uses the claim to be gone", not_applicable=_no_deletion, proved_by=("b11", "b13"),
    ),
    Step(
        "b11", BACK, "PV released", _PV_CONTROLLER, {K: back.pv_released}, (_PV,),
        "the PV controller to release the PV", not_applicable=_no_deletion, proved_by=("b12", "b13"),
    ),
    Step(
        "b12", BACK, "DeleteVolume", f"{_PROVISIONER} → driver",
        {K: back.volume_deleted_claimed, D: back.volume_deleted},
        (_PV,), "the driver to delete the volume", (D, K), _no_volume_deletion, ("b13",),
    ),
    Step(
        "b13", BACK, "PV gone", f"{_PROVISIONER}, pv-protection", {K: back.pv_gone}, (_PV,),
        "the PV's finalizers to be removed", not_applicable=_no_volume_deletion,
    ),
)  # fmt: skip

EXPANSION: tuple[Step, ...] = (
    Step("e1", EXPAND, "more room asked for", _USER, {K: expand.asked}, (_PVC,), "a larger request on the claim"),
    Step(
        "e2", EXPAND, "ControllerExpandVolume", f"{_RESIZER} → driver",
        {K: expand.controller_expanded_claimed, D: expand.answered("ControllerExpandVolume")},
        (_PVC,), "the driver to expand the volume", (D, K), proved_by=("e3", "e4"),
    ),
    Step(
        "e3", EXPAND, "PV resized", _RESIZER, {K: expand.pv_resized}, (_PV,),
        "external-resizer to write the PV's new capacity", proved_by=("e4", "e5", "e6"),
    ),
    Step(
        "e4", EXPAND, "left to the node", _RESIZER, {K: expand.left_to_node}, (_PVC,),
        "external-resizer to ask for the node's part", not_applicable=expand.node_has_no_part, proved_by=("e5", "e6"),
        doubt=expand.node_doubt,
    ),
    Step(
        "e5", EXPAND, "NodeExpandVolume", f"{_KUBELET} → driver",
        {K: expand.node_expanded_claimed, D: expand.answered("NodeExpandVolume")},
        (_PVC,), "the node's kubelet to have it grown", (D, K), expand.node_has_no_part, ("e6",), expand.node_doubt,
    ),
    Step(
        "e6", EXPAND, "claim has the room", f"{_KUBELET}, {_RESIZER}", {K: expand.claim_grown}, (_PVC,),
        "the claim's status to tell of it",
    ),
)  # fmt: skip
"""A road of its own beside the others, walked whenever a claim asks for more."""

STEP_BY_ID = {step.id: step for step in (*FORWARD, *BACKWARD, *EXPANSION)}

PHASE_STEPS = ("6", "14", "16a", "16b")
"""The steps whose completion is a CSI phase: CREATED, NODE_READY, VOL_READY, PUBLISHED."""

ATTENTION_WHEN_IMMEDIATE = ("1", "5", "6", "7", "8", "2", "3", "4", "9")
"""With Immediate binding the volume is made before, and without, a pod: then these come in this order."""


def comes_without_a_pod(step_id: str, order: Sequence[str]) -> bool:
    """Whether a step is waited for, in an order of `attention_order`, whatever pods there are: what is true of a pod is no cause
    of when it began to be. Of other orders: never."""
    return "2" in order and step_id != "1" and order.index(step_id) < order.index("2")


def attention_order(ctx: Context) -> tuple[str, ...]:
    """The order in which the steps of this volume wait for one another."""
    return _WHEN_IMMEDIATE if ctx.binding_mode == IMMEDIATE or not ctx.is_provisioned else _IN_TURN


_IN_TURN = tuple(step.id for step in FORWARD)
_WHEN_IMMEDIATE = ATTENTION_WHEN_IMMEDIATE + _IN_TURN[len(ATTENTION_WHEN_IMMEDIATE) :]
