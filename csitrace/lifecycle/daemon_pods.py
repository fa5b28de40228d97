"""The pods that run the FUSE daemons of volumes: which they are, how they fare, and what they wait for.

Two facts join a pod to a volume. The daemon's process tells, by its cgroup, the uid of the pod that it runs in. A driver that
starts its daemons in pods of their own may say so before there is a process, by what it writes on them: the label
`csitrace.dev/component: fuse-daemon` and the annotations `csitrace.dev/driver` and `csitrace.dev/volume-handle`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from csitrace.lifecycle import index
from csitrace.lifecycle.fuse import fuse_states
from csitrace.lifecycle.heard import kind_silence
from csitrace.lifecycle.pod_trouble import containers, how_ended, pod_trouble
from csitrace.lifecycle.state import State, Volume
from csitrace.model.kubernetes import ContainerStateTerminated, Pod
from csitrace.model.times import parse_rfc3339

GONE = "Gone"


@dataclass(frozen=True, slots=True)
class DaemonPod:
    """A volume's FUSE daemon as a pod.

    `phase`: the pod's own, `Gone` where Kubernetes has no such pod any more, "" where it cannot be read (`unseen` says why).
    `trouble`: why its daemon cannot serve, such as `ImagePullBackOff: …`, `Unschedulable: …`, `Evicted: …`; "" where nothing is
    known to be wrong. `restarts`: of all its containers. `last_exit`: how a container of it last ended, at `last_exit_at` (ns,
    None where that is not told). `seq`: the fact that told it, 0 where there is none.
    """

    uid: str
    namespace: str = ""
    name: str = ""
    node_name: str = ""
    phase: str = ""
    is_ready: bool = False
    is_leaving: bool = False
    trouble: str = ""
    restarts: int = 0
    last_exit: str = ""
    last_exit_at: int | None = None
    unseen: str = ""
    seq: int = 0

    @property
    def full_name(self) -> str:
        """`namespace/name`; the uid of a pod that cannot be read."""
        return f"{self.namespace}/{self.name}" if self.name else self.uid


def daemon_pods(state: State, volume: Volume, node_name: str = "") -> tuple[DaemonPod, ...]:
    """The pods of a volume's daemons, of one node or all, by name: those that say so, and those its daemons were found in."""
    uids = dict.fromkeys(_that_say_so(state, volume))
    found_in = {
        connection.daemon.pod_uid: connection.node_name
        for connection in fuse_states(state, volume)
        if connection.daemon is not None and connection.daemon.pod_uid
    }
    pods = (daemon_pod(state, uid, found_in.get(uid, "")) for uid in {**uids, **found_in})
    return tuple(
        sorted(
            (pod for pod in pods if pod.node_name in ("", node_name) or not node_name),
            key=lambda pod: pod.full_name,
        )
    )


def daemon_pod(state: State, uid: str, node_name: str = "") -> DaemonPod:
    """The pod with that uid, on a node where its daemon was found, as a daemon's pod."""
    stored = index.find(state, Pod, uid)
    if stored is None or not isinstance(stored.object, Pod):
        unseen = kind_silence(state, "Pod")
        return DaemonPod(uid, node_name=node_name, phase="" if unseen else GONE, unseen=unseen)
    pod = stored.object
    ended, trouble = _last_end(pod), pod_trouble(pod)
    return DaemonPod(
        uid=uid,
        namespace=pod.namespace,
        name=pod.name,
        node_name=pod.spec.node_name or node_name,
        phase=pod.status.phase,
        is_ready=any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions),
        is_leaving=pod.is_terminating,
        trouble=trouble.in_full if trouble is not None else "",
        restarts=sum(status.restart_count for status in containers(pod)),
        last_exit=how_ended(ended) if ended is not None else "",
        last_exit_at=parse_rfc3339(ended.finished_at) if ended is not None else None,
        seq=stored.seq,
    )


def waits_for(pod: DaemonPod) -> str:
    """What is said of a pod that does not serve yet, or no more: `FUSE pod ns/x: ImagePullBackOff: …`; "" where it runs."""
    if pod.unseen:
        return ""
    if pod.phase == GONE:
        return f"FUSE pod {pod.full_name} is gone"
    if pod.trouble:
        ended = f" (last exit: {pod.last_exit})" if pod.last_exit and pod.last_exit != pod.trouble else ""
        return f"FUSE pod {pod.full_name}: {pod.trouble}{ended}"
    if pod.is_leaving:
        return f"FUSE pod {pod.full_name} is being deleted"
    return "" if pod.is_ready else f"FUSE pod {pod.full_name} is not ready (phase {pod.phase or 'unknown'})"


def _that_say_so(state: State, volume: Volume) -> Iterator[str]:
    if volume.volume_id:
        yield from index.members(state, index.FUSE_PODS_OF, index.subject(volume.driver, volume.volume_id))


def _last_end(pod: Pod) -> ContainerStateTerminated | None:
    """How a container last ended: where it runs again, the end before."""
    ends = [
        end
        for status in pod.status.container_statuses
        for end in (status.state.terminated, status.last_state.terminated)
        if end is not None
    ]
    return max(ends, key=lambda end: end.finished_at or "", default=None)
