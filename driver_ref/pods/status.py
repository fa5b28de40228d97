"""What a FUSE pod's status says: whether its daemon runs, and if not, why. Pure; a pod is the API server's JSON object."""

from collections.abc import Mapping
from typing import Any

from driver_ref.pods.spec import CONTAINER, DRIVER_ANNOTATION, NODE_ANNOTATION, VOLUME_ANNOTATION

Pod = Mapping[str, Any]

_PASSING = ("ContainerCreating", "PodInitializing", "")
"""Why a container waits that is only about to start."""


def name(pod: Pod) -> str:
    """The pod's name."""
    return str(pod["metadata"]["name"])


def driver_of(pod: Pod) -> str:
    """The driver that the pod belongs to; empty for a pod without the annotation."""
    return str(_annotations(pod).get(DRIVER_ANNOTATION, ""))


def place_of(pod: Pod) -> tuple[str, str]:
    """The volume and the node that the pod is for."""
    annotations = _annotations(pod)
    return str(annotations.get(VOLUME_ANNOTATION, "")), str(annotations.get(NODE_ANNOTATION, ""))


def image_of(pod: Pod) -> str:
    """What its daemon was to be made of."""
    return next((str(one["image"]) for one in pod["spec"]["containers"] if one["name"] == CONTAINER), "")


def is_leaving(pod: Pod) -> bool:
    """Whether it was told to end."""
    return "deletionTimestamp" in pod["metadata"]


def has_ended(pod: Pod) -> bool:
    """Evicted by its kubelet, refused by it, or otherwise at an end: it never runs again."""
    return _phase(pod) in ("Failed", "Succeeded")


def runs(pod: Pod) -> bool:
    """Whether the daemon's process is there. Whether it serves, only the node can say."""
    return not is_leaving(pod) and _phase(pod) == "Running" and "running" in _state(pod)


def is_heard(pod: Pod) -> bool:
    """Whether the pod's kubelet still speaks for it: a node that is not heard from has its pods marked as not ready."""
    return _condition(pod, "Ready").get("status") == "True"


def trouble(pod: Pod) -> str:
    """Why the daemon does not run and will not soon: `ErrImagePull: …`. Empty while it runs or is only about to."""
    status = pod.get("status", {})
    if has_ended(pod):
        return _said(status.get("reason") or _phase(pod), status.get("message", ""))
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return _said(scheduled.get("reason", "Unschedulable"), scheduled.get("message", ""))
    waiting = _state(pod).get("waiting", {})
    reason = waiting.get("reason", "")
    if reason in _PASSING:
        return ""
    return _said(reason, last_exit(pod) or waiting.get("message", ""))


def last_exit(pod: Pod) -> str:
    """How the daemon ended last: `OOMKilled`, `exited with 1: …`; empty when it never did."""
    container = _container(pod)
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
    if not ended:
        return ""
    reason = ended.get("reason", "")
    how = f"exited with {ended.get('exitCode')}" if reason in ("Error", "Completed", "") else reason
    return _said(how, ended.get("message", ""))


def _said(reason: str, message: str) -> str:
    line = next(iter(reversed(message.strip().splitlines())), "")
    return f"{reason}: {line}" if line else reason


def _annotations(pod: Pod) -> Mapping[str, Any]:
    return pod["metadata"].get("annotations") or {}


def _phase(pod: Pod) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def _condition(pod: Pod, kind: str) -> Mapping[str, Any]:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == kind), {})


def _container(pod: Pod) -> Mapping[str, Any]:
    containers = pod.get("status", {}).get("containerStatuses") or ()
    return next((one for one in containers if one.get("name") == CONTAINER), {})


def _state(pod: Pod) -> Mapping[str, Any]:
    state: Mapping[str, Any] = _container(pod).get("state") or {}
    return state
