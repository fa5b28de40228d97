"""The Kubernetes objects that tests create, as small as they can be."""

from dataclasses import dataclass
from typing import Any

from tests.cluster.harness import images


@dataclass(frozen=True, slots=True)
class Image:
    """An image with a shell, and when a node fetches it."""

    name: str
    pull_policy: str


LOCAL = Image(images.BUSYBOX, "Never")
"""What every node of this harness has in its store."""

PUBLIC = Image("busybox:1.36", "IfNotPresent")
"""The same for a cluster that can reach a registry."""


def pod(
    name: str, image: Image, script: str = "sleep 3600", *, claims: tuple[str, ...] = (), node: str = ""
) -> dict[str, Any]:
    """A pod that runs ``script`` in a shell, each claim mounted at ``/<claim>``, and dies at once when deleted.

    ``node``: where the scheduler has to put it; by default that is its choice.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "hostNetwork": True,
            **({"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}),
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": image.name,
                    "imagePullPolicy": image.pull_policy,
                    "command": ["sh", "-c", script],
                    "volumeMounts": [{"name": claim, "mountPath": f"/{claim}"} for claim in claims],
                }
            ],
            "volumes": [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims],
        },
    }


def claim(name: str, storage_class: str, size: str = "16Mi", mode: str = "ReadWriteOnce") -> dict[str, Any]:
    """A claim for a file system volume of ``storage_class``."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": storage_class,
            "accessModes": [mode],
            "resources": {"requests": {"storage": size}},
        },
    }
