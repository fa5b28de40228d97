"""What volumes that are gone may have left: read from the API's objects, the mount table, directories and processes.

Nothing here looks at a volume's own path: directories are listed above it, mounts are read from mountinfo.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from csitrace.lifecycle.paths import staging_digest
from csitrace.lifecycle.state import Volume
from csitrace.model.mounts import parse_mountinfo

_KEPT = ("logs",)
"""Below a driver's state directory: what stays on purpose."""

_CLUSTER_WIDE = ("persistentvolumes", "volumeattachments")
_NAMESPACED = ("pods", "persistentvolumeclaims")
KINDS = (*_CLUSTER_WIDE, *_NAMESPACED)


def traces(volumes: Iterable[Volume]) -> set[str]:
    """The names by which volumes and their pods are known in paths, records and command lines."""
    found: set[str] = set()
    for volume in volumes:
        found |= {use.pod_uid for use in volume.uses}
        found |= {volume.pv.name} if volume.pv is not None else set()
        if volume.volume_id:
            found |= {volume.volume_id, staging_digest(volume.volume_id)}
    return found


def in_objects(
    lists: Mapping[str, Sequence[Any]], namespace: str, volumes: Sequence[Volume]
) -> Iterator[str]:
    """`lists`: by plural, all objects of the kind. What is in the namespace, or is or attaches one of the volumes."""
    pvs = {volume.pv.name for volume in volumes if volume.pv is not None}
    for plural, found in lists.items():
        for obj in found:
            meta, spec = obj["metadata"], obj.get("spec", {})
            if plural in _NAMESPACED and meta["namespace"] == namespace:
                yield f"{plural}: {meta['name']}"
            elif plural == "persistentvolumes":
                if meta["name"] in pvs or spec.get("claimRef", {}).get("namespace") == namespace:
                    yield f"{plural}: {meta['name']}"
            elif plural == "volumeattachments" and spec["source"].get("persistentVolumeName") in pvs:
                yield f"{plural}: {meta['name']}"


def in_mounts(mountinfo: str, names: set[str]) -> Iterator[str]:
    """Mounts whose path has one of the names in it."""
    for mount in parse_mountinfo(mountinfo):
        if names & set(Path(mount.mount_point).parts):
            yield f"mounted: {mount.mount_point}"


def in_kubelet_root(root: Path, names: set[str]) -> Iterator[str]:
    """Directories of volumes (staging, and pods' own) that kubelet has not removed."""
    for where in (root / "pods", *root.glob("plugins/kubernetes.io/csi/*/")):
        for entry in _names(where):
            if entry in names:
                yield f"directory: {where / entry}"


def in_driver_state(state: Path, names: set[str]) -> Iterator[str]:
    """Records, bytes and sockets of a driver that tell of the volumes."""
    for where, directories, files in os.walk(state):
        directories[:] = [name for name in directories if name not in _KEPT]
        for entry in (*directories, *files):
            if any(name in entry for name in names):
                yield f"driver: {Path(where) / entry}"
        directories[:] = [name for name in directories if not any(part in name for part in names)]


def in_processes(names: set[str]) -> Iterator[str]:
    """FUSE processes of the volumes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:  # it has ended meanwhile
                continue
            if "driver_ref.fs" in words and names & set(words):
                yield f"process {entry.name}: {' '.join(words)}"


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
