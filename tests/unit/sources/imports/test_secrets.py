"""What a trace must not hold: an allow-list of fields decides, whatever form it comes in, and nothing of the rest is quoted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard

from csitrace.errors import TraceError
from csitrace.sources.imports.hints import Hints
from csitrace.sources.imports.importing import open_import
from csitrace.trace.writer import write_trace
from tests import story as told
from tests.unit.sources.imports.test_dumps import a_list, as_kubectl
from tests.unit.sources.imports.test_log_lines import as_json
from tests.unit.sources.imports.test_logs import audit_line, header, log

CANARY = "hunter2"


def secret(kind: str = "Secret") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": "s", "namespace": "shop", "uid": "u-s", "resourceVersion": "3"},
        "data": {"password": CANARY},
        "stringData": {"password": CANARY},
    }


def a_pod() -> dict[str, Any]:
    """A pod that has one wherever a pod may."""
    pod = as_kubectl(told.pod())
    pod["metadata"]["annotations"]["vault/token"] = CANARY
    pod["metadata"]["labels"] = {"token": CANARY}
    pod["metadata"]["managedFields"][0]["fieldsV1"] = {f"f:{CANARY}": {}}
    container = pod["spec"].setdefault("containers", [{"name": "main", "image": "x"}])[0]
    container |= {
        "env": [{"name": "PASSWORD", "value": CANARY}],
        "envFrom": [{"secretRef": {"name": CANARY}}],
        "command": ["mysql", f"-p{CANARY}"],
        "args": [CANARY],
        "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": CANARY}]}},
    }
    pod["spec"]["initContainers"] = [container]
    pod["spec"]["volumes"] += [
        {"name": "inline", "csi": {"driver": "d", "volumeAttributes": {"password": CANARY}}},
        {"name": "s", "secret": {"secretName": CANARY}},
    ]
    return pod


def a_volume() -> dict[str, Any]:
    volume = as_kubectl(told.pv())
    volume["spec"]["csi"] |= {
        "volumeAttributes": {"password": CANARY},
        "nodeStageSecretRef": {"name": CANARY},
    }
    volume["spec"]["mountOptions"] = [f"password={CANARY}"]
    return volume


def a_class() -> dict[str, Any]:
    return as_kubectl(told.storage_class()) | {"parameters": {"password": CANARY}, "mountOptions": [CANARY]}


OBJECTS = a_list(secret(), secret("ConfigMap"), a_pod(), a_volume(), a_class(), as_kubectl(told.claim()))
REQUEST = json.dumps(
    {
        "name": "pvc-1",
        "secrets": {"password": CANARY},
        "parameters": {"password": CANARY},
        "volume_context": {"password": CANARY},
        "volume_capabilities": [{"mount": {"mount_flags": [f"password={CANARY}"]}}],
    }
)
ANSWER = json.dumps({"volume": {"volume_id": "vol-1", "volume_context": {"password": CANARY}}})
CREATE = "/csi.v1.Controller/CreateVolume"


def dumped(path: Path) -> None:
    path.write_text(json.dumps(OBJECTS))


def dumped_as_yaml(path: Path) -> None:
    path.write_text(yaml.safe_dump(OBJECTS))


def dumped_typed(path: Path) -> None:
    """Lists whose items say no kind."""
    secrets = a_list(secret(), kind="SecretList")
    del secrets["items"][0]["kind"]
    path.write_text(json.dumps(secrets) + json.dumps(a_list(a_pod(), kind="PodList")))


def audited(path: Path) -> None:
    reference = {"resource": "secrets", "namespace": "shop", "name": "s"}
    of_pod = {"resource": "pods", "namespace": "shop", "name": "web-0"}
    log(
        path,
        audit_line(1, "create", secret(), objectRef=reference, requestObject=secret()),
        audit_line(2, "create", secret()),  # what is said to be a claim, and is not
        audit_line(3, "create", a_pod(), objectRef=of_pod, requestObject=a_pod()),
    )


def logged(path: Path) -> None:
    log(
        path,
        header(1) + "GRPC call: " + CREATE,
        header(1) + "GRPC request: " + REQUEST,
        header(2) + "GRPC response: " + ANSWER,
        header(3) + f'"GRPC call" method="{CREATE}" request={json.dumps(REQUEST)}',
        header(4) + f'"GRPC response" response={json.dumps(ANSWER)} err=null',
        header(5) + f"token {CANARY}",
    )


def logged_as_json(path: Path) -> None:
    log(
        path,
        as_json(1, "GRPC call", method=CREATE, request=json.loads(REQUEST), token=CANARY),
        as_json(2, "GRPC response", response=ANSWER, err=None),
        as_json(3, f"token {CANARY}"),
    )


@pytest.mark.parametrize("made", [dumped, dumped_as_yaml, dumped_typed, audited, logged, logged_as_json])
def test_nothing_but_the_allow_list_reaches_a_trace(tmp_path: Path, made: Callable[[Path], None]) -> None:
    """Wherever one may stand, it is not in the file that is written, nor in what is said of it; the rest is."""
    source, trace = tmp_path / "source", tmp_path / "trace"
    made(source)
    assert CANARY in source.read_text()
    recording = open_import([source], hints=Hints(driver=told.DRIVER))
    assert write_trace(trace, recording.title, recording.events) > 3
    with (
        trace.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as stream,
    ):
        written = stream.read().decode()
    assert CANARY not in written
    assert CANARY not in "\n".join(recording.notes)
    assert "pvc-1" in written or told.POD_UID in written


@pytest.mark.parametrize(
    "raw",
    [
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  uid: u\nspec: *hunter2\n",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  uid: u\nspec: !!int hunter2\n",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  uid: u\nspec: {nodeName: [hunter2}\n",
        '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","uid":"u"},"spec":{"nodeName":hunter2}}',
        '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","uid":"u"},"spec":{"nodeName":["hunter2"]}}',
        '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","uid":"u"},"spec":{"a":"hunter2',
    ],
)
def test_what_cannot_be_read_is_not_quoted(tmp_path: Path, raw: str) -> None:
    """Where a parser stopped is said, not at what."""
    path = tmp_path / "dump"
    path.write_text(raw)
    with pytest.raises(TraceError, match="nothing could be read") as caught:
        open_import([path])
    assert CANARY not in str(caught.value)
