"""What a path below a kubelet root tells of the volume mounted there.

Paths are recognised by their tail, since the kubelet root can be anything (`--root-dir`; k0s and microk8s differ).
Sources: kubelet, pkg/volume/csi/csi_attacher.go (makeDeviceMountPath), csi_mounter.go (GetPath), csi_block.go (all of its paths),
and pkg/volume/util/subpath (the bind mount that a container with a `subPath` gets instead of the volume).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import ClassVar

_STAGING = re.compile(r"/plugins/kubernetes\.io/csi/(?P<driver>[^/]+)/(?P<digest>[0-9a-f]{64})/globalmount$")
_STAGING_BEFORE_1_24 = re.compile(r"/plugins/kubernetes\.io/csi/pv/(?P<pv>[^/]+)/globalmount$")
_PUBLISH = re.compile(r"/pods/(?P<pod>[^/]+)/volumes/kubernetes\.io~csi/(?P<name>[^/]+)/mount$")
_SUBPATH = re.compile(r"/pods/(?P<pod>[^/]+)/volume-subpaths/(?P<name>[^/]+)/[^/]+/\d+$")
_BLOCK = r"/plugins/kubernetes\.io/csi/volumeDevices"
_BLOCK_STAGING = re.compile(rf"{_BLOCK}/staging/(?P<pv>[^/]+)$")
_BLOCK_PUBLISH = re.compile(rf"{_BLOCK}/publish/(?P<name>[^/]+)/(?P<pod>[^/]+)$")
_BLOCK_MAP = re.compile(rf"{_BLOCK}/(?P<name>[^/]+)/dev/(?P<pod>[^/]+)$")


@dataclass(frozen=True, slots=True)
class StagingPath:
    """Kubelet's global mount of a volume: `digest` is `staging_digest(volume_handle)`; `pv_name` instead for block volumes, and
    before Kubernetes 1.24."""

    role: ClassVar[str] = "staging"
    driver: str = ""
    digest: str = ""
    pv_name: str = ""


@dataclass(frozen=True, slots=True)
class PublishPath:
    """A pod's mount of a volume (for a block volume a device file): `spec_name` is the PV's name, or for an inline volume its
    name in the pod."""

    role: ClassVar[str] = "publish"
    pod_uid: str
    spec_name: str


@dataclass(frozen=True, slots=True)
class SubPath:
    """A part of a published volume, bound for one container of a pod."""

    role: ClassVar[str] = "subpath"
    pod_uid: str
    spec_name: str


@dataclass(frozen=True, slots=True)
class MapPath:
    """Kubelet's own bind of a published block device, one for each pod."""

    role: ClassVar[str] = "map"
    pod_uid: str
    spec_name: str


VolumePath = StagingPath | PublishPath | SubPath | MapPath

_OF_PODS: tuple[tuple[re.Pattern[str], type[PublishPath | SubPath | MapPath]], ...] = (
    (_PUBLISH, PublishPath),
    (_SUBPATH, SubPath),
    (_BLOCK_PUBLISH, PublishPath),
    (_BLOCK_MAP, MapPath),
)


@lru_cache(maxsize=65_536)
def staging_digest(volume_handle: str) -> str:
    """The directory name kubelet (1.24 and later) gives a volume's staging area: hex SHA-256 of the handle."""
    return sha256(volume_handle.encode()).hexdigest()


def parse_path(path: str) -> VolumePath | None:
    """What the mount point says, or None for a path that is no CSI volume's."""
    for pattern, kind in _OF_PODS:
        if match := pattern.search(path):
            return kind(match["pod"], match["name"])
    if match := _STAGING.search(path):
        return StagingPath(driver=match["driver"], digest=match["digest"])
    if match := _BLOCK_STAGING.search(path) or _STAGING_BEFORE_1_24.search(path):
        return StagingPath(pv_name=match["pv"])
    return None
