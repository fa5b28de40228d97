"""Directories inside a volume that a container is given instead of the whole: `volumeMounts[].subPath`.

kubelet binds each at `pods/<uid>/volume-subpaths/<volume>/<container>/<index>` when the container starts, and takes it away
before the volume itself is unpublished (pkg/volume/util/subpath of Kubernetes 1.34).
"""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from csitrace.lab.status import Object

_MS_BIND = 0x1000
_MNT_DETACH = 2


class SubPaths:
    """`pods`: kubelet's directory of pods."""

    def __init__(self, pods: Path) -> None:
        self._pods = pods

    async def bind(self, pod: Object, published: dict[str, tuple[str, Path]]) -> list[Path]:
        """Bind what the pod's containers ask for, and return where. `published`: by the volume's name in the pod, its own name
        and its mount. OSError when the volume refuses."""
        made = []
        for container in pod["spec"]["containers"]:
            for index, mount in enumerate(container.get("volumeMounts") or []):
                if not mount.get("subPath") or mount["name"] not in published:
                    continue
                volume_name, root = published[mount["name"]]
                place = self._of(pod) / volume_name / container["name"] / str(index)
                await asyncio.to_thread(_bind, root / mount["subPath"], place)
                made.append(place)
        return made

    async def release(self, pod_uid: str, volume_name: str) -> None:
        """Take away what was bound of one volume."""
        await asyncio.to_thread(_release, self._pods / pod_uid / "volume-subpaths", volume_name)

    def _of(self, pod: Object) -> Path:
        return self._pods / str(pod["metadata"]["uid"]) / "volume-subpaths"


def _bind(source: Path, place: Path) -> None:
    source.mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    if _libc().mount(os.fsencode(source), os.fsencode(place), None, _MS_BIND, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(place))


def _release(root: Path, volume_name: str) -> None:
    for place in _places(root / volume_name):
        _libc().umount2(os.fsencode(place), _MNT_DETACH)
        with contextlib.suppress(OSError):
            place.rmdir()
            place.parent.rmdir()
    for directory in (root / volume_name, root):
        with contextlib.suppress(OSError):
            directory.rmdir()


def _places(volume: Path) -> Iterator[Path]:
    """By listing the directories above, never by looking at what is bound."""
    for container in sorted(volume.iterdir()) if volume.is_dir() else []:
        yield from sorted(container.iterdir())


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
