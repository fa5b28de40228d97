"""What a path below a kubelet root tells of the volume mounted there.

Paths are recognised by their tail, since the kubelet root can be anything (`--root-dir`; k0s and microk8s differ).
Sources: kubelet, pkg/volume/csi/csi_attacher.go (makeDeviceMountPath) and csi_mounter.go (GetPath).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

_STAGING = re.compile(r"/plugins/kubernetes\.io/csi/(?P<driver>[^/]+)/(?P<digest>[0-9a-f]{64})/globalmount$")
_STAGING_BEFORE_1_24 = re.compile(r"/plugins/kubernetes\.io/csi/pv/(?P<pv>[^/]+)/globalmount$")
_PUBLISH = re.compile(r"/pods/(?P<pod>[^/]+)/volumes/kubernetes\.io~csi/(?P<name>[^/]+)/mount$")


@dataclass(frozen=True, slots=True)
class StagingPath:
    """Kubelet's global mount of a volume: `digest` is `staging_digest(volume_handle)`; `pv_name` only before Kubernetes 1.24."""

    driver: str = ""
    digest: str = ""
    pv_name: str = ""


@dataclass(frozen=True, slots=True)
class PublishPath:
    """A pod's mount of a volume: `spec_name` is the PV's name, or for an inline volume its name in the pod."""

    pod_uid: str
    spec_name: str


@lru_cache(maxsize=65_536)
def staging_digest(volume_handle: str) -> str:
    """The directory name kubelet (1.24 and later) gives a volume's staging area: hex SHA-256 of the handle."""
    return sha256(volume_handle.encode()).hexdigest()


def parse_path(path: str) -> StagingPath | PublishPath | None:
    """What the mount point says, or None for a path that is no CSI volume's."""
    if match := _PUBLISH.search(path):
        return PublishPath(match["pod"], match["name"])
    if match := _STAGING.search(path):
        return StagingPath(driver=match["driver"], digest=match["digest"])
    if match := _STAGING_BEFORE_1_24.search(path):
        return StagingPath(pv_name=match["pv"])
    return None
