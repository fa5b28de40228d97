"""Why a pod cannot do its work, as its own object tells: a driver's pod, or one that a FUSE daemon runs in."""

from dataclasses import dataclass

from csitrace.model.kubernetes import ContainerStateTerminated, ContainerStatus, Pod

_USUAL_WAITS = ("", "ContainerCreating", "PodInitializing")


@dataclass(frozen=True, slots=True)
class PodTrouble:
    """`reason`: Kubernetes' own (`ImagePullBackOff`), or how a container ended. `message`: what is said more, or "". `container`:
    whose it is; "" where it is the pod's."""

    reason: str
    message: str = ""
    container: str = ""

    @property
    def in_full(self) -> str:
        """`ImagePullBackOff: Back-off pulling image …`."""
        has_more = self.message and self.message != self.reason
        return f"{self.reason}: {self.message}" if has_more else self.reason

    @property
    def in_short(self) -> str:
        """`node-driver-registrar: CrashLoopBackOff`."""
        return f"{self.container}: {self.reason}" if self.container else self.reason


def pod_trouble(pod: Pod) -> PodTrouble | None:
    """The pod's own reason (evicted), the scheduler's, a container's that waits, or of one that has ended: the first there is.
    None where none is told, which does not mean that the pod is ready."""
    if pod.status.phase == "Failed" and pod.status.reason:
        return PodTrouble(pod.status.reason, pod.status.message)
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            return PodTrouble(condition.reason or "Unschedulable", condition.message)
    for status in containers(pod):
        waiting = status.state.waiting
        if waiting is not None and waiting.reason not in _USUAL_WAITS:
            return PodTrouble(waiting.reason, waiting.message, status.name)
    for status in pod.status.container_statuses:
        if status.state.terminated is not None:
            return PodTrouble(how_ended(status.state.terminated), container=status.name)
    return PodTrouble("Failed") if pod.status.phase == "Failed" else None


def containers(pod: Pod) -> tuple[ContainerStatus, ...]:
    """What is told of all its containers, in the order they start."""
    return (*pod.status.init_container_statuses, *pod.status.container_statuses)


def how_ended(end: ContainerStateTerminated) -> str:
    """`OOMKilled, exit code 137`."""
    how = f"signal {end.signal}" if end.signal else f"exit code {end.exit_code}"
    return f"{end.reason}, {how}" if end.reason else how
