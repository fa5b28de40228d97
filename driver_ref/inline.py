"""Inline ephemeral volumes of Kubernetes: a pod has one without a claim, and the driver makes it when it is published.

kubelet calls NodePublishVolume and NodeUnpublishVolume alone, with the pod's volume attributes as the volume's context, and
`csi.storage.k8s.io/ephemeral` if the CSIDriver has `podInfoOnMount` (Kubernetes documentation, "CSI ephemeral volumes").
"""

import re
from collections.abc import Mapping

from csitrace.csi import csi_pb2
from csitrace.model.rpc import Code
from driver_ref import admission
from driver_ref.refusal import RefusedError
from driver_ref.volumes import VolumeRecord

SIZE = "size"
"""The one attribute: bytes, or with a binary suffix (`64Mi`)."""

_EPHEMERAL = "csi.storage.k8s.io/ephemeral"
_METADATA_PREFIX = "csi.storage.k8s.io/"  # what kubelet tells of the pod
_ID = re.compile(r"csi-[0-9a-f]{64}")
_SIZE = re.compile(r"([0-9]{1,15})(Ki|Mi|Gi|Ti)?")
_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def is_inline(context: Mapping[str, str]) -> bool:
    """Whether a volume context is that of an inline volume."""
    return context.get(_EPHEMERAL) == "true"


def described(request: csi_pb2.NodePublishVolumeRequest, maximum: int) -> VolumeRecord:
    """The inline volume that a request asks for, of at most `maximum` bytes. Refuses what is no id of kubelet's (the id names
    directories), a size that is none, and attributes that the driver does not know."""
    if not _ID.fullmatch(request.volume_id):
        raise RefusedError(
            Code.INVALID_ARGUMENT, "volume_id of an inline volume must be csi-<64 hexadecimal digits>"
        )
    given = {
        key: value for key, value in request.volume_context.items() if not key.startswith(_METADATA_PREFIX)
    }
    size = given.pop(SIZE, "")
    if given:
        raise RefusedError(
            Code.INVALID_ARGUMENT, f"volume attribute {min(given)!r} is not known; there is only {SIZE!r}"
        )
    wanted = csi_pb2.CapacityRange()
    if size:
        wanted.required_bytes = wanted.limit_bytes = _bytes(size)
    return VolumeRecord(
        volume_id=request.volume_id,
        name=request.volume_id,
        capacity_bytes=admission.capacity(wanted, maximum),
        created_at=0,
    )


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None or not int(found[1]):
        raise RefusedError(
            Code.INVALID_ARGUMENT,
            f"volume attribute {SIZE!r} must be a number of bytes, as in 67108864 or 64Mi, not {text!r}",
        )
    return int(found[1]) * _UNITS[found[2] or ""]
