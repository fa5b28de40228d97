"""Logs: klog files of sidecars, drivers and kubelet, audit logs, and copies of mountinfo."""

import json
import os
from pathlib import Path
from typing import Any

from csitrace.model.events import (
    Marked,
    MountAppeared,
    MountVanished,
    ObjectAdded,
    ObjectDeleted,
    ObjectModified,
    RpcFinished,
    RpcStarted,
    SourceDown,
    SourceUp,
    TraceEvent,
    Witness,
)
from csitrace.model.times import DAY, MINUTE, SECOND, parse_rfc3339
from csitrace.sources.imports.hints import Hints
from csitrace.sources.imports.importing import open_import
from tests import story as told
from tests.story import START
from tests.unit.sources.imports.test_dumps import as_kubectl

PUBLISH = "/csi.v1.Controller/ControllerPublishVolume"


def log(path: Path, *lines: str, at: int = START + DAY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    os.utime(path, ns=(at, at))
    return path


def header(second: float, pid: int = 1, level: str = "I", day: str = "0102") -> str:
    return f"{level}{day} 10:00:{second:09.6f} {pid:7d} connection.go:244] "


def calls(*paths: Path, hints: Hints | None = None) -> list[TraceEvent]:
    recording = open_import(paths, hints=hints or Hints(driver=told.DRIVER))
    return [event for event in recording.events if isinstance(event.body, RpcStarted | RpcFinished)]


def test_a_sidecars_log_tells_its_calls(tmp_path: Path) -> None:
    """Call, request, response and error lines become a call with its times and code; the driver is named by its own answer."""
    path = log(
        tmp_path / "attacher.log",
        header(0) + "GRPC call: /csi.v1.Identity/GetPluginInfo",
        header(0) + "GRPC request: {}",
        header(0.1) + 'GRPC response: {"name":"ref.csitrace.dev","vendor_version":"1"}',
        header(0.1) + "GRPC error: <nil>",
        header(1) + "GRPC call: " + PUBLISH,
        header(1)
        + 'GRPC request: {"node_id":"n1","secrets":"***stripped***","volume_context":{"k":"hunter2"},"volume_id":"vol-1"}',
        header(3) + "GRPC response: {}",
        header(3) + "GRPC error: rpc error: code = Internal desc = no path",
        header(4) + "GRPC call: " + PUBLISH,
        header(4) + 'GRPC request: {"node_id":"n1","volume_id":"vol-1"}',
    )
    events = calls(path, hints=Hints())
    bodies = [event.body for event in events][2:]
    assert [(type(b).__name__, getattr(b, "code", None), b.attempt) for b in bodies] == [  # type: ignore[union-attr]
        ("RpcStarted", None, 1),
        ("RpcFinished", 13, 1),
        ("RpcStarted", None, 2),
    ]
    started, finished = bodies[0], bodies[1]
    assert isinstance(started, RpcStarted)
    assert isinstance(finished, RpcFinished)
    assert (started.driver, started.volume_id, started.node_id) == (told.DRIVER, "vol-1", "n1")
    assert started.request == {"volume_id": "vol-1", "node_id": "n1"}
    assert (finished.message, finished.duration_ns) == ("no path", 2 * SECOND)
    assert events[2].occurred_at == START + SECOND


def test_structured_lines_tell_the_same(tmp_path: Path) -> None:
    """key="value" lines of newer releases, and the time that `kubectl logs --timestamps` puts before them."""
    request = json.dumps(json.dumps({"volume_id": "vol-1", "node_id": "n1"}))
    path = log(
        tmp_path / "attacher.log",
        "2025-01-02T10:00:01.5Z " + header(1) + f'"GRPC call" method="{PUBLISH}" request={request}',
        "2025-01-02T10:00:02.5Z "
        + header(2)
        + '"GRPC response" response="{}" err="rpc error: code = NotFound desc = no \\"n1\\""',
    )
    started, finished = calls(path)
    assert started.occurred_at == parse_rfc3339("2025-01-02T10:00:01Z")
    assert isinstance(finished.body, RpcFinished)
    assert (finished.body.code, finished.body.message) == (5, 'no "n1"')


def test_calls_abreast_are_not_guessed_at(tmp_path: Path) -> None:
    """Two calls of one shape in flight: whose the answer is cannot be told, so neither is; one of another shape is."""
    path = log(
        tmp_path / "provisioner.log",
        header(1) + "GRPC call: " + PUBLISH,
        header(1) + 'GRPC request: {"volume_id":"a"}',
        header(2) + "GRPC call: " + PUBLISH,
        header(2) + 'GRPC request: {"volume_id":"b"}',
        header(3) + "GRPC call: /csi.v1.Controller/CreateVolume",
        header(3) + 'GRPC request: {"name":"pvc-1"}',
        header(4) + 'GRPC response: {"volume":{"volume_id":"vol-1"}}',
        header(5) + 'GRPC response: {"publish_context":{}}',
        header(6) + 'GRPC response: {"publish_context":{}}',
        header(7) + "GRPC call: " + PUBLISH,
        header(7) + 'GRPC request: {"volume_id":"c"}',
        header(8) + "GRPC response: {}",
    )
    recording = open_import([path], hints=Hints(driver=told.DRIVER))
    ends = [event.body for event in recording.events if isinstance(event.body, RpcFinished)]
    assert [(end.volume_id, end.volume_name) for end in ends] == [("vol-1", "pvc-1"), ("c", "")]
    assert any("2 calls abreast whose answers cannot be told apart" in note for note in recording.notes)


def test_ids_of_calls_tell_them_apart(tmp_path: Path) -> None:
    """Some drivers number their calls in the log."""
    path = log(
        tmp_path / "driver.log",
        header(1) + "ID: 7 Req-ID: a GRPC call: " + PUBLISH,
        header(1) + 'ID: 7 Req-ID: a GRPC request: {"volume_id":"a"}',
        header(2) + "ID: 8 Req-ID: b GRPC call: " + PUBLISH,
        header(2) + 'ID: 8 Req-ID: b GRPC request: {"volume_id":"b"}',
        header(3) + "ID: 8 Req-ID: b GRPC response: {}",
        header(4, level="E") + "ID: 7 Req-ID: a GRPC error: rpc error: code = Aborted desc = busy",
    )
    ends = [event.body for event in calls(path) if isinstance(event.body, RpcFinished)]
    assert [(end.volume_id, end.code) for end in ends] == [("b", 0), ("a", 10)]


def test_the_year_is_that_of_the_file_or_the_one_before(tmp_path: Path) -> None:
    """A header has no year: December's lines in a file of January are last year's; the notes say so."""
    path = log(
        tmp_path / "a.log", header(1, day="1231") + "GRPC call: " + PUBLISH, header(2) + "GRPC response: {}"
    )
    recording = open_import([path], hints=Hints(driver=told.DRIVER))
    started = next(e for e in recording.events if isinstance(e.body, RpcStarted))
    assert started.occurred_at == parse_rfc3339("2025-12-31T10:00:01Z")
    assert any("name neither year nor zone" in note and "2025 to 2026" in note for note in recording.notes)


def test_a_restarted_process_is_another_instance_and_the_end_is_silence(tmp_path: Path) -> None:
    """Another pid begins anew; after the last line nobody is heard."""
    path = log(
        tmp_path / "a.log",
        header(1, pid=1) + "GRPC call: " + PUBLISH,
        header(2, pid=2) + "GRPC call: " + PUBLISH,
    )
    bodies = [e.body for e in open_import([path], hints=Hints(driver=told.DRIVER)).events]
    ups = [b for b in bodies if isinstance(b, SourceUp)]
    downs = [b for b in bodies if isinstance(b, SourceDown) and b.witness is Witness.DRIVER]
    assert len({up.instance for up in ups}) == 2
    assert downs[0].reason.endswith("ends here")


def test_kubelets_log_tells_how_its_operations_ended(tmp_path: Path) -> None:
    """A failed SetUp that quotes a gRPC error was a NodePublishVolume; one that does not never reached the driver."""
    unique = f"kubernetes.io/csi/{told.DRIVER}^vol-1"
    path = log(
        tmp_path / "kubelet.log",
        header(1, level="E")
        + f'Operation for "{{volumeName:{unique} podName:{told.POD_UID} nodeName:}}" failed. Error: MountVolume.SetUp failed '
        f'for volume "pvc-1" (UniqueName: "{unique}") pod "web-0" (UID: "{told.POD_UID}") : rpc error: code = Internal desc = x',
        header(2, level="E")
        + f'MountVolume.SetUp failed for volume "pvc-1" (UniqueName: "{unique}") : no driver',
    )
    started, finished = (event.body for event in calls(path, hints=Hints(node="n1")))
    assert isinstance(started, RpcStarted)
    assert isinstance(finished, RpcFinished)
    assert (started.method, started.node_name) == ("/csi.v1.Node/NodePublishVolume", "n1")
    assert told.POD_UID in started.target_path
    assert (finished.code, finished.message) == (13, "x")


def audit_line(second: int, verb: str, obj: dict[str, Any] | None, **more: Any) -> str:
    line = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse" if obj is not None else "Metadata",
        "stage": "ResponseComplete",
        "verb": verb,
        "user": {"username": "system:kube-controller-manager"},
        "objectRef": {"resource": "persistentvolumeclaims", "namespace": "shop", "name": "data"},
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": f"2026-01-02T10:00:{second:02d}.000000Z",
        "stageTimestamp": f"2026-01-02T10:00:{second:02d}.250000Z",
        **({"responseObject": obj} if obj is not None else {}),
        **more,
    }
    return json.dumps(line)


def test_an_audit_log_tells_each_change_with_its_time(tmp_path: Path) -> None:
    """Created, changed, asked to go, and gone with its last finalizer; what failed or only read is left out and counted."""
    going = as_kubectl(told.claim("Bound", deleting=True), 7)
    gone = as_kubectl(told.claim("Bound", deleting=True), 8)
    gone["metadata"].pop("finalizers")
    path = log(
        tmp_path / "audit.log",
        audit_line(1, "create", as_kubectl(told.claim(), 5)),
        audit_line(2, "get", as_kubectl(told.claim(), 5)),
        audit_line(3, "update", as_kubectl(told.claim("Bound"), 6)),
        audit_line(4, "update", as_kubectl(told.claim(), 6), responseStatus={"code": 409}),
        audit_line(5, "delete", going),
        audit_line(6, "patch", gone),
    )
    recording = open_import([path])
    changes = [
        (type(event.body), event.occurred_at - START)
        for event in recording.events
        if isinstance(event.body, ObjectAdded | ObjectModified | ObjectDeleted)
    ]
    assert changes == [
        (ObjectAdded, SECOND),
        (ObjectModified, 3 * SECOND),
        (ObjectModified, 5 * SECOND),
        (ObjectDeleted, 6 * SECOND),
    ]
    assert any(
        "1 requests that only read" in note and "1 requests that failed" in note for note in recording.notes
    )


def test_an_audit_log_without_objects_tells_who_did_what(tmp_path: Path) -> None:
    """At level Metadata there are only marks."""
    recording = open_import([log(tmp_path / "audit.log", audit_line(1, "create", None))])
    marks = [event.body.text for event in recording.events if isinstance(event.body, Marked)]
    assert marks == ["audit: system:kube-controller-manager create persistentvolumeclaims shop/data"]


def test_mount_tables_of_a_node_make_a_history(tmp_path: Path) -> None:
    """What the later copy lacks was unmounted; the node is named by file or directory."""
    line = f"100 1 0:50 / {told.TARGET} rw - fuse.csitrace ref rw"
    root = "1 0 8:1 / / rw - ext4 /dev/sda1 rw"
    first = log(tmp_path / "n1" / "mountinfo", root, line, at=START)
    second = log(tmp_path / "n1.mountinfo", root, at=START + MINUTE)
    bodies = [event.body for event in open_import([second, first]).events]
    mounts = [
        (type(b), b.node_name, b.mount.mount_point)
        for b in bodies
        if isinstance(b, MountAppeared | MountVanished)
    ]
    assert mounts == [(MountAppeared, "n1", told.TARGET), (MountVanished, "n1", told.TARGET)]
