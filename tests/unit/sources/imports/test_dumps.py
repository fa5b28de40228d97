"""Dumps of kubectl: what is read of them, what stays out, and what follows from several."""

import io
import json
import os
import tarfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from csitrace.errors import TraceError
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.ladder import ladder
from csitrace.lifecycle.state import State
from csitrace.lifecycle.verdict import verdict
from csitrace.model.events import (
    ListCompleted,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    SourceDown,
    TraceEvent,
    Witness,
)
from csitrace.model.kubernetes import KubernetesObject, to_builtins
from csitrace.model.times import MINUTE, SECOND
from csitrace.sources.imports.importing import open_import
from tests import story as told
from tests.story import KEY, START, Story

GROUPS = {
    "VolumeAttachment": "storage.k8s.io/v1",
    "CSIDriver": "storage.k8s.io/v1",
    "CSINode": "storage.k8s.io/v1",
    "StorageClass": "storage.k8s.io/v1",
    "Lease": "coordination.k8s.io/v1",
}


def as_kubectl(obj: KubernetesObject, version: int = 1) -> dict[str, Any]:
    """An object as `kubectl get -o json` prints it, with what kubectl adds."""
    raw = json.loads(json.dumps(to_builtins(obj)))
    raw["apiVersion"] = GROUPS.get(obj.kind, "v1")
    raw["kind"] = obj.kind
    raw["metadata"]["resourceVersion"] = str(version)
    raw["metadata"]["managedFields"] = [
        {
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {".": {}}}},
            "manager": "kube-controller-manager",
            "operation": "Update",
            "time": "2026-01-02T10:00:00Z",
        }
    ]
    raw["metadata"].setdefault("annotations", {})["kubectl.kubernetes.io/last-applied-configuration"] = (
        '{"password":"hunter2"}'
    )
    return dict(raw)


def a_list(*objects: dict[str, Any], kind: str = "List") -> dict[str, Any]:
    return {"apiVersion": "v1", "items": list(objects), "kind": kind, "metadata": {"resourceVersion": ""}}


def write(path: Path, content: Any, form: str = "json", at: int = START) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4) if form == "json" else yaml.safe_dump(content))
    os.utime(path, ns=(at, at))
    return path


def events_of(*paths: Path) -> list[TraceEvent]:
    return list(open_import(paths).events)


def folded(events: list[TraceEvent]) -> State:
    state = State()
    for event in events:
        state = fold(state, event)
    return state


def stuck_attach() -> list[KubernetesObject]:
    """What a cluster holds while external-attacher cannot attach."""
    return [
        told.storage_class(),
        told.csi_driver(),
        told.node(),
        told.claim("Bound", told.PV_NAME, selected_node=told.NODE, storage_provisioner=told.DRIVER),
        told.pv(),
        told.pod(told.NODE, "waiting", started=True),
        told.attachment(error="rpc error: code = Internal desc = no path to the array", finalizer=True),
    ]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_dump_gives_the_verdict_of_the_live_state(tmp_path: Path, form: str) -> None:
    """import, then fold: the same steps and the same verdict as when the cluster itself was heard."""
    live = Story()
    for kind in told.kinds.KINDS:
        live.tell(told.events.SourceUp(witness=Witness.KUBERNETES, scope=kind.name))
    for obj in stuck_attach():
        live.find(obj)
    for kind in told.kinds.KINDS:
        live.tell(told.events.ListCompleted(witness=Witness.KUBERNETES, scope=kind.name))
    now = START + 10 * MINUTE
    dump = write(tmp_path / "dump", a_list(*map(as_kubectl, stuck_attach())), form, now)
    state = folded(events_of(dump))
    volume = state.volumes[KEY]
    expected, found = (
        verdict(live.state, live.volume, now),
        verdict(state, volume, state.at),
    )
    assert state.at == now
    assert (found.severity, found.sentence, found.holder, found.command) == (
        expected.severity,
        expected.sentence,
        expected.holder,
        expected.command,
    )
    steps = [(view.step_id, view.status) for view in ladder(state, volume, volume.uses[0])]
    assert steps == [
        (view.step_id, view.status) for view in ladder(live.state, live.volume, live.volume.uses[0])
    ]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_only_the_fields_of_the_allow_list_enter(tmp_path: Path, form: str) -> None:
    """A Secret, an annotation that quotes one, and another project's Node leave no trace, in the events or in the notes."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": "hunter2"}}
    other = {"apiVersion": "longhorn.io/v1beta2", "kind": "Node", "metadata": {"name": "n9", "uid": "u9"}}
    dump = write(tmp_path / "dump", a_list(secret, other, as_kubectl(told.claim())), form)
    recording = open_import([dump])
    objects = [event.body.object for event in recording.events if isinstance(event.body, ObjectListed)]
    assert [obj.kind for obj in objects] == ["PersistentVolumeClaim"]
    assert "hunter2" not in repr(list(recording.events)) + repr(recording.notes)
    assert any("1 Secret objects, which are not followed" in note for note in recording.notes)


def test_what_is_not_in_the_dump_is_unknown_not_absent(tmp_path: Path) -> None:
    """Kinds that were listed are complete; the others are silent, with the reason."""
    events = events_of(write(tmp_path / "dump", a_list(as_kubectl(told.claim()), as_kubectl(told.pv()))))
    listed = {event.body.scope: event.body.count for event in events if isinstance(event.body, ListCompleted)}
    silent = {event.body.scope: event.body.reason for event in events if isinstance(event.body, SourceDown)}
    assert listed == {"PersistentVolumeClaim/shop": 1, "PersistentVolume": 1}
    assert silent["VolumeAttachment"] == "not in the dump"
    assert "PersistentVolume" not in silent


def test_a_single_object_completes_no_list(tmp_path: Path) -> None:
    """`kubectl get pvc data -o json` says nothing of other claims."""
    events = events_of(write(tmp_path / "dump", as_kubectl(told.claim())))
    assert not any(isinstance(event.body, ListCompleted) for event in events)
    reasons = [
        event.body.reason
        for event in events
        if isinstance(event.body, SourceDown) and event.body.scope == "PersistentVolumeClaim"
    ]
    assert reasons == ["in the dump there are single objects of this kind, no list"]


def test_several_dumps_make_a_history(tmp_path: Path) -> None:
    """A newer version is a change, an absent object is one that was deleted while nobody looked."""
    first = write(tmp_path / "b", a_list(as_kubectl(told.claim(), 5), as_kubectl(told.pv("Pending"), 6)))
    second = write(
        tmp_path / "a",
        a_list(as_kubectl(told.pv("Bound"), 9), as_kubectl(told.attachment(), 8)),
        "yaml",
        START + MINUTE,
    )
    third = write(tmp_path / "c", a_list(kind="PersistentVolumeList"), at=START + 2 * MINUTE)
    events = events_of(third, second, first)
    bodies = [
        (type(event.body), event.body.object.kind)
        for event in events
        if isinstance(event.body, ObjectListed | ObjectModified | ObjectDeleted)
    ]
    assert bodies == [
        (ObjectListed, "PersistentVolumeClaim"),
        (ObjectListed, "PersistentVolume"),
        (ObjectModified, "PersistentVolume"),
        (ObjectListed, "VolumeAttachment"),
        (ObjectDeleted, "PersistentVolume"),
    ]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert all(before.observed_at <= after.observed_at for before, after in pairwise(events))


def test_versions_outrank_the_times_of_files(tmp_path: Path) -> None:
    """Copied in the wrong order, the newer version still comes last."""
    new = write(tmp_path / "new", a_list(as_kubectl(told.pv("Bound"), 9)), at=START)
    old = write(tmp_path / "old", a_list(as_kubectl(told.pv("Pending"), 5)), at=START + MINUTE)
    state = folded(events_of(new, old))
    assert [stored.object.status.phase for stored in _stored(state, "PersistentVolume")] == ["Bound"]


def _stored(state: State, kind: str) -> list[Any]:
    return [stored for (name, _), stored in state.objects.items() if name == kind]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_items_without_a_kind_take_that_of_their_list(tmp_path: Path, form: str) -> None:
    """Typed lists, as `kubectl cluster-info dump` prints them, name the kind once, before the items or after them."""
    item = as_kubectl(told.node())
    del item["kind"], item["apiVersion"]
    events = events_of(write(tmp_path / "nodes", a_list(item, kind="NodeList"), form))
    assert [e.body.object.name for e in events if isinstance(e.body, ObjectListed)] == [told.NODE]


def test_a_tree_and_its_archive_tell_the_same(tmp_path: Path) -> None:
    """A must-gather is one dump of one moment; packed, it is read in place, whatever its members are called."""
    tree = tmp_path / "gathered"
    write(tree / "cluster-scoped-resources/core/persistentvolumes/one.yaml", as_kubectl(told.pv()), "yaml")
    write(tree / "namespaces/shop/core/pods.yaml", a_list(kind="PodList"), "yaml")
    write(tree / "namespaces/shop/core/persistentvolumeclaims.yaml", a_list(as_kubectl(told.claim())), "yaml")
    packed = tmp_path / "gathered.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(tree, "../../outside")
    os.utime(packed, ns=(START, START))
    told_by_tree = [event.body for event in events_of(tree)]
    completed = {body.scope for body in told_by_tree if isinstance(body, ListCompleted)}
    assert completed == {"Pod/shop", "PersistentVolumeClaim/shop"}
    assert [type(body) for body in told_by_tree] == [type(event.body) for event in events_of(packed)]
    assert not (tmp_path.parent / "outside").exists()


def test_logs_between_dumped_lists_are_passed_over(tmp_path: Path) -> None:
    """`kubectl cluster-info dump` on one stream: lists, and the logs of containers between marks."""
    text = (
        json.dumps(a_list(as_kubectl(told.node()), kind="NodeList"), indent=4)
        + "\n==== START logs for container a of pod shop/web-0 ====\n"
        + '{"unbalanced": "\n{{{\n'
        + "==== END logs for container a of pod shop/web-0 ====\n"
        + json.dumps(a_list(as_kubectl(told.pod()), kind="PodList"), indent=4)
    )
    path = tmp_path / "dump.txt"
    path.write_text(text)
    found = [e.body.object.kind for e in events_of(path) if isinstance(e.body, ObjectListed)]
    assert found == ["Node", "Pod"]


def test_a_torn_dump_gives_what_it_has_and_completes_nothing(tmp_path: Path) -> None:
    """The objects before the tear count; that others are absent does not."""
    whole = json.dumps(a_list(*(as_kubectl(told.pv()), as_kubectl(told.claim()))))
    path = tmp_path / "dump.json"
    path.write_text(whole[: whole.rindex('"kind": "PersistentVolumeClaim"')])
    recording = open_import([path])
    bodies = [event.body for event in recording.events]
    assert sum(isinstance(body, ObjectListed) for body in bodies) == 1
    assert not any(isinstance(body, ListCompleted) for body in bodies)
    assert any("it ends within an object" in note for note in recording.notes)


def test_a_lease_tells_when_a_dump_was_taken(tmp_path: Path) -> None:
    """A file that was copied since is still of the moment of its newest Lease."""
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "n1", "namespace": "kube-node-lease", "uid": "l1", "resourceVersion": "7"},
        "spec": {"renewTime": "2026-01-02T10:00:30.000000Z"},
    }
    recording = open_import([write(tmp_path / "dump", a_list(lease), at=START + 1000 * MINUTE)])
    assert {event.observed_at for event in recording.events} == {START + 30 * SECOND}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there are no files in it"),
        (b"hello\n", "of no form that is known"),
        (b"\xfd7zXZ\0broken", "is packed with xz"),
        (b"LAST SEEN   TYPE   REASON   OBJECT   MESSAGE\n5m Normal X pod/a b\n", "-o yaml"),
        (b"\x1f\x8bbroken", "cannot be read"),
        (b"PK\x03\x04broken", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    """Which file, and why."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(TraceError) as caught:
        open_import([path])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_there_is_said() -> None:
    """A name that leads nowhere, or cannot be one."""
    for name in ("/nonexistent/dump", "a\0b"):
        with pytest.raises(TraceError):
            open_import([Path(name)])


def test_yaml_aliases_do_not_multiply() -> None:
    """A few lines that would unfold to billions of values are read as what they are."""
    from csitrace.sources.imports.split import split_yaml

    bomb = b"kind: Pod\na: &a [1,1]\n" + b"".join(
        b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(ord("b"), ord("z"))
    )
    assert len(list(split_yaml(io.BytesIO(bomb)))) == 1


def test_the_command_line_names_every_form() -> None:
    """`--as` offers what can be read; the names are kept apart so that the command line loads nothing for them."""
    from csitrace.cli.import_ import FORM_NAMES
    from csitrace.sources.imports.forms import FORMS

    assert set(FORM_NAMES) == set(FORMS)


def test_blocks_that_nobody_reads_are_cut_out_and_no_more() -> None:
    """An environment goes, with lists at the depth of their key or below it; what follows stays."""
    from csitrace.sources.imports.split import split_yaml

    pod = (
        b"kind: Pod\nspec:\n  containers:\n  - env:\n    - name: A\n      value: hunter2\n    name: main\n"
        b"  - args:\n      - hunter2\n    name: side\n    volumeMounts:\n    - name: x\n  nodeName: n1\n"
    )
    (piece,) = split_yaml(io.BytesIO(pod))
    assert yaml.safe_load(piece.raw) == {
        "kind": "Pod",
        "spec": {
            "containers": [{"env": None, "name": "main"}, {"args": None, "name": "side"}],
            "nodeName": "n1",
        },
    }
