"""Events in both of their API groups: one object, two sets of names, and times that lie in different fields."""

from pathlib import Path
from typing import Any

import pytest

from csitrace.model.events import ObjectListed
from csitrace.model.kubernetes import Event
from csitrace.sources.imports.importing import open_import
from tests.story import POD_UID
from tests.unit.sources.imports.test_dumps import a_list, write

META = {"name": "web-0.17", "namespace": "shop", "uid": "u-e", "creationTimestamp": "2026-01-02T10:00:00Z"}
POD = {"kind": "Pod", "namespace": "shop", "name": "web-0", "uid": POD_UID}
FIRST, LAST = "2026-01-02T10:00:01Z", "2026-01-02T10:05:00Z"
EXACT, AGAIN = "2026-01-02T10:00:01.250000Z", "2026-01-02T10:04:00.500000Z"

LEGACY_AS_NEW = {
    "metadata": META, "regarding": POD, "reason": "FailedMount", "note": "no driver", "type": "Warning", "eventTime": None,
    "deprecatedSource": {"component": "kubelet", "host": "n1"}, "deprecatedFirstTimestamp": FIRST,
    "deprecatedLastTimestamp": LAST, "deprecatedCount": 7, "reportingController": "kubelet", "reportingInstance": "n1",
}  # fmt: skip
LEGACY = {
    "metadata": META, "involvedObject": POD, "reason": "FailedMount", "message": "no driver", "type": "Warning",
    "eventTime": None, "source": {"component": "kubelet", "host": "n1"}, "firstTimestamp": FIRST, "lastTimestamp": LAST,
    "count": 7, "reportingComponent": "kubelet", "reportingInstance": "n1",
}  # fmt: skip
SERIES_AS_NEW = {
    "metadata": META, "regarding": POD, "reason": "FailedScheduling", "note": "0/3 nodes", "type": "Warning",
    "action": "Scheduling", "eventTime": EXACT, "series": {"count": 3, "lastObservedTime": AGAIN},
    "deprecatedSource": {}, "deprecatedFirstTimestamp": None, "deprecatedLastTimestamp": None,
    "reportingController": "default-scheduler", "reportingInstance": "default-scheduler-m1",
}  # fmt: skip
SERIES = {
    "metadata": META, "involvedObject": POD, "reason": "FailedScheduling", "message": "0/3 nodes", "type": "Warning",
    "action": "Scheduling", "eventTime": EXACT, "series": {"count": 3, "lastObservedTime": AGAIN}, "source": {},
    "firstTimestamp": None, "lastTimestamp": None, "reportingComponent": "default-scheduler",
    "reportingInstance": "default-scheduler-m1",
}  # fmt: skip


def event_of(path: Path, raw: dict[str, Any], api_version: str, form: str) -> Event:
    listed = a_list(raw | {"apiVersion": api_version, "kind": "Event"})
    (found,) = [
        event.body.object
        for event in open_import([write(path, listed, form)]).events
        if isinstance(event.body, ObjectListed)
    ]
    assert isinstance(found, Event)
    return found


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize(
    ("new", "core", "said"),
    [
        (LEGACY_AS_NEW, LEGACY, ("kubelet", FIRST, LAST, 7)),
        (SERIES_AS_NEW, SERIES, ("default-scheduler", EXACT, AGAIN, 3)),
    ],
    ids=["legacy", "series"],
)
def test_an_event_is_the_same_in_both_groups(
    tmp_path: Path, form: str, new: dict[str, Any], core: dict[str, Any], said: tuple[str, str, str, int]
) -> None:
    """`events.k8s.io/v1` and `v1`: who said it, first and last when, how often, of whom."""
    one = event_of(tmp_path / "new", new, "events.k8s.io/v1", form)
    other = event_of(tmp_path / "core", core, "v1", form)
    assert one == other
    assert (one.component, one.first_time, one.last_time, one.times_seen) == said
    assert (one.involved_object.uid, one.message) == (POD_UID, new["note"])


def test_the_latest_event_tells_when_a_dump_was_taken_at_least(tmp_path: Path) -> None:
    """A file that says it is older than what it tells is of that time."""
    raw = SERIES_AS_NEW | {"apiVersion": "events.k8s.io/v1", "kind": "Event"}
    recording = open_import([write(tmp_path / "dump", a_list(raw))])
    assert any(
        "taken to be of 2026-01-02T10:04:00.500Z, by the latest time in it" in note
        for note in recording.notes
    )
