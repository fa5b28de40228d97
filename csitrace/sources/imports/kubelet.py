"""What kubelet's log says of the CSI calls it made: how its operations on volumes ended (operation_executor).

Such a line tells the end of a call and its error, not its beginning. It names the PersistentVolume, except that an unmount that
failed names the pod's volume, and one that succeeded the volume's unique name (operation_generator, `GenerateUnmountVolumeFunc`).
"""

import re
from dataclasses import dataclass

from csitrace.feed.redaction import MAX_TEXT
from csitrace.model.rpc import Code, code_of
from csitrace.sources.imports.loglines import unquoted

_ROOT = "/var/lib/kubelet"
_METHODS = {
    "MountVolume.MountDevice": "NodeStageVolume",
    "MountVolume.SetUp": "NodePublishVolume",
    "UnmountVolume.TearDown": "NodeUnpublishVolume",
    "UnmountDevice": "NodeUnstageVolume",
    "MapVolume.SetUpDevice": "NodeStageVolume",
    "MapVolume.MapPodDevice": "NodePublishVolume",
}
_OF_POD = frozenset({"NodePublishVolume", "NodeUnpublishVolume"})
_OPERATION = re.compile(
    rf"(?P<operation>{'|'.join(map(re.escape, _METHODS))}) (?P<end>succeeded|failed) for volume \"(?P<volume>[^\"]+)"
)
_UNIQUE = re.compile(r"kubernetes\.io/csi/(?P<driver>[\w.-]+)\^(?P<handle>[^\s\"\\]+)")
_INNER = re.compile(r"InnerVolumeSpecName \"([^\"]+)")
_POD_UID = re.compile(
    r"(?:podName:|\(UID: \"|podUID[\"=: ]+)(?P<uid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)
_QUOTED_ERROR = re.compile(r"Error: (\"(?:[^\"\\]|\\.)*+\")", re.DOTALL)
_ERROR = re.compile(r"rpc error: code = \w+ desc = .*", re.DOTALL)
_DESCRIPTION = " desc = "
_KNOWN = {
    "Controller attach succeeded for volume": "attachments that kubelet has seen, which no call of its own made",
    "operationExecutor.": "beginnings of kubelet's operations, which are not yet calls",
}
_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Operation:
    """How one call ended. `target_path` only for what concerns a pod."""

    driver: str
    method: str
    volume_id: str
    target_path: str
    code: int
    message: str


class KubeletLog:
    """The lines of one log. Volumes that were mounted in it are remembered by their unique names, for what is told at
    their end."""

    def __init__(self) -> None:
        self._volumes: dict[str, str] = {}

    def operation_of(self, text: str) -> Operation | None:
        """The call that a line tells of; None for all others, and where the driver was not asked."""
        if " succeeded for volume" not in text and " failed for volume" not in text:
            return None
        text = _QUOTED_ERROR.sub(lambda quoted: f"Error: {unquoted(quoted[1])}", text, count=1)
        told = _OPERATION.search(text)
        unique = _UNIQUE.search(text) if told is not None else None
        if told is None or unique is None:
            return None
        method = _METHODS[told["operation"]]
        error = _ERROR.search(text)
        volume = self._volume(told, unique[0], text)
        if told["end"] == "failed" and error is None:
            return None
        code = code_of(error[0]) if error is not None else None
        uid = _POD_UID.search(text)
        has_target = method in _OF_POD and uid is not None and volume
        return Operation(
            driver=unique["driver"],
            method=f"/csi.v1.Node/{method}",
            volume_id=unique["handle"],
            target_path=f"{_ROOT}/pods/{uid['uid']}/volumes/kubernetes.io~csi/{volume}/mount"
            if has_target and uid is not None
            else "",
            code=int(Code.OK if told["end"] == "succeeded" else code if code is not None else Code.UNKNOWN),
            message=error[0].partition(_DESCRIPTION)[2][:MAX_TEXT].rstrip() if error is not None else "",
        )

    def known(self, text: str) -> str | None:
        """What a line is about that is no call, where there is a word for it."""
        return next((word for begin, word in _KNOWN.items() if text.startswith(begin)), None)

    def _volume(self, told: "re.Match[str]", unique: str, text: str) -> str:
        """The PersistentVolume's name; "" where this line does not tell, and none before it did."""
        if told["operation"] != "UnmountVolume.TearDown":
            if len(self._volumes) >= _REMEMBERED:
                self._volumes.clear()
            self._volumes[unique] = told["volume"]
            return told["volume"]
        inner = _INNER.search(text)
        return inner[1] if inner is not None else self._volumes.get(unique, "")
