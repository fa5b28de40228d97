"""The CSI calls: a catalogue of who calls what, for which span, and what a gRPC code means to the caller.

Sources: CSI specification 1.12, sections "RPC Interface" and "Error Scheme"; the callers' own classification of errors as
in kubelet (`csi_client.go`, isFinalError), external-provisioner (`checkError`) and external-attacher.
"""

import re
from dataclasses import dataclass
from enum import IntEnum


class Code(IntEnum):
    """gRPC status codes (grpc.io, "Status codes and their use in gRPC")."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


def code_name(code: int) -> str:
    """`RESOURCE_EXHAUSTED` for 8; the number itself for a code gRPC does not define."""
    try:
        return Code(code).name
    except ValueError:
        return str(code)


NODE_NON_FINAL = frozenset(
    {Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.ABORTED}
)
"""Codes after which kubelet takes the operation to be possibly still running (csi_client.go, isFinalError)."""

CONTROLLER_NON_FINAL = frozenset({Code.CANCELLED, Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE, Code.ABORTED})
"""The same for external-provisioner's CreateVolume (controller.go, checkError). external-attacher tries again after any error;
the codes mean the same there."""


def code_of(message: str) -> int | None:
    """The gRPC code in what a caller quotes of an error (`rpc error: code = DeadlineExceeded desc = …`), None without one."""
    match = _QUOTED.search(message)
    return _BY_GO_NAME.get(match[1]) if match else None


_QUOTED = re.compile(r"rpc error: code = (\w+)")
_BY_GO_NAME = {
    "Canceled": Code.CANCELLED,
    **{code.name.title().replace("_", ""): code for code in Code},
    "OK": Code.OK,
}


@dataclass(frozen=True, slots=True)
class Rpc:
    """One CSI call. `span`: the interval of the volume's life it belongs to, empty for queries. `caller`: who makes it."""

    method: str
    service: str
    span: str = ""
    caller: str = ""
    non_final: frozenset[Code] = frozenset()

    @property
    def full_method(self) -> str:
        """As on the wire: `/csi.v1.Node/NodeStageVolume`."""
        return f"/csi.v1.{self.service}/{self.method}"

    def is_final(self, code: int) -> bool:
        """Whether after `code` the operation is certainly not still running in the driver."""
        return code not in self.non_final


_PROVISIONER, _ATTACHER, _KUBELET, _RESIZER = (
    "external-provisioner",
    "external-attacher",
    "kubelet",
    "external-resizer",
)

RPCS: tuple[Rpc, ...] = (
    Rpc("GetPluginInfo", "Identity"),
    Rpc("GetPluginCapabilities", "Identity"),
    Rpc("Probe", "Identity"),
    Rpc("CreateVolume", "Controller", "provision", _PROVISIONER, CONTROLLER_NON_FINAL),
    Rpc("DeleteVolume", "Controller", "delete", _PROVISIONER, CONTROLLER_NON_FINAL),
    Rpc("ControllerPublishVolume", "Controller", "attach", _ATTACHER, CONTROLLER_NON_FINAL),
    Rpc("ControllerUnpublishVolume", "Controller", "detach", _ATTACHER, CONTROLLER_NON_FINAL),
    Rpc("ValidateVolumeCapabilities", "Controller"),
    Rpc("ListVolumes", "Controller"),
    Rpc("GetCapacity", "Controller"),
    Rpc("ControllerGetCapabilities", "Controller"),
    Rpc("CreateSnapshot", "Controller"),
    Rpc("DeleteSnapshot", "Controller"),
    Rpc("ListSnapshots", "Controller"),
    Rpc("ControllerExpandVolume", "Controller", "expand", _RESIZER, NODE_NON_FINAL),
    Rpc("ControllerGetVolume", "Controller"),
    Rpc("ControllerModifyVolume", "Controller"),
    Rpc("ControllerListVolumeHealth", "Controller"),
    Rpc("ControllerGetVolumeHealth", "Controller"),
    Rpc("NodeStageVolume", "Node", "stage", _KUBELET, NODE_NON_FINAL),
    Rpc("NodeUnstageVolume", "Node", "unstage", _KUBELET, NODE_NON_FINAL),
    Rpc("NodePublishVolume", "Node", "publish", _KUBELET, NODE_NON_FINAL),
    Rpc("NodeUnpublishVolume", "Node", "unpublish", _KUBELET, NODE_NON_FINAL),
    Rpc("NodeGetVolumeStats", "Node"),
    Rpc("NodeExpandVolume", "Node", "expand", _KUBELET, NODE_NON_FINAL),
    Rpc("NodeGetCapabilities", "Node"),
    Rpc("NodeGetInfo", "Node"),
    Rpc("NodeGetVolumeHealth", "Node"),
    Rpc("NodeGetStorageHealth", "Node"),
)

RPC_BY_METHOD = {rpc.method: rpc for rpc in RPCS}


def short_method(full_method: str) -> str:
    """`NodeStageVolume` of `/csi.v1.Node/NodeStageVolume`; what is no path is returned as it is."""
    return full_method.rpartition("/")[2]
