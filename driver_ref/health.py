"""What is wrong with a volume, in the two forms that orchestrators understand.

CSI up to 1.12 has a VolumeCondition in other answers; CSI 1.13 has the VolumeHealth calls in its place. Both tell the same.
"""

from dataclasses import dataclass

from csitrace.csi import csi_pb2

DATA_LOSS = csi_pb2.VolumeHealthErrorType.DATA_LOSS
DEGRADED = csi_pb2.VolumeHealthErrorType.DEGRADED
INACCESSIBLE = csi_pb2.VolumeHealthErrorType.INACCESSIBLE


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong. `reason`: one CamelCase word for machines; `message`: one sentence for people."""

    status: csi_pb2.VolumeHealthErrorType.ValueType
    reason: str
    message: str


def condition(trouble: Trouble | None) -> csi_pb2.VolumeCondition:
    """As CSI up to 1.12 tells it."""
    if trouble is None:
        return csi_pb2.VolumeCondition(abnormal=False, message="healthy")
    return csi_pb2.VolumeCondition(abnormal=True, message=trouble.message)


def health(volume_id: str, trouble: Trouble | None) -> csi_pb2.VolumeHealth:
    """As CSI 1.13 tells it: no entry means healthy."""
    entry = csi_pb2.VolumeHealth.VolumeHealthEntry
    entries = (
        [entry(status=trouble.status, reason=trouble.reason, message=trouble.message)] if trouble else []
    )
    return csi_pb2.VolumeHealth(volume_id=volume_id, health_statuses=entries)
