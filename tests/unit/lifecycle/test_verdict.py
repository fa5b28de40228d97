"""Verdicts where the road is not straight: who holds the volume, and what is said of it."""

import pytest
from msgspec.structs import replace

from csitrace.lifecycle.ladder import ladder
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Severity
from csitrace.model import events
from csitrace.model.events import Witness
from csitrace.model.fuse import BUCKETS, DaemonStatus, OpCount
from csitrace.model.kubernetes import EventSource
from csitrace.model.times import SECOND, format_rfc3339
from tests.story import (
    DRIVER,
    HANDLE,
    KEY,
    NODE,
    PV_NAME,
    STAGING,
    TARGET,
    Story,
    attachment,
    claim,
    csi_driver,
    happened,
    node,
    pod,
    pv,
    storage_class,
    story_at,
)


def test_a_claim_without_a_pod_waits_as_its_class_asks() -> None:
    """WaitForFirstConsumer without a pod is no failure, however long it lasts, and nobody is late."""
    story = Story().hear_everyone().put(storage_class()).put(csi_driver()).put(claim())
    word = story.verdict(later=86_400)
    assert word.severity is Severity.WAITING
    assert "WaitForFirstConsumer" in word.sentence


def test_an_error_that_is_not_final_is_said_while_it_is_tried_again() -> None:
    """Kubelet tries again, so the volume moves; what the driver has answered so far stands in the list all the same, between the
    tries and during them, and no longer once one has succeeded."""
    story = story_at("15")
    for _ in range(3):
        story.rpc("NodeStageVolume", 14, "backend is away", staging_target_path=STAGING)
    row = volume_row(story.state, story.volume, story.at)
    assert row.severity is Severity.MOVING
    assert row.finding.startswith("UNAVAILABLE: backend is away")
    call_id = story.call("NodeStageVolume", volume_id=HANDLE, staging_target_path=STAGING)
    assert "before: UNAVAILABLE" in volume_row(story.state, story.volume, story.at).finding
    story.answer(call_id, "NodeStageVolume", volume_id=HANDLE)
    assert volume_row(story.state, story.volume, story.at).finding == ""


def test_a_pod_that_came_before_its_claim_was_bound_is_no_failure() -> None:
    """The scheduler refuses such a pod and tries again: the volume moves, and is stuck only when that takes too long."""
    told = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
    story = Story().hear_everyone().put(storage_class("Immediate")).put(csi_driver())
    story.put(claim()).put(pod(unschedulable=told)).create_volume().put(pv("Bound"))
    story.put(claim("Bound", PV_NAME, storage_provisioner=DRIVER))
    word = story.verdict()
    assert (word.severity, word.step_id, word.holder) == (Severity.MOVING, "3", "scheduler")
    assert story.verdict(later=60).severity is Severity.STUCK


def test_a_pod_that_came_before_its_ephemeral_claim_was_made_is_no_failure() -> None:
    """The scheduler refuses a pod until the claim of its generic ephemeral volume is made, and then tries again."""
    told = (
        "0/2 nodes are available: waiting for ephemeral volume controller to create the persistentvolumeclaim"
    )
    story = Story().hear_everyone().put(storage_class()).put(csi_driver()).put(claim())
    story.put(pod(unschedulable=f'{told} "pod-data". not found'))
    word = story.verdict()
    assert (word.severity, word.step_id) == (Severity.MOVING, "3")


def test_a_pod_without_a_node_is_told_nothing_of_what_was_done_for_others() -> None:
    """A second pod that waits for its node has neither attach nor stage behind it, though the first has the volume in use."""
    story = story_at("17")
    story.put(
        pod(
            name="second", uid="uid-second", node="", phase="Pending", unschedulable="0/1 nodes are available"
        )
    )
    volume = story.volume
    second = next(use for use in volume.uses if use.pod.name == "second")
    done = {view.step_id for view in ladder(story.state, volume, second) if view.status is StepStatus.DONE}
    assert done.isdisjoint({"9", "10", "11", "12", "13", "14", "15", "16a", "16b", "17"})


@pytest.mark.parametrize(
    "told",
    [
        '0/1 nodes are available: persistentvolumeclaim "data" not found. not found',
        'running PreFilter plugin "VolumeBinding": error getting PVC "shop/data": could not find v1.PersistentVolumeClaim '
        '"shop/data"',
    ],
)
def test_a_pod_that_came_with_its_claim_is_no_failure(told: str) -> None:
    """The scheduler may see the pod before the claim that was made with it: it tries again, unless there is no such claim."""
    story = Story().hear_everyone().put(storage_class()).put(csi_driver()).put(claim())
    word = story.put(pod(unschedulable=told)).verdict()
    assert (word.severity, word.step_id, word.holder) == (Severity.MOVING, "3", "scheduler")


def test_an_attach_error_is_told_in_the_drivers_own_words() -> None:
    """A refused ControllerPublishVolume fails step 13 and the phase NODE_READY; the sentence carries the driver's message."""
    story = story_at("12")
    story.rpc("ControllerPublishVolume", 9, "volume is attached to n9", node_id=NODE)
    story.put(
        attachment(
            finalizer=True, error="rpc error: code = FailedPrecondition desc = volume is attached to n9"
        )
    )
    word = story.verdict()
    assert (word.severity, word.step_id) == (Severity.STUCK, "13")
    assert word.sentence == "ControllerPublishVolume: FAILED_PRECONDITION: volume is attached to n9"
    assert "csi-0123456789" in word.command
    assert {evidence.witness for evidence in word.evidence} == {Witness.DRIVER, Witness.KUBERNETES}
    assert all(evidence.seq for evidence in word.evidence)
    row = volume_row(story.state, story.volume, story.at)
    assert row.phases == (StepStatus.DONE, StepStatus.FAILED, StepStatus.PENDING, StepStatus.PENDING)


def test_an_attach_error_is_told_without_a_driver_feed() -> None:
    """Where no driver is heard, the VolumeAttachment's own error is the evidence."""
    story = Story()
    for event in story_at("12").events:
        spoken_by_driver = isinstance(event.body, events.SourceUp) and event.body.witness is Witness.DRIVER
        if not spoken_by_driver and not isinstance(event.body, events.RpcStarted | events.RpcFinished):
            story.tell(event.body)
    story.put(attachment(finalizer=True, error="quota exceeded"))
    word = story.verdict()
    assert (word.step_id, word.sentence) == ("13", "ControllerPublishVolume: quota exceeded")


def test_an_attachment_that_never_came_to_be_waits_for_the_nodes_next_status() -> None:
    """Its pod is gone, and the attach/detach controller lets it be: it has first to hear that the node does not use it."""
    story = story_at("12").rpc("ControllerPublishVolume", 13, "no", node_id=NODE)
    story.put(attachment(finalizer=True, error="rpc error: code = Internal desc = no"))
    story.put(pod(NODE, deleting=True)).remove(pod(NODE))
    word = story.verdict(later=90)
    assert (word.severity, word.step_id) == (Severity.STUCK, "b7")
    assert word.holder == f"attach/detach controller, for the next status of node {NODE}"
    assert f"until {NODE} reports what it uses, within five minutes" in word.sentence
    story.put(attachment(finalizer=True, error="rpc error: code = Internal desc = no", deleting=True))
    assert story.verdict().step_id == "b8"


def test_a_kubelet_that_waited_for_its_node_status_is_not_slow_to_stage() -> None:
    """Its status is updated every 10 s, give or take 4 %, and until it lists the volume nothing is staged: no volume that goes on
    right then is called slow, not even for an instant; one that does not is soon."""
    story = story_at("14").put(pod(NODE, "waiting", started=True))
    story.at += round(10.4 * SECOND)
    assert (story.verdict().severity, story.verdict().step_id) == (Severity.MOVING, "15")
    story.put(node(in_use=True, attached=True))
    assert (story.verdict().severity, story.verdict().step_id) == (Severity.MOVING, "16a")
    assert story.verdict(later=10).severity is Severity.SLOW
    assert story.verdict(later=20).severity is Severity.STUCK


def test_a_call_in_flight_is_named_with_its_age() -> None:
    """A NodeStageVolume that does not return is stuck after a while, and the sentence says for how long."""
    story = story_at("15")
    story.call("NodeStageVolume", volume_id=HANDLE, staging_target_path=STAGING)
    assert story.verdict(later=1).severity is Severity.MOVING
    word = story.verdict(later=90)
    assert (word.severity, word.step_id) == (Severity.STUCK, "16a")
    assert "NodeStageVolume in flight" in word.sentence
    assert "1m30s" in word.sentence
    assert word.holder == f"kubelet {NODE} → driver"


def test_a_driver_that_answered_ok_is_contradicted_by_the_kernel() -> None:
    """The driver says staged, the node has nothing mounted: the step is not done, since the kernel shows what is."""
    story = story_at("15").rpc("NodeStageVolume", staging_target_path=STAGING)
    assert story.statuses()["16a"] is not StepStatus.DONE


def test_kubelet_waiting_for_its_own_status_update_is_explained() -> None:
    """Attached, but the node does not list the volume in volumesInUse yet: nothing else shows why the pod waits."""
    story = story_at("14").put(pod(NODE, "waiting", started=True)).put(node(in_use=False))
    word = story.verdict(later=5)
    assert (word.step_id, word.severity) == ("15", Severity.MOVING)
    assert "volumesInUse" in word.sentence


def test_an_unschedulable_pod_is_told_in_the_schedulers_words() -> None:
    """With WaitForFirstConsumer an unschedulable pod blocks at step 3."""
    story = Story().hear_everyone().put(storage_class()).put(csi_driver()).put(claim())
    story.put(pod(unschedulable="0/1 nodes are available: 1 Insufficient memory."))
    word = story.verdict()
    assert (word.step_id, word.severity) == ("3", Severity.STUCK)
    assert "Insufficient memory" in word.sentence


def test_unbound_immediate_noise_of_the_scheduler_is_not_a_finding() -> None:
    """With Immediate binding the pod's first FailedScheduling only mirrors the missing volume: step 6 is waited for."""
    story = Story().hear_everyone().put(storage_class("Immediate")).put(csi_driver())
    story.put(claim(storage_provisioner=DRIVER))
    story.put(pod(unschedulable="0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."))
    word = story.verdict()
    assert (word.step_id, word.severity) == ("6", Severity.MOVING)


def test_provisioning_that_fails_is_told_by_its_event() -> None:
    """Without a driver's word, the provisioner's Event names the error at step 6."""
    story = story_at("5")
    story.put(happened("ProvisioningFailed", "no topology key found for node n1", claim()))
    word = story.verdict()
    assert (word.step_id, word.severity) == ("6", Severity.STUCK)
    assert "no topology key found" in word.sentence


def test_attach_steps_do_not_apply_where_the_driver_needs_none() -> None:
    """attachRequired: false makes steps 10 to 14 n/a, and the phase NODE_READY with them."""
    story = story_at("9").put(csi_driver(attach_required=False))
    statuses = story.statuses()
    assert {statuses[step_id] for step_id in ("10", "11", "12", "13", "14")} == {StepStatus.NOT_APPLICABLE}
    assert story.verdict().step_id == "15"


def test_a_trivial_attach_has_no_controller_publish() -> None:
    """attached: true without finalizer and node-id annotation: external-attacher made no call, so step 13 is n/a."""
    story = story_at("9").put(attachment(attached=True))
    statuses = story.statuses()
    assert statuses["13"] is StepStatus.NOT_APPLICABLE or statuses["13"] is StepStatus.DONE
    assert statuses["14"] is StepStatus.DONE


def observed(story: Story, **what: object) -> None:
    story.tell(events.FuseObserved(node_name=NODE, connection=50, volume_id=HANDLE, **what))  # type: ignore[arg-type]


def test_a_dead_fuse_daemon_makes_a_volume_in_use_a_finding() -> None:
    """The mount is still there, the pod still runs, but nobody serves it: the verdict says so at once."""
    story = story_at("17")
    observed(story, daemon=DaemonStatus(pid=42, exited="killed by SIGKILL"))
    word = story.verdict()
    assert word.severity is Severity.STUCK
    assert "killed by SIGKILL" in word.sentence


def test_a_silent_fuse_daemon_is_a_finding_after_a_while() -> None:
    """Requests wait and none is answered: after five seconds the daemon does not answer."""
    story = story_at("17")
    observed(story, waiting=3)
    assert story.verdict(later=1).severity is Severity.OK
    word = story.verdict(later=6)
    assert word.severity is Severity.STUCK
    assert "3 requests wait" in word.sentence


def test_a_busy_fuse_daemon_is_no_finding() -> None:
    """Requests wait in every sample of a busy file system; while operations are answered that is no hang."""
    story = story_at("17")
    observed(story, waiting=3)
    ops = {"READ": OpCount(count=10, bytes=40960, buckets=(0,) * 3 + (10,) + (0,) * (BUCKETS - 4))}
    for _ in range(100):
        story.tell(
            events.FuseCounted(node_name=NODE, connection=50, volume_id=HANDLE, interval_ns=SECOND, ops=ops)
        )
    assert story.verdict(later=1).severity is Severity.OK
    row = volume_row(story.state, story.state.volumes[KEY], story.at)
    assert row.ops_per_second is not None
    assert row.ops_per_second > 0
    assert row.p99_ns == 8_000


def test_a_pod_that_has_ended_holds_nothing_up() -> None:
    """A finished Job's pod may stay for ever: once its volume is unmounted and detached, the volume is at rest."""
    story = story_at("17").put(pod(NODE, "terminated", "Succeeded", started=True))
    assert story.verdict().step_id == "b3"
    story.rpc("NodeUnpublishVolume", target_path=TARGET).unmount(TARGET, 101)
    assert story.verdict().step_id == "b5"
    story.rpc("NodeUnstageVolume", staging_target_path=STAGING).unmount(STAGING, 100).put(node())
    story.remove(attachment(attached=True, deleting=True))
    word = story.verdict(later=86_400)
    assert (word.severity, word.sentence) == (Severity.WAITING, "bound; no pod uses it")


def test_still_attached_is_the_noise_of_every_teardown() -> None:
    """The provisioner tries DeleteVolume before the detach is done, and says so in a Warning: that alone is no failure."""
    story = story_at("8")
    bound = claim("Bound", "pvc", storage_provisioner=DRIVER, deleting=True)
    story.put(bound).remove(bound).put(pv("Released"))
    story.put(happened("VolumeFailedDelete", "persistentvolume pvc-1 is still attached to node n1", pv()))
    word = story.verdict()
    assert (word.step_id, word.severity) == ("b12", Severity.MOVING)
    story.put(
        happened(
            "VolumeFailedDelete", "rpc error: code = Internal desc = bucket not empty", pv(), uid="later"
        )
    )
    assert story.verdict().severity is Severity.STUCK


def test_what_csi_does_not_allow_is_evidence() -> None:
    """A driver that answers OK to detaching a published volume: the fact stands in the volume's evidence, by its seq."""
    story = story_at("17").rpc("ControllerUnpublishVolume", node_id=NODE)
    found = [evidence for evidence in story.verdict().evidence if "CSI does not allow" in evidence.text]
    assert [evidence.witness for evidence in found] == [Witness.DRIVER]
    assert found[0].seq == story.state.seq


def test_a_kept_pv_was_not_provisioned_for_the_claim_that_gets_it_next() -> None:
    """A PV that was made for another claim, kept, and named by this one existed before it: steps 4 and 5 do not apply."""
    story = Story().hear_everyone().put(storage_class()).put(csi_driver()).put(pv("Bound"))
    story.put(claim("Bound", PV_NAME))
    steps = {view.step_id: view.status for view in ladder(story.state, story.volume, None)}
    assert (steps["4"], steps["5"], steps["8"]) == (
        StepStatus.NOT_APPLICABLE,
        StepStatus.NOT_APPLICABLE,
        StepStatus.DONE,
    )


def test_an_authorizer_that_is_behind_is_no_failure() -> None:
    """Kubelet is refused the claim of a pod that was bound just now: it tries again, and only time makes that stuck."""
    story = story_at("9")
    told = "Unable to attach or mount volumes: unmounted volumes=[data], failed to process volumes=[data]: "
    told += "persistentvolumeclaims \"data\" is forbidden: no relationship found between node 'n1' and this object"
    story.put(happened("FailedMount", told, pod(NODE)))
    statuses = {view.step_id: view.status for view in ladder(story.state, story.volume, story.volume.uses[0])}
    assert statuses["16b"] is StepStatus.MOVING
    without_pod = {view.step_id: view.status for view in ladder(story.state, story.volume, None)}
    assert without_pod["16b"] is StepStatus.PENDING, "what was said to a pod is said of no volume at rest"


def test_a_provisioner_that_has_spoken_was_named() -> None:
    """Its Event may come in before the claim's annotation: step 5 has not failed, step 6 has."""
    story = Story().hear_everyone().put(storage_class("Immediate")).put(csi_driver()).put(claim())
    refused = happened("ProvisioningFailed", "CSI driver does not support clone operations", claim())
    story.put(replace(refused, source=EventSource(component="ref.csitrace.dev_node-1_4711")))
    word = story.verdict()
    assert (word.step_id, word.severity) == ("6", Severity.STUCK)


def test_a_mount_that_goes_before_its_pods_deletion_is_heard_was_there() -> None:
    """The kernel may be heard before the API server, which told of the deletion earlier: 16b has been done all the same, and of
    the way in nothing is under way any more."""
    story = story_at("17").unmount(TARGET, 101)
    story.put(pod(NODE, "terminated", "Running", started=True, deleting=True))
    story.remove(pod(NODE, "terminated", "Succeeded", started=True, deleting=True))
    statuses = {view.step_id: view.status for view in ladder(story.state, story.volume, story.volume.uses[0])}
    assert statuses["16b"] is StepStatus.DONE
    assert StepStatus.MOVING not in statuses.values()


def test_what_is_undone_is_waited_for_since_then() -> None:
    """NodeUnpublishVolume is heard before the pod's deletion, long after the pod was started: nobody is late yet."""
    story = story_at("17").put(node(in_use=True, attached=True), at=600)
    story.rpc("NodeUnpublishVolume", target_path=TARGET).unmount(TARGET, 101)
    word = story.verdict()
    assert (word.step_id, word.severity) == ("16b", Severity.MOVING)


def test_a_volume_that_is_made_without_a_pod_is_waited_for_since_before_the_pod() -> None:
    """A class that binds immediately: the claim has waited for its volume for an hour when its pod comes, and still has."""
    story = Story().hear_everyone().put(storage_class("Immediate")).put(csi_driver()).put(node())
    story.put(claim()).put(claim(storage_provisioner=DRIVER))
    alone = story.verdict()
    story.at += 3600 * SECOND
    late = pod()
    created = format_rfc3339(story.at)[:19] + "Z"
    story.put(replace(late, metadata=replace(late.metadata, creation_timestamp=created)))
    word = story.verdict()
    assert (word.step_id, word.severity) == ("6", Severity.STUCK)
    assert word.since == alone.since
