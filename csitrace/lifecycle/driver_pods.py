"""What tells a pod that is part of a CSI driver: its sidecars, and the directories of kubelet that it has mounted.

No object names a driver's pods. What there is: the sidecars of the Kubernetes project, whose containers and images are called
the same nearly everywhere; `hostPath` volumes under kubelet's `plugins/<driver>` (the socket) and `plugins_registry`
(registration); and the Leases by which sidecars choose their leader, held in the name of the pod.
"""

import re

from csitrace.model.kubernetes import Container, Pod

_SIDECARS = {
    "provisioner": "external-provisioner",
    "attacher": "external-attacher",
    "resizer": "external-resizer",
    "snapshotter": "external-snapshotter",
    "registrar": "node-driver-registrar",
}
_SIDECAR = re.compile(rf"csi-(?:.*-)?({'|'.join(_SIDECARS)})|driver-(registrar)")
"""In the name of a container, or of an image without its registry and tag."""

CONTROLLER_SIDECARS = tuple(name for name in _SIDECARS.values() if name.startswith("external-"))

_PLUGINS, _REGISTRY = "/plugins/", "/plugins_registry"


def sidecars(pod: Pod) -> tuple[str, ...]:
    """The Kubernetes sidecars that run in the pod, by their projects' names."""
    found = (_sidecar(container) for container in pod.spec.containers)
    return tuple(dict.fromkeys(name for name in found if name))


def is_node_pod(pod: Pod) -> bool:
    """Whether it registers a driver with its node's kubelet."""
    registers = any(_REGISTRY in path for path in _host_paths(pod))
    return registers or "node-driver-registrar" in sidecars(pod)


def is_controller_pod(pod: Pod) -> bool:
    return any(name in CONTROLLER_SIDECARS for name in sidecars(pod))


def looks_like_driver(pod: Pod) -> bool:
    """Whether the pod may be part of a CSI driver; of which, its directories or its Leases tell."""
    return bool(sidecars(pod)) or any(_REGISTRY in path or _PLUGINS in path for path in _host_paths(pod))


def driver_directories(pod: Pod) -> set[str]:
    """The names under kubelet's `plugins` whose directories the pod has; most drivers call theirs like themselves."""
    names = {path.partition(_PLUGINS)[2].split("/")[0] for path in _host_paths(pod)}
    return names - {"", "kubernetes.io"}  # the latter is kubelet's own


def _sidecar(container: Container) -> str:
    image = container.image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    for name in (image, container.name):
        if match := _SIDECAR.search(name):
            return _SIDECARS[match[1] or match[2]]
    return ""


def _host_paths(pod: Pod) -> list[str]:
    return [volume.host_path.path for volume in pod.spec.volumes if volume.host_path is not None]
