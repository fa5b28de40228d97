"""What the Controller takes on and what it refuses, as functions of the request and the volume's record.

Each refusal has the code that the CSI specification gives for it in the table of the call's errors.
"""

from collections.abc import Mapping

from csitrace.csi import csi_pb2
from csitrace.model.rpc import Code
from driver_ref import topology
from driver_ref.checks import READER_MODES
from driver_ref.faults import PARAMETER_PREFIX
from driver_ref.refusal import RefusedError
from driver_ref.volumes import Attachment, VolumeRecord

DEFAULT_CAPACITY = 1 << 30
MINIMUM_CAPACITY = 1 << 20

# Added to every StorageClass's parameters by external-provisioner (--extra-create-metadata): names, not settings.
_METADATA_PREFIX = "csi.storage.k8s.io/"


def capacity(wanted: csi_pb2.CapacityRange, maximum: int) -> int:
    """The size of a new volume in bytes: what is required, or a default within the limit; OUT_OF_RANGE when it cannot be."""
    chosen = max(wanted.required_bytes, MINIMUM_CAPACITY)
    if not wanted.required_bytes:
        chosen = min(wanted.limit_bytes or DEFAULT_CAPACITY, DEFAULT_CAPACITY)
    limit = min(wanted.limit_bytes or maximum, maximum)
    if not MINIMUM_CAPACITY <= chosen <= limit:
        raise RefusedError(
            Code.OUT_OF_RANGE,
            f"cannot be {chosen} bytes: volumes have {MINIMUM_CAPACITY} to {limit} bytes",
        )
    return chosen


def settings(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters that the StorageClass gave, without what external-provisioner adds about the claim."""
    return {key: value for key, value in parameters.items() if not key.startswith(_METADATA_PREFIX)}


def check_parameters(request: csi_pb2.CreateVolumeRequest) -> None:
    """INVALID_ARGUMENT for a parameter that the driver does not know: a typo must not be taken for a setting."""
    unknown = [key for key in sorted(settings(request.parameters)) if not key.startswith(PARAMETER_PREFIX)]
    unknown += sorted(request.mutable_parameters)
    if unknown:
        raise RefusedError(
            Code.INVALID_ARGUMENT,
            f"parameter {unknown[0]!r} is not known; there is only {PARAMETER_PREFIX}<target>",
        )


def check_same(volume: VolumeRecord, request: csi_pb2.CreateVolumeRequest) -> None:
    """ALREADY_EXISTS when a CreateVolume with the name of `volume` asks for another volume than this."""
    wanted = request.capacity_range
    differs = [
        "name" if volume.name != request.name else "",
        "capacity_range" if volume.capacity_bytes < wanted.required_bytes else "",
        "capacity_range" if 0 < wanted.limit_bytes < volume.capacity_bytes else "",
        "parameters" if settings(request.parameters) != volume.parameters else "",
        "" if _reachable(volume, request) else "accessibility_requirements",
    ]
    different = next(filter(None, differs), "")
    if different:
        raise RefusedError(
            Code.ALREADY_EXISTS, f"volume {request.name!r} exists with a different {different}"
        )


def check_sharing(volume: VolumeRecord, wanted: Attachment) -> None:
    """Refuse a second node where the access mode allows one, and a second writer where it allows one."""
    for node_id, other in volume.attachments.items():
        if not (wanted.mode.startswith("MULTI_NODE") and other.mode.startswith("MULTI_NODE")):
            raise RefusedError(
                Code.FAILED_PRECONDITION, f"volume is published to node {node_id} as {described(other)}"
            )
        if "MULTI_NODE_SINGLE_WRITER" in (wanted.mode, other.mode) and _writes(wanted) and _writes(other):
            raise RefusedError(Code.FAILED_PRECONDITION, f"volume is published for writing to node {node_id}")


def _writes(attachment: Attachment) -> bool:
    return not attachment.readonly and attachment.mode not in READER_MODES


def described(attachment: Attachment) -> str:
    """For messages: `SINGLE_NODE_WRITER, read-only`."""
    return f"{attachment.mode}{', read-only' if attachment.readonly else ''}"


def page(
    request: csi_pb2.ListVolumesRequest | csi_pb2.ControllerListVolumeHealthRequest,
    volumes: list[VolumeRecord],
) -> tuple[list[VolumeRecord], str]:
    """One page, and the token for the next: the page's last id, so it stays good whatever volumes come or go."""
    if request.max_entries < 0:
        raise RefusedError(Code.INVALID_ARGUMENT, "max_entries must not be negative")
    entries = volumes[: request.max_entries] if request.max_entries else volumes
    return entries, entries[-1].volume_id if len(entries) < len(volumes) else ""


def _reachable(volume: VolumeRecord, request: csi_pb2.CreateVolumeRequest) -> bool:
    requisite = request.accessibility_requirements.requisite
    if not volume.topology or not requisite:
        return True
    return any(topology.satisfies(volume.topology, dict(item.segments)) for item in requisite)
