"""kubelet's log: which calls its lines on operations stand for, in the forms of its releases."""

from pathlib import Path

import pytest

from csitrace.lifecycle.paths import parse_path
from csitrace.model.events import RpcFinished, RpcStarted
from csitrace.sources.imports.hints import Hints
from csitrace.sources.imports.importing import open_import
from tests.story import DRIVER, POD_UID, PV_NAME
from tests.unit.sources.imports.test_log_lines import as_json
from tests.unit.sources.imports.test_logs import header, log

UNIQUE = f"kubernetes.io/csi/{DRIVER}^vol-1"
TARGET = f"/var/lib/kubelet/pods/{POD_UID}/volumes/kubernetes.io~csi/{PV_NAME}/mount"
OF_POD = f'(UniqueName: "{UNIQUE}") pod "web-0" (UID: "{POD_UID}")'
MOUNTED = f'MountVolume.SetUp succeeded for volume "{PV_NAME}" {OF_POD} '
STAGED = (
    f'MountVolume.MountDevice succeeded for volume "{PV_NAME}" {OF_POD} device mount path "/x/globalmount"'
)
UNMOUNTED = (
    f'UnmountVolume.TearDown succeeded for volume "{UNIQUE}" (OuterVolumeSpecName: "data") pod "{POD_UID}" (UID: "{POD_UID}"). '
    f'InnerVolumeSpecName "{PV_NAME}". PluginName "kubernetes.io/csi", VolumeGIDValue ""'
)
UNSTAGED = f'UnmountDevice succeeded for volume "{PV_NAME}" (UniqueName: "{UNIQUE}") on node "n1" '
NOT_UNMOUNTED = (
    f'Operation for "{{volumeName:{UNIQUE} podName:{POD_UID} nodeName:}}" failed. No retries permitted until 2026-01-02 '
    f"10:00:59.8 +0000 UTC m=+84822.2 (durationBeforeRetry 2m2s). Error: "
)
TEAR_DOWN = (
    f'UnmountVolume.TearDown failed for volume "data" (UniqueName: "{UNIQUE}") pod "{POD_UID}" (UID: "{POD_UID}") : '
    'kubernetes.io/csi: Unmounter.TearDownAt failed: rpc error: code = Internal desc = target "x" is busy'
)


def quoted(text: str) -> str:
    """Go's %q, for text that is plain."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def ends(path: Path) -> list[tuple[str, int, str, str]]:
    found = []
    targets = {}
    for event in open_import([path], hints=Hints(node="n1")).events:
        if isinstance(event.body, RpcStarted):
            targets[event.body.call_id] = event.body.target_path
        if isinstance(event.body, RpcFinished):
            body = event.body
            found.append((body.method.rpartition("/")[2], body.code, body.message, targets[body.call_id]))
            assert (body.driver, body.volume_id) == (DRIVER, "vol-1")
    return found


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (STAGED, ("NodeStageVolume", 0, "", "")),
        (MOUNTED, ("NodePublishVolume", 0, "", TARGET)),
        (UNMOUNTED, ("NodeUnpublishVolume", 0, "", TARGET)),
        (UNSTAGED, ("NodeUnstageVolume", 0, "", "")),
    ],
)
@pytest.mark.parametrize("form", ["text", "structured", "journal", "json"])
def test_each_success_is_the_end_of_a_call(
    tmp_path: Path, text: str, end: tuple[str, int, str, str], form: str
) -> None:
    """Printed, quoted as a structured message, in a journal, as JSON: the same call, of the PersistentVolume's target path."""
    lines = {
        "text": header(1) + text,
        "structured": header(1) + quoted(text) + ' pod="shop/web-0"',
        "journal": "Jan 02 10:00:01 n1 kubelet[1701]: " + header(1) + quoted(text) + ' pod="shop/web-0"',
        "json": as_json(1, text, pod={"name": "web-0", "namespace": "shop"}),
    }
    assert ends(log(tmp_path / "kubelet.log", lines[form])) == [end]
    assert not end[3] or parse_path(end[3]) is not None


@pytest.mark.parametrize("error", [TEAR_DOWN, quoted(TEAR_DOWN)])
def test_an_unmount_that_failed_is_of_the_volume_that_was_mounted_before(tmp_path: Path, error: str) -> None:
    """It names the pod's volume and not the PersistentVolume; what was told at the mount says which it is."""
    failed = header(2, level="E") + NOT_UNMOUNTED + error
    message = 'target "x" is busy'
    assert ends(log(tmp_path / "a", failed)) == [("NodeUnpublishVolume", 13, message, "")]
    assert ends(log(tmp_path / "b", header(1) + MOUNTED, failed))[1] == (
        "NodeUnpublishVolume",
        13,
        message,
        TARGET,
    )


def test_what_kubelet_says_beside_calls_is_counted_by_name(tmp_path: Path) -> None:
    """That an attachment was seen, or that an operation begins, is no call of kubelet's; who is not there was not asked."""
    path = log(
        tmp_path / "kubelet.log",
        header(1) + quoted(f'Controller attach succeeded for volume "{PV_NAME}" {OF_POD} device path: ""') + ' pod="a/b"',
        header(1) + quoted(f'operationExecutor.MountVolume started for volume "{PV_NAME}" {OF_POD} '),
        header(2, level="E") + NOT_UNMOUNTED
        + f'UnmountVolume.TearDown failed for volume "data" {OF_POD} : kubernetes.io/csi: mounter.SetUpAt failed to get CSI '
        f"client: driver name {DRIVER} not found in the list of registered CSI drivers",
        header(3) + MOUNTED,
    )  # fmt: skip
    assert [name for name, *_ in ends(path)] == ["NodePublishVolume"]
    note = open_import([path]).notes[0]
    assert "1 attachments that kubelet has seen" in note
    assert "1 beginnings of kubelet's operations" in note


@pytest.mark.parametrize(
    "registered",
    [
        header(0) + '"Successfully registered node" node="n1"',
        as_json(0, "Successfully registered node", node={"name": "n1"}),
        as_json(0, "Successfully registered node", node="n1"),
    ],
)
def test_kubelet_names_its_node_when_it_registers(tmp_path: Path, registered: str) -> None:
    """Its calls are then of that node, with no need to say it."""
    path = log(tmp_path / "kubelet.log", registered, header(1) + MOUNTED)
    starts = [e.body.node_name for e in open_import([path]).events if isinstance(e.body, RpcStarted)]
    assert starts == ["n1"]
