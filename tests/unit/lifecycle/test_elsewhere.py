"""A volume that moves: who has it on the other node, whether that node lets go of it, and who must act when it does not."""

from msgspec.structs import replace

from csitrace.lifecycle.elsewhere import FORCE_DETACH_NS
from csitrace.lifecycle.ladder import way_back
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Severity
from csitrace.model.events import SourceDown, Witness
from csitrace.model.kubernetes import Condition, CSINode, CSINodeSpec, Node, NodeSpec, NodeStatus, Taint
from csitrace.model.times import format_rfc3339
from tests.story import (
    DRIVER,
    NODE,
    PV_NAME,
    Story,
    attachment,
    claim,
    happened,
    meta,
    node,
    pod,
    pv,
    straight_road,
)

OTHER = "n2"
REFUSED = f'Multi-Attach error for volume "{PV_NAME}" Volume is already used by pod(s) web-0'


def wanted_elsewhere(*, leaving: bool) -> Story:
    """In use on one node, by a pod that stays or is to go, and refused to a pod on another."""
    story = dict(straight_road())["17"]
    if leaving:
        story.put(pod(NODE, "running", "Running", started=True, deleting=True))
    new = pod(OTHER, name="web-1", uid="uid-pod-2")
    return story.put(new).put(happened("FailedAttachVolume", REFUSED, new))


def silent_node() -> Node:
    told = Condition(type="Ready", status="Unknown", reason="NodeStatusUnknown")
    return Node(metadata=meta(NODE, "uid-node"), status=NodeStatus(conditions=(told,)))


def test_a_pod_that_stays_keeps_the_volume() -> None:
    """The refusal is a failure: the volume will not move until the other pod, which is named, goes."""
    word = wanted_elsewhere(leaving=False).verdict()
    assert (word.severity, word.step_id, word.holder) == (Severity.STUCK, "10", "pod web-0")
    assert f"pod web-0 uses it on {NODE}" in word.sentence
    assert "describe pod web-0" in word.command


def test_a_volume_that_moves_is_not_stuck() -> None:
    """While the old pod goes, the same refusal is what every move begins with; the other node's kubelet has to act."""
    word = wanted_elsewhere(leaving=True).verdict()
    assert (word.severity, word.step_id, word.holder) == (Severity.MOVING, "10", f"kubelet {NODE}")


def test_the_old_attachment_gone_the_old_refusal_means_nothing() -> None:
    """Between the end of one attachment and the beginning of the other, the last Event still tells of the refusal."""
    story = wanted_elsewhere(leaving=True).remove(attachment(attached=True, finalizer=True))
    word = story.verdict()
    assert (word.severity, word.step_id, word.holder) == (Severity.MOVING, "10", "attach/detach controller")


def test_a_dead_node_keeps_the_volume_as_long_as_the_pods_object_is_there() -> None:
    """Nobody detaches it meanwhile: the node is named, and the ways out of it."""
    word = wanted_elsewhere(leaving=True).put(silent_node()).verdict()
    assert (word.step_id, word.holder) == ("10", f"node {NODE}")
    assert "pod web-0 keeps it until the node is back" in word.sentence
    assert "out-of-service" in word.sentence


def test_a_dead_node_keeps_the_volume_for_six_minutes_more() -> None:
    """The pod's object gone, the attach/detach controller waits for the node to unmount before it detaches by force."""
    story = wanted_elsewhere(leaving=True).put(silent_node())
    word = story.remove(pod(NODE, "running", "Running", started=True, deleting=True)).verdict()
    assert (word.step_id, word.holder) == ("10", f"node {NODE}")
    assert "six minutes" in word.sentence
    gone_at = story.at
    assert f"by force at {format_rfc3339(gone_at + FORCE_DETACH_NS)[11:19]}Z" in word.sentence


def test_a_node_that_is_deleted_keeps_the_volume_as_a_dead_one_does() -> None:
    """Without its Node object the pod is garbage-collected soon; from then on the node has its six minutes, as if it were there
    (Kubernetes 1.34: what it was last said to use is remembered)."""
    story = wanted_elsewhere(leaving=False).remove(node())
    word = story.verdict()
    assert (word.step_id, word.holder) == ("10", f"node {NODE}")
    assert f"node {NODE} is gone: pod web-0 keeps it until it is garbage-collected" in word.sentence
    word = story.remove(pod(NODE, "running", "Running", started=True)).verdict()
    assert (word.step_id, word.holder) == ("10", f"node {NODE}")
    assert f"by force at {format_rfc3339(story.at + FORCE_DETACH_NS)[11:19]}Z" in word.sentence


def test_a_node_out_of_service_is_not_waited_for() -> None:
    """The taint by which an administrator says that the node is off: then the volume is detached at once."""
    node = silent_node()
    off = Taint(key="node.kubernetes.io/out-of-service", effect="NoExecute")
    story = wanted_elsewhere(leaving=True).put(replace(node, spec=NodeSpec(taints=(off,))))
    word = story.verdict()
    assert (word.step_id, word.holder) == ("10", "attach/detach controller")
    assert "out of service" in word.sentence


def test_who_keeps_it_is_still_said_when_the_refusals_event_is_gone() -> None:
    """The attach/detach controller says Multi-Attach once, and the Event goes after an hour: the attachment elsewhere stays."""
    story = dict(straight_road())["17"]
    bound = pv("Bound")
    story.put(replace(bound, spec=replace(bound.spec, access_modes=("ReadWriteOnce",))))
    word = story.put(pod(OTHER, name="web-1", uid="uid-pod-2")).verdict(later=3_700)
    assert (word.step_id, word.holder) == ("10", "pod web-0")
    assert f"pod web-0 uses it on {NODE} since 10:00:00Z" in word.sentence
    assert any(evidence.seq for evidence in word.evidence if "web-0" in evidence.text)


def test_a_second_node_may_have_what_many_may() -> None:
    """ReadWriteMany attached to another node keeps nobody waiting."""
    story = dict(straight_road())["17"]
    bound = pv("Bound")
    story.put(replace(bound, spec=replace(bound.spec, access_modes=("ReadWriteMany",))))
    word = story.put(pod(OTHER, name="web-1", uid="uid-pod-2")).verdict()
    assert (word.step_id, word.holder) == ("10", "attach/detach controller")


def test_a_second_pod_waits_for_the_one_that_alone_may_have_it() -> None:
    """ReadWriteOncePod: the scheduler's words, and the pod that has it with its node, which they do not tell."""
    told = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    story = dict(straight_road())["17"]
    claimed = claim("Bound", PV_NAME, selected_node=NODE, storage_provisioner=DRIVER)
    story.put(replace(claimed, spec=replace(claimed.spec, access_modes=("ReadWriteOncePod",))))
    word = story.put(pod(unschedulable=told, name="web-1", uid="uid-pod-2")).verdict()
    assert (word.severity, word.step_id, word.holder) == (Severity.STUCK, "3", "pod web-0")
    assert told in word.sentence
    assert f"pod web-0 uses it on {NODE}" in word.sentence


def test_a_pod_on_a_node_that_is_not_ready_waits_for_the_node() -> None:
    """What kubelet would do there is not late: kubelet is not heard of, and the node is named."""
    story = dict(straight_road())["14"].put(silent_node())
    assert story.verdict().holder == f"node {NODE}"


def test_a_pod_where_the_driver_is_not_registered_waits_for_its_node_plugin() -> None:
    """Kubelet can neither mount nor unmount for a driver that it does not know."""
    story = dict(straight_road())["15"]
    word = story.put(CSINode(metadata=meta(NODE, "uid-csinode"), spec=CSINodeSpec(drivers=()))).verdict()
    assert (word.step_id, word.holder) == ("16a", f"node plugin on {NODE}")
    assert "is not registered" in word.sentence


def test_a_pod_deleted_by_force_proves_no_unmounting() -> None:
    """Its node silent, its object is gone while the mount is there: NodeUnpublishVolume is to come. Where nobody reports the
    node's mounts, it is unknown."""
    leaving = pod(NODE, "running", "Running", started=True, deleting=True)
    story = dict(straight_road())["17"].put(silent_node()).put(leaving).remove(leaving)
    assert _unpublished(story) is StepStatus.MOVING
    story.tell(SourceDown(witness=Witness.KERNEL, scope=NODE, reason="unplugged"))
    assert _unpublished(story) is StepStatus.UNKNOWN


def test_a_pod_collected_with_its_node_proves_nothing_of_what_is_there() -> None:
    """Its object and then its attachment are gone: whether containers stopped, and who let go of what, nobody has seen; what the
    node's kernel tells is known all the same."""
    running = pod(NODE, "running", "Running", started=True)
    told = Condition(type="DisruptionTarget", status="True", reason="DeletionByPodGC")
    collected = replace(running, status=replace(running.status, phase="Failed", conditions=(told,)))
    story = dict(straight_road())["17"].remove(node()).put(collected).remove(collected)
    story.remove(attachment(attached=True, finalizer=True))
    assert _statuses(story, "b2", "b6") == [StepStatus.UNKNOWN] * 2
    assert _unpublished(story) is StepStatus.MOVING
    story.tell(SourceDown(witness=Witness.KERNEL, scope=NODE, reason="unplugged"))
    assert _statuses(story, "b2", "b3", "b5", "b6") == [StepStatus.UNKNOWN] * 4
    assert _statuses(story, "b1", "b4", "b7", "b8", "b9") == [StepStatus.DONE] * 5


def _statuses(story: Story, *steps: str) -> list[StepStatus]:
    volume = story.volume
    return [view.status for view in way_back(story.state, volume, volume.uses[0]) if view.step_id in steps]


def _unpublished(story: Story) -> StepStatus:
    return _statuses(story, "b3")[0]
