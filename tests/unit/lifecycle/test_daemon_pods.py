"""The pods that FUSE daemons run in: joined by the daemon's cgroup or by what the pod says of itself, and said to hold a step."""

import pytest
from msgspec.structs import replace

from csitrace.lifecycle import index
from csitrace.lifecycle.daemon_pods import GONE, DaemonPod, daemon_pods
from csitrace.lifecycle.views import Severity
from csitrace.model import events
from csitrace.model.events import Witness
from csitrace.model.fuse import DaemonStatus
from csitrace.model.kubernetes import (
    Annotations,
    Condition,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Labels,
    Pod,
    PodSpec,
    PodStatus,
)
from tests.story import DRIVER, HANDLE, NODE, STAGING, Story, straight_road, tracked

UID = "ffffffff-bbbb-cccc-dddd-eeeeeeeeeeee"
OOM = ContainerStateTerminated(reason="OOMKilled", exit_code=137, finished_at="2026-01-02T10:00:09Z")
READY = Condition(type="Ready", status="True")
RUNNING = ContainerState(running=ContainerStateRunning())


def fuse_pod(*statuses: ContainerStatus, node: str = NODE, says_so: bool = True, **status: object) -> Pod:
    """The pod of the volume's daemon; `says_so`: with the label and the annotations of the convention."""
    told = Annotations(fuse_driver=DRIVER, fuse_volume_handle=HANDLE) if says_so else Annotations()
    labels = Labels(component=index.FUSE_DAEMON) if says_so else Labels()
    status.setdefault("phase", "Running")
    return Pod(
        metadata=tracked("fuse-vol-1", UID, "fuse", annotations=told, labels=labels),
        spec=PodSpec(node_name=node),
        status=PodStatus(container_statuses=statuses, **status),  # type: ignore[arg-type]
    )


def only(story: Story) -> DaemonPod:
    (pod,) = daemon_pods(story.state, story.volume)
    return pod


def waits(reason: str, message: str = "", **more: object) -> ContainerStatus:
    state = ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))
    return ContainerStatus(name="fuse", state=state, **more)  # type: ignore[arg-type]


def staging() -> Story:
    """NodeStageVolume is in flight."""
    story = dict(straight_road())["15"]
    story.call("NodeStageVolume", volume_id=HANDLE, staging_target_path=STAGING)
    return story


HELD = [
    (
        fuse_pod(waits("ImagePullBackOff", "Back-off pulling image")),
        "ImagePullBackOff: Back-off pulling image",
    ),
    (
        fuse_pod(
            node="",
            phase="Pending",
            conditions=(
                Condition(type="PodScheduled", status="False", reason="Unschedulable", message="0/2 nodes"),
            ),
        ),
        "Unschedulable: 0/2 nodes",
    ),
    (fuse_pod(phase="Failed", reason="Evicted", message="low on memory"), "Evicted: low on memory"),
    (fuse_pod(ContainerStatus(state=ContainerState(terminated=OOM))), "OOMKilled, exit code 137"),
    (
        fuse_pod(waits("CrashLoopBackOff", last_state=ContainerState(terminated=OOM), restart_count=2)),
        "CrashLoopBackOff (last exit: OOMKilled, exit code 137)",
    ),
    (fuse_pod(waits("ContainerCreating"), phase="Pending"), "is not ready (phase Pending)"),
]


@pytest.mark.parametrize(("pod", "text"), HELD, ids=[text for _, text in HELD])
def test_a_stage_that_waits_for_its_fuse_pod_says_so(pod: Pod, text: str) -> None:
    """The sentence names the pod and what keeps it, with the pod's own fact as evidence and the command that shows it."""
    story = staging().put(pod)
    word = story.verdict(later=1)
    assert word.step_id == "16a"
    assert word.severity is Severity.MOVING
    assert word.sentence.startswith("NodeStageVolume in flight; FUSE pod fuse/fuse-vol-1")
    assert text in word.sentence
    assert word.holder == "FUSE pod fuse/fuse-vol-1"
    assert word.command == "kubectl -n fuse describe pod fuse-vol-1"
    assert story.state.seq in [e.seq for e in word.evidence if e.witness is Witness.KUBERNETES]


def test_a_fuse_pod_that_serves_holds_nothing() -> None:
    """While the pod is ready the call alone is told of."""
    story = staging().put(fuse_pod(ContainerStatus(state=RUNNING), conditions=(READY,)))
    assert "FUSE pod" not in story.verdict(later=1).sentence
    assert only(story).is_ready


def test_an_attach_that_waits_for_the_fuse_pod_of_its_node_says_so() -> None:
    """ControllerPublishVolume may start the pod: then the attach waits for it; a pod on another node is no matter."""
    story = dict(straight_road())["12"]
    story.call("ControllerPublishVolume", volume_id=HANDLE, node_id=NODE)
    story.put(fuse_pod(waits("ErrImagePull"), node="n2"))
    assert "FUSE pod" not in story.verdict(later=1).sentence
    story.put(fuse_pod(waits("ErrImagePull")))
    assert "ErrImagePull" in story.verdict(later=1).sentence


def test_a_fact_of_the_fuse_pod_touches_its_volume() -> None:
    """The volume is joined anew when its FUSE pod changes, so that nothing shown of it stays old."""
    story = staging()
    story.put(fuse_pod(waits("ErrImagePull")))
    assert story.state.changed_keys == (story.volume.key,)
    assert story.volume.changed_seq == story.state.seq


def observed(story: Story, **daemon: object) -> Story:
    status = DaemonStatus(pid=41, pod_uid=UID, **daemon)  # type: ignore[arg-type]
    story.tell(events.FuseObserved(node_name=NODE, connection=50, volume_id=HANDLE, daemon=status))
    return story


def test_a_daemon_is_joined_to_its_pod_by_the_process_alone() -> None:
    """Any driver's FUSE pod is found by the uid in its daemon's cgroup, whatever it is called and whoever made it."""
    restarted = ContainerStatus(state=RUNNING, last_state=ContainerState(terminated=OOM), restart_count=1)
    story = observed(dict(straight_road())["17"]).put(fuse_pod(restarted, says_so=False, conditions=(READY,)))
    pod = only(story)
    assert (pod.full_name, pod.restarts, pod.last_exit) == ("fuse/fuse-vol-1", 1, "OOMKilled, exit code 137")
    assert pod.last_exit_at is not None


def test_a_dead_daemon_is_told_with_the_end_of_its_pod() -> None:
    """That the daemon is gone is the kernel's word, that it was killed for memory is the pod's: both are in the sentence."""
    story = observed(dict(straight_road())["17"], exited="killed by SIGKILL")
    story.put(fuse_pod(ContainerStatus(state=ContainerState(terminated=OOM)), says_so=False))
    word = story.verdict()
    assert word.severity is Severity.STUCK
    assert "killed by SIGKILL" in word.sentence
    assert "OOMKilled" in word.sentence
    assert {e.witness for e in word.evidence} == {Witness.KERNEL, Witness.KUBERNETES}


def test_a_pod_that_is_gone_is_told_from_one_that_may_not_be_read() -> None:
    """No such pod where pods can be read: it is gone. Where they cannot: unseen, and why."""
    story = observed(dict(straight_road())["17"])
    assert only(story).phase == GONE
    story.tell(
        events.SourceDown(witness=Witness.KUBERNETES, scope="Pod", reason="may not list pods", denied=True)
    )
    assert (only(story).phase, only(story).unseen) == ("", "may not list pods")


def test_a_pod_without_the_whole_convention_is_nobodys() -> None:
    """The label alone names no volume."""
    pod = fuse_pod()
    story = staging().put(replace(pod, metadata=replace(pod.metadata, annotations=Annotations())))
    assert daemon_pods(story.state, story.volume) == ()
