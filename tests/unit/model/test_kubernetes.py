"""Objects are decoded by allow-list: what is not named does not come in."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from csitrace.model.events import ObjectAdded, TraceEvent
from csitrace.model.kinds import KINDS
from csitrace.model.kubernetes import Event, PersistentVolumeClaim, Pod, StorageClass

SECRET = "hunter2-hunter2"


def test_secrets_in_objects_do_not_come_in() -> None:
    """Environment, last-applied-configuration, foreign annotations and class parameters are dropped while decoding."""
    pod = msgspec.json.decode(
        msgspec.json.encode(
            {
                "kind": "Pod",
                "metadata": {
                    "name": "a",
                    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": SECRET, "x": SECRET},
                    "labels": {"x": SECRET},
                    "managedFields": [{"fieldsV1": {"f:x": SECRET}}],
                },
                "spec": {"containers": [{"env": [{"name": "P", "value": SECRET}]}], "nodeName": "n1"},
            }
        ),
        type=Pod,
    )
    storage = msgspec.json.decode(
        msgspec.json.encode({"parameters": {"password": SECRET}, "provisioner": "d"}), type=StorageClass
    )
    event = TraceEvent(seq=1, observed_at=1, occurred_at=1, body=ObjectAdded(object=pod))
    assert SECRET.encode() not in msgspec.json.encode([event, storage])
    assert pod.spec.node_name == "n1"


def test_every_kind_is_told_apart_by_its_name() -> None:
    """An event body with any kind of object survives encoding and decoding."""
    for kind in KINDS:
        event = TraceEvent(seq=1, observed_at=1, occurred_at=1, body=ObjectAdded(object=kind.object_type()))
        assert msgspec.json.decode(msgspec.json.encode(event), type=TraceEvent) == event
        assert kind.object_type().kind == kind.name


def test_the_paths_are_the_apis() -> None:
    """Core kinds below /api/v1, others below /apis, namespaced where asked and possible."""
    paths = {kind.name: (kind.path(), kind.path("ns")) for kind in KINDS}
    assert paths["Pod"] == ("/api/v1/pods", "/api/v1/namespaces/ns/pods")
    assert paths["VolumeAttachment"] == ("/apis/storage.k8s.io/v1/volumeattachments",) * 2
    assert paths["Lease"][1] == "/apis/coordination.k8s.io/v1/namespaces/ns/leases"


def test_the_schedulers_events_have_a_time() -> None:
    """events.k8s.io leaves first and last timestamp empty: the series or eventTime tells."""
    event = msgspec.json.decode(
        b'{"firstTimestamp":null,"lastTimestamp":null,"eventTime":"2026-01-01T00:00:00.000001Z","source":{},'
        b'"reportingComponent":"default-scheduler","series":{"count":3,"lastObservedTime":"2026-01-01T00:00:09Z"}}',
        type=Event,
    )
    assert event.last_time == "2026-01-01T00:00:09Z"
    assert event.component == "default-scheduler"
    assert event.times_seen == 3


@given(st.sampled_from([None, "", "fast"]))
def test_no_class_and_the_empty_class_are_different(name: str | None) -> None:
    """storageClassName null may still be defaulted, "" never is."""
    raw = msgspec.json.encode({"spec": {"storageClassName": name}})
    assert msgspec.json.decode(raw, type=PersistentVolumeClaim).spec.storage_class_name == name
