"""The arguments of every RPC, checked by one table before any work: required fields, sizes, paths, capabilities.

Sources: CSI specification, the field comments ("This field is REQUIRED") and the section "Size Limits".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from csitrace.csi import csi_pb2
from csitrace.model.rpc import Code
from driver_ref import mounts
from driver_ref.refusal import RefusedError
from driver_ref.volumes import volume_id_of

READER_MODES = frozenset({"SINGLE_NODE_READER_ONLY", "MULTI_NODE_READER_ONLY"})

_SIZE_LIMITS = {"name": 128, "volume_id": 128, "node_id": 256}  # bytes


@dataclass(frozen=True, slots=True)
class Rule:
    """What a request must hold. `required`: fields that must be set; `paths`: fields that must be absolute paths.

    `capability_code` answers a capability that is well-formed but more than the driver can do. `key` gives the volume
    that the call works on, for lock and faults; None for a call that needs neither.
    """

    required: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    capability_code: Code = Code.INVALID_ARGUMENT
    key: Callable[[Any], str] | None = None
    locks: bool = True


def _volume_id(request: Any) -> str:
    return str(request.volume_id)


def _created_id(request: csi_pb2.CreateVolumeRequest) -> str:
    return volume_id_of(request.name)


RULES: dict[str, Rule] = {
    "GetPluginInfo": Rule(),
    "GetPluginCapabilities": Rule(),
    "Probe": Rule(),
    "CreateVolume": Rule(("name", "volume_capabilities"), key=_created_id),
    "DeleteVolume": Rule(("volume_id",), key=_volume_id),
    "ControllerPublishVolume": Rule(
        ("volume_id", "node_id", "volume_capability"),
        capability_code=Code.FAILED_PRECONDITION,
        key=_volume_id,
    ),
    "ControllerUnpublishVolume": Rule(("volume_id",), key=_volume_id),
    # Its purpose is to be asked about capabilities that the driver may not have: the servicer answers that.
    "ValidateVolumeCapabilities": Rule(
        ("volume_id", "volume_capabilities"), capability_code=Code.OK, key=_volume_id, locks=False
    ),
    "ListVolumes": Rule(),
    "GetCapacity": Rule(),
    "ControllerGetCapabilities": Rule(),
    "ControllerGetVolume": Rule(("volume_id",), key=_volume_id, locks=False),
    "ControllerListVolumeHealth": Rule(),
    "ControllerGetVolumeHealth": Rule(("volume_id",), key=_volume_id, locks=False),
    "ControllerExpandVolume": Rule(("volume_id", "capacity_range"), key=_volume_id),
    "NodeStageVolume": Rule(
        ("volume_id", "staging_target_path", "volume_capability"),
        paths=("staging_target_path",),
        capability_code=Code.FAILED_PRECONDITION,
        key=_volume_id,
    ),
    "NodeUnstageVolume": Rule(
        ("volume_id", "staging_target_path"), paths=("staging_target_path",), key=_volume_id
    ),
    "NodePublishVolume": Rule(
        ("volume_id", "target_path", "volume_capability"),
        paths=("target_path", "staging_target_path"),
        capability_code=Code.FAILED_PRECONDITION,
        key=_volume_id,
    ),
    "NodeUnpublishVolume": Rule(("volume_id", "target_path"), paths=("target_path",), key=_volume_id),
    # A path where the volume is not is NOT_FOUND, whatever it looks like; so these two have no path rule.
    "NodeGetVolumeStats": Rule(("volume_id", "volume_path"), key=_volume_id, locks=False),
    "NodeGetVolumeHealth": Rule(("volume_id",), key=_volume_id, locks=False),
    "NodeGetStorageHealth": Rule(),
    "NodeExpandVolume": Rule(("volume_id", "volume_path"), key=_volume_id),
    "NodeGetCapabilities": Rule(),
    "NodeGetInfo": Rule(),
}


def check(method: str, request: Any) -> None:
    """Refuse (INVALID_ARGUMENT and the rule's own codes) a request that breaks the rule of its method."""
    rule = RULES[method]
    for field in rule.required:
        if not _is_set(request, field):
            raise RefusedError(Code.INVALID_ARGUMENT, f"{field} is required")
    for field, limit in _SIZE_LIMITS.items():
        if field in request.DESCRIPTOR.fields_by_name and len(getattr(request, field).encode()) > limit:
            raise RefusedError(Code.INVALID_ARGUMENT, f"{field} is longer than {limit} bytes")
    for field in rule.paths:
        path = getattr(request, field)
        if path and (not path.startswith("/") or "\0" in path):
            raise RefusedError(Code.INVALID_ARGUMENT, f"{field} must be an absolute path, not {path!r}")
    if rule.capability_code is not Code.OK:
        check_capabilities(capabilities_of(request), rule.capability_code)
    if "capacity_range" in request.DESCRIPTOR.fields_by_name:
        check_range(request.capacity_range)


def capabilities_of(request: Any) -> Iterable[csi_pb2.VolumeCapability]:
    """The volume capabilities that a request carries, in whichever field; those that are not set are left out."""
    fields = request.DESCRIPTOR.fields_by_name
    if "volume_capabilities" in fields:
        yield from request.volume_capabilities
    if "volume_capability" in fields and request.HasField("volume_capability"):
        yield request.volume_capability


def check_capabilities(capabilities: Iterable[csi_pb2.VolumeCapability], beyond: Code) -> None:
    """Refuse a capability that is incomplete (INVALID_ARGUMENT) or beyond what the driver can do (`beyond`)."""
    for capability in capabilities:
        if capability.WhichOneof("access_type") is None:
            raise RefusedError(Code.INVALID_ARGUMENT, "volume_capability has no access_type")
        if not mode_of(capability):
            raise RefusedError(Code.INVALID_ARGUMENT, "volume_capability has no access_mode that is known")
        reason = unsupported(capability)
        if reason:
            raise RefusedError(beyond, reason)


def unsupported(capability: csi_pb2.VolumeCapability) -> str:
    """Why the driver cannot do a capability; empty when it can."""
    if capability.WhichOneof("access_type") == "block":
        return "block volumes are not supported: a volume of this driver is a FUSE file system"
    if capability.mount.fs_type not in ("", "fuse"):
        return f"fs_type {capability.mount.fs_type!r} is not supported: leave it empty"
    unknown = [flag for flag in capability.mount.mount_flags if flag not in mounts.FLAGS]
    if unknown:
        return f"mount flag {unknown[0]!r} is not supported: choose from {', '.join(mounts.FLAGS)}"
    return ""


def check_range(wanted: csi_pb2.CapacityRange) -> None:
    """Refuse a capacity range that is none: negative bounds, or a limit below what is required."""
    if wanted.required_bytes < 0 or wanted.limit_bytes < 0:
        raise RefusedError(Code.INVALID_ARGUMENT, "capacity_range must not be negative")
    if 0 < wanted.limit_bytes < wanted.required_bytes:
        raise RefusedError(
            Code.INVALID_ARGUMENT,
            f"capacity_range: limit_bytes {wanted.limit_bytes} is below required_bytes {wanted.required_bytes}",
        )


def mode_of(capability: csi_pb2.VolumeCapability) -> str:
    """The access mode's name in csi.proto; empty for UNKNOWN and for a number that this csi.proto does not know."""
    modes = csi_pb2.VolumeCapability.AccessMode.Mode
    number = capability.access_mode.mode
    return modes.Name(number) if number in modes.values() and number != modes.UNKNOWN else ""


def _is_set(request: Any, field: str) -> bool:
    if request.DESCRIPTOR.fields_by_name[field].has_presence:
        return bool(request.HasField(field))
    return bool(getattr(request, field))
