"""The FUSE pod of a volume on a node: its name, and what it is made of. Pure."""

import hashlib
from dataclasses import dataclass
from typing import Any

COMPONENT_LABEL, COMPONENT = "csitrace.dev/component", "fuse-daemon"
DRIVER_ANNOTATION = "csitrace.dev/driver"
VOLUME_ANNOTATION = "csitrace.dev/volume-handle"
NODE_ANNOTATION = "csitrace.dev/node-id"
"""The convention by which whoever looks at a FUSE pod knows whose it is; see docs/driver.md."""

SELECTOR = f"{COMPONENT_LABEL}={COMPONENT}"
CONTAINER = "fuse"

SHARED, DATA = "/fuse", "/data"
"""Where the container has the directory that it shares with the node plugin, and the volume's bytes."""

SOCKET = "sock"
"""In the shared directory: the control socket. Short: a socket's path has 107 bytes."""

CAPABILITIES = ("chown", "dac_override", "fowner", "fsetid", "mknod", "setfcap", "sys_admin")
"""mount(2), umount(2) and trusted attributes need SYS_ADMIN; the others do what a workload's root may do to its files."""

_GRACE_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What all FUSE pods of a driver have in common."""

    driver_name: str
    namespace: str
    image: str
    pull_policy: str = "IfNotPresent"
    service_account: str = "fuse"
    cpu: str = "10m"
    memory: str = "64Mi"
    memory_limit: str = "256Mi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One volume on one node. `shared` and `source` are directories of the node; `size` in bytes."""

    volume_id: str
    node_id: str
    shared: str
    source: str
    size: int


def key(volume_id: str) -> str:
    """The name of the volume's directory among those that a node's FUSE pods share with the plugin."""
    return hashlib.sha256(volume_id.encode()).hexdigest()[:12]


def mountpoint(driver_name: str, volume_id: str) -> str:
    """Where the pod mounts, in the shared directory.

    Before kubelet has a volume unstaged it wants no other mount of the same file system on the host, for somebody might use it.
    It passes over paths that hold what the staging path has from `/plugins/kubernetes.io/` on (since 1.24: driver, SHA-256
    of the volume's handle), taking them for its own seen through another mount. This is such a path.
    """
    return f"plugins/kubernetes.io/csi/{driver_name}/{hashlib.sha256(volume_id.encode()).hexdigest()}/globalmount"


def name(driver_name: str, volume_id: str, node_id: str) -> str:
    """The pod's name: the same for the same volume on the same node, so that whoever starts anew finds it again."""
    return "fuse-" + hashlib.sha256(f"{driver_name}\0{volume_id}\0{node_id}".encode()).hexdigest()[:20]


def manifest(template: Template, place: Place) -> dict[str, Any]:
    """The pod, as it is created."""
    bounds = "-all," + ",".join(f"+{capability}" for capability in CAPABILITIES)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name(template.driver_name, place.volume_id, place.node_id),
            "namespace": template.namespace,
            "labels": {COMPONENT_LABEL: COMPONENT},
            "annotations": {
                DRIVER_ANNOTATION: template.driver_name,
                VOLUME_ANNOTATION: place.volume_id,
                NODE_ANNOTATION: place.node_id,
            },
        },
        "spec": {
            "serviceAccountName": template.service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": _GRACE_SECONDS,
            # Without it, pods on the node lose their files; it also may take the place of pods that matter less.
            "priorityClassName": "system-node-critical",
            # By the scheduler, as a DaemonSet's pods: a pod with spec.nodeName that finds no room ends as Failed, at once.
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {
                                "matchFields": [
                                    {"key": "metadata.name", "operator": "In", "values": [place.node_id]}
                                ]
                            }
                        ]
                    }
                }
            },
            # The volume's user is on that node, whatever its taints; and the daemon must outlive a drain's other pods.
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": CONTAINER,
                    "image": template.image,
                    "imagePullPolicy": template.pull_policy,
                    "command": [
                        "setpriv",
                        f"--bounding-set={bounds}",
                        "--no-new-privs",
                        "python3",
                        "-m",
                        "driver_ref.fs",
                        f"--volume-id={place.volume_id}",
                        f"--source={DATA}",
                        f"--mountpoint={SHARED}/{mountpoint(template.driver_name, place.volume_id)}",
                        f"--control={SHARED}/{SOCKET}",
                        f"--size={place.size}",
                        "--succeed",
                    ],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "resources": {
                        "requests": {"cpu": template.cpu, "memory": template.memory},
                        "limits": {"memory": template.memory_limit},
                    },
                    "securityContext": {
                        # The API server allows Bidirectional to privileged containers only, which have every capability and
                        # device. setpriv, above, takes away for good what a FUSE daemon has no use for.
                        "privileged": True,
                        "runAsUser": 0,
                        "readOnlyRootFilesystem": True,
                    },
                    "volumeMounts": [
                        {"name": "shared", "mountPath": SHARED, "mountPropagation": "Bidirectional"},
                        {"name": "data", "mountPath": DATA},
                    ],
                }
            ],
            "volumes": [
                {"name": "shared", "hostPath": {"path": place.shared, "type": "DirectoryOrCreate"}},
                {"name": "data", "hostPath": {"path": place.source, "type": "Directory"}},
            ],
        },
    }
