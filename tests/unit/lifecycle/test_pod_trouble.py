"""Why a pod does not do its work: one answer for drivers' pods and for those of FUSE daemons, in short and in full."""

import pytest

from csitrace.lifecycle.pod_trouble import pod_trouble
from csitrace.model.kubernetes import (
    Condition,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Pod,
    PodStatus,
)
from tests.story import tracked


def a_pod(**status: object) -> Pod:
    return Pod(metadata=tracked("p", "uid-p", "ns"), status=PodStatus(**status))  # type: ignore[arg-type]


def waits(reason: str, message: str = "") -> ContainerStatus:
    state = ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))
    return ContainerStatus(name="main", state=state)


OOM = ContainerState(terminated=ContainerStateTerminated(reason="OOMKilled", exit_code=137))
REFUSED = Condition(type="PodScheduled", status="False", message="0/2 nodes")

TOLD = {
    "evicted": (a_pod(phase="Failed", reason="Evicted", message="low on memory"), "Evicted", "Evicted: low on memory"),
    "unschedulable": (a_pod(conditions=(REFUSED,)), "Unschedulable", "Unschedulable: 0/2 nodes"),
    "init waits": (a_pod(init_container_statuses=(waits("ErrImagePull", "no"),)), "main: ErrImagePull", "ErrImagePull: no"),
    "waits": (a_pod(container_statuses=(waits("CrashLoopBackOff"),)), "main: CrashLoopBackOff", "CrashLoopBackOff"),
    "ended": (
        a_pod(container_statuses=(ContainerStatus(name="main", state=OOM),)),
        "main: OOMKilled, exit code 137",
        "OOMKilled, exit code 137",
    ),
    "failed": (a_pod(phase="Failed"), "Failed", "Failed"),
}  # fmt: skip


@pytest.mark.parametrize("case", TOLD)
def test_a_pods_trouble_is_told_in_short_and_in_full(case: str) -> None:
    """The pod's own reason, the scheduler's, a container's."""
    pod, short, full = TOLD[case]
    trouble = pod_trouble(pod)
    assert trouble is not None
    assert (trouble.in_short, trouble.in_full) == (short, full)


@pytest.mark.parametrize("state", [
    ContainerState(waiting=ContainerStateWaiting(reason="ContainerCreating")),
    ContainerState(waiting=ContainerStateWaiting(reason="PodInitializing")),
    ContainerState(waiting=ContainerStateWaiting()),
    ContainerState(running=ContainerStateRunning()),
])  # fmt: skip
def test_a_pod_that_starts_or_runs_has_no_trouble(state: ContainerState) -> None:
    """What every pod goes through is none."""
    assert pod_trouble(a_pod(container_statuses=(ContainerStatus(name="main", state=state),))) is None
