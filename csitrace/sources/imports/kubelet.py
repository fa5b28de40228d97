"""What kubelet's log says of the CSI calls it made: how its operations on volumes ended (operation_executor).

Such a line tells the end of a call and its error, not its beginning.
"""

import re
from dataclasses import dataclass

from csitrace.model.rpc import Code, code_of

_ROOT = "/var/lib/kubelet"
_METHODS = {
    "MountVolume.MountDevice": "NodeStageVolume",
    "MountVolume.SetUp": "NodePublishVolume",
    "UnmountVolume.TearDown": "NodeUnpublishVolume",
    "UnmountDevice": "NodeUnstageVolume",
    "MapVolume.SetUpDevice": "NodeStageVolume",
    "MapVolume.MapPodDevice": "NodePublishVolume",
}
_OPERATION = re.compile(
    rf"(?P<operation>{'|'.join(map(re.escape, _METHODS))}) (?P<end>succeeded|failed) for volume \\?\"(?P<volume>[^\"\\]+)"
)
_UNIQUE = re.compile(r"kubernetes\.io/csi/(?P<driver>[\w.-]+)\^(?P<handle>[^\s\"\\]+)")
_POD_UID = re.compile(
    r"(?:podName:|\(UID: \\?\"|podUID[\"=: ]+)(?P<uid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)
_ERROR = re.compile(r"rpc error: code = \w+ desc = .*", re.DOTALL)
_DESCRIPTION = " desc = "


@dataclass(frozen=True, slots=True)
class Operation:
    """How one call ended. `target_path` only for what concerns a pod."""

    driver: str
    method: str
    volume_id: str
    target_path: str
    code: int
    message: str


def operation_of(text: str) -> Operation | None:
    """The call that a line of kubelet's log tells of; None for all others, and where the driver was not asked."""
    told = _OPERATION.search(text)
    unique = _UNIQUE.search(text) if told is not None else None
    if told is None or unique is None:
        return None
    method = _METHODS[told["operation"]]
    error = _ERROR.search(text)
    if told["end"] == "failed" and error is None:
        return None
    code = code_of(error[0]) if error is not None else None
    uid = _POD_UID.search(text)
    has_target = method in ("NodePublishVolume", "NodeUnpublishVolume") and uid is not None
    return Operation(
        driver=unique["driver"],
        method=f"/csi.v1.Node/{method}",
        volume_id=unique["handle"],
        target_path=f"{_ROOT}/pods/{uid['uid']}/volumes/kubernetes.io~csi/{told['volume']}/mount"
        if has_target and uid is not None
        else "",
        code=int(Code.OK if told["end"] == "succeeded" else code if code is not None else Code.UNKNOWN),
        message=error[0].partition(_DESCRIPTION)[2].rstrip() if error is not None else "",
    )
