"""When files are of: zones, years, what people say of them, and accounts that are given twice or by two."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from csitrace.errors import UsageError
from csitrace.model.events import (
    ListCompleted,
    MountAppeared,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    RpcFinished,
    RpcStarted,
    SourceGap,
)
from csitrace.model.times import DAY, HOUR, MINUTE, SECOND, parse_rfc3339
from csitrace.sources.imports.hints import Hints, times_taken, zone_of
from csitrace.sources.imports.importing import open_import
from tests import story as told
from tests.story import START
from tests.unit.sources.imports.test_dumps import a_list, as_kubectl, folded, write
from tests.unit.sources.imports.test_log_lines import an_attach
from tests.unit.sources.imports.test_logs import PUBLISH, audit_line, header, log


def ns(text: str) -> int:
    at = parse_rfc3339(text)
    assert at is not None
    return at


def starts(*paths: Path, zone: str = "UTC", taken_at: Mapping[Path | None, int] | None = None) -> list[int]:
    hints = Hints(driver=told.DRIVER, zone=zone_of(zone), zone_name=zone)
    recording = open_import(paths, hints=hints, taken_at=taken_at)
    return [event.occurred_at for event in recording.events if isinstance(event.body, RpcStarted)]


def call(when: str) -> str:
    return f"I{when}       1 connection.go:244] GRPC call: {PUBLISH}"


def a_lease(renewed: str, version: int = 7) -> dict[str, object]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": "n1",
            "namespace": "kube-node-lease",
            "uid": "l1",
            "resourceVersion": str(version),
        },
        "spec": {"renewTime": renewed},
    }


@pytest.mark.parametrize(
    ("zone", "first", "summer"),
    [
        ("UTC", "2026-01-02T10:00:00Z", "2026-07-02T10:00:00Z"),
        ("Europe/Berlin", "2026-01-02T09:00:00Z", "2026-07-02T08:00:00Z"),
        ("+05:30", "2026-01-02T04:30:00Z", "2026-07-02T04:30:00Z"),
        ("-0800", "2026-01-02T18:00:00Z", "2026-07-02T18:00:00Z"),
    ],
)
def test_a_logs_zone_can_be_said(tmp_path: Path, zone: str, first: str, summer: str) -> None:
    """By name, with its summer time, or by offset; without a word it is UTC."""
    path = log(
        tmp_path / "a.log",
        call("0102 10:00:00.000000"),
        call("0702 10:00:00.000000"),
        at=ns("2026-07-03T00:00:00Z"),
    )
    assert starts(path, zone=zone) == [ns(first), ns(summer)]


def test_the_local_zone_is_that_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`local`: what the C library says, summer time and all."""
    import time

    path = log(tmp_path / "a.log", call("0702 10:00:00.000000"), at=ns("2026-07-03T00:00:00Z"))
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "America/New_York")
        time.tzset()
        found = starts(path, zone="local")
    time.tzset()
    assert found == [ns("2026-07-02T14:00:00Z")]


def test_an_hour_that_comes_twice_does_not_go_back(tmp_path: Path) -> None:
    """The night in which clocks are put back: what comes after 02:59 and says 02:10 is an hour later."""
    path = log(
        tmp_path / "a.log",
        *(call(f"1025 {when}:00.000000") for when in ("01:30", "02:10", "02:59", "02:10", "02:50", "03:10")),
        at=ns("2026-10-26T00:00:00Z"),
    )
    minutes = [(at - ns("2026-10-25T00:00:00Z")) // MINUTE for at in starts(path, zone="Europe/Berlin")]
    assert minutes == [-30, 10, 59, 70, 110, 130]


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "+25:00", "", "../etc/passwd", "Europe", "a\0b"])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    """One line that says what would do."""
    with pytest.raises(UsageError, match=r"no such time zone: say a name as Europe/Berlin") as caught:
        zone_of(zone)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("modified", "lines", "expected"),
    [
        ("2026-01-01T00:00:05Z", ["1231 23:59:59", "0101 00:00:01"], ["2025-12-31T23:59:59Z", "2026-01-01T00:00:01Z"]),
        ("2025-12-31T23:00:00Z", ["1231 22:00:00", "0101 03:00:00"], ["2025-12-31T22:00:00Z", "2026-01-01T03:00:00Z"]),
        ("2026-06-01T00:00:00Z", ["0602 05:00:00", "0601 12:00:00"], ["2025-06-02T05:00:00Z", "2026-06-01T12:00:00Z"]),
        ("2026-03-05T00:00:00Z", ["0229 10:00:00"], ["2024-02-29T10:00:00Z"]),
    ],
)  # fmt: skip
def test_the_year_turns_where_the_file_ends(
    tmp_path: Path, modified: str, lines: list[str], expected: list[str]
) -> None:
    """Each line is of the latest year in which it is not more than a day after the file, the last day's zones allowed for; a 29th
    of February is of a year that has one."""
    found = [starts(log(tmp_path / "a.log", call(f"{line}.000000"), at=ns(modified))) for line in lines]
    assert found == [[ns(at)] for at in expected]


def test_the_other_files_say_the_year_of_a_log_that_was_copied(tmp_path: Path) -> None:
    """A log of 2024 that was fetched in 2026 is of the time of the dump, or of the audit log, that came with it."""
    copied = ns("2026-03-01T00:00:00Z")
    attacher = log(tmp_path / "attacher.log", call("0103 10:00:00.000000"), at=copied)
    dump = write(tmp_path / "dump", a_list(a_lease("2024-01-02T10:00:30.000000Z")), at=copied)
    audit = log(
        tmp_path / "audit.log", audit_line(1, "create", as_kubectl(told.claim())), at=copied + 900 * DAY
    )
    assert starts(attacher) == [ns("2026-01-03T10:00:00Z")]
    assert starts(attacher, dump) == [ns("2024-01-03T10:00:00Z")]
    os.utime(attacher, ns=(copied + 900 * DAY, copied + 900 * DAY))
    assert starts(attacher, audit) == [ns("2026-01-03T10:00:00Z")]
    recording = open_import([attacher, dump], hints=Hints(driver=told.DRIVER))
    assert any(
        "of 2024, by the other files' times, in UTC; else use --taken-at, --log-zone" in n
        for n in recording.notes
    )


def test_when_each_path_was_taken_can_be_said(tmp_path: Path) -> None:
    """Dumps, a mount table and a log's end: of all paths, or of one; the notes say by what each time is known."""
    late = START + 900 * DAY
    before = write(tmp_path / "before.json", a_list(as_kubectl(told.pv("Pending"), 5)), at=late)
    after = write(tmp_path / "after.json", a_list(as_kubectl(told.pv("Bound"), 9)), at=late)
    mounts = log(tmp_path / "n1.mountinfo", f"100 1 0:50 / {told.TARGET} rw - fuse.csitrace ref rw", at=late)
    attacher = log(tmp_path / "attacher.log", call("0102 10:00:03.000000"), at=late)
    paths = [before, after, mounts, attacher]
    said = ["2026-01-02T10:20:00Z", f"{before}=2026-01-02T11:10:00+01:00"]
    recording = open_import(paths, hints=Hints(driver=told.DRIVER), taken_at=times_taken(said, paths))
    told_at = {
        type(event.body): event.observed_at - START
        for event in recording.events
        if isinstance(event.body, ObjectListed | ObjectModified | MountAppeared | RpcStarted)
    }
    assert told_at == {
        ObjectListed: 10 * MINUTE,
        ObjectModified: 20 * MINUTE,
        MountAppeared: 20 * MINUTE,
        RpcStarted: 3 * SECOND,
    }
    assert sum("by --taken-at" in note for note in recording.notes) == 4
    unsaid = open_import(paths, hints=Hints(driver=told.DRIVER))
    assert sum("by the file's time" in note and "--taken-at" in note for note in unsaid.notes) == 3
    assert sum("by the other files' times" in note and "--taken-at" in note for note in unsaid.notes) == 1


def test_a_file_within_a_path_can_be_dated(tmp_path: Path) -> None:
    """Two dumps in one directory, or archive, are of two times; what was said of a file that is not there is told."""
    first = write(tmp_path / "case" / "z.json", a_list(as_kubectl(told.pv("Pending"))))
    second = write(tmp_path / "case" / "a.json", a_list(as_kubectl(told.pv("Bound"))))
    paths = [tmp_path / "case"]
    said = [
        f"{first}=2026-01-02T10:01:00Z",
        f"{second}=2026-01-02T10:02:00Z",
        f"{first}.gz=2026-01-02T10:02:00Z",
    ]
    recording = open_import(paths, taken_at=times_taken(said, paths))
    changes = [
        (type(event.body), event.observed_at - START)
        for event in recording.events
        if isinstance(event.body, ObjectListed | ObjectModified)
    ]
    assert changes == [(ObjectListed, MINUTE), (ObjectModified, 2 * MINUTE)]
    assert f"--taken-at {first}.gz: nothing was read that would need it" in recording.notes


def test_a_time_that_the_dump_contradicts_is_said(tmp_path: Path) -> None:
    """People may be wrong, too: the note says of what time the dump tells."""
    dump = write(tmp_path / "dump", a_list(a_lease("2026-01-02T10:00:30.000000Z")))
    recording = open_import([dump], taken_at={None: START})
    assert any("but it tells of 2026-01-02T10:00:30.000Z" in note for note in recording.notes)


@pytest.mark.parametrize(
    ("said", "because"),
    [
        (["yesterday"], "no time that is clear"),
        (["2026-01-02T10:00:00"], "say it with its zone"),
        (["2026-01-02"], "say it with its zone"),
        (["1960-01-02T10:00:00Z"], "no time that is clear"),
        (["other.yaml=2026-01-02T10:00:00Z"], "other.yaml is not among the paths"),
        (["2026-01-02T10:00:00Z", "2026-01-03T10:00:00Z"], "said twice for all paths"),
    ],
)
def test_a_time_that_is_none_is_refused(said: list[str], because: str) -> None:
    """What was said, and what would do."""
    with pytest.raises(UsageError) as caught:
        times_taken(said, [Path("dump.yaml")])
    assert str(caught.value).startswith(f"--taken-at {said[-1]}: ")
    assert because in str(caught.value)


def test_a_dump_given_twice_is_taken_once(tmp_path: Path) -> None:
    """The same path, a copy, one within a directory: no gap, no change, and the notes say which is the same as which."""
    objects = a_list(a_lease("2026-01-02T10:00:30.000000Z"), as_kubectl(told.pv()))
    dump = write(tmp_path / "case" / "dump.json", objects, at=START + HOUR)
    copy = tmp_path / "copy.json"
    shutil.copyfile(dump, copy)
    once = list(open_import([dump]).events)
    recording = open_import([dump, dump, copy, tmp_path / "case"])
    assert [event.body for event in recording.events] == [event.body for event in once]
    assert not any(isinstance(event.body, SourceGap) for event in once)
    assert sum(f"the same as {dump}: taken once" in note for note in recording.notes) == 3


def test_nothing_changed_between_two_dumps_is_a_fact(tmp_path: Path) -> None:
    """The same bytes at another time are not the same dump: what it tells was still so."""
    first = write(tmp_path / "a", a_list(as_kubectl(told.pv("Pending"))))
    second = write(tmp_path / "b", a_list(as_kubectl(told.pv("Pending"))), at=START + HOUR)
    assert folded(list(open_import([first, second]).events)).at == START + HOUR


def test_a_log_given_twice_is_read_once(tmp_path: Path) -> None:
    """Its calls would be counted double."""
    path = log(tmp_path / "a.log", *an_attach())
    copy = log(tmp_path / "copy.log", *an_attach(), at=START + 2 * DAY)
    recording = open_import([path, copy], hints=Hints(driver=told.DRIVER))
    assert sum(isinstance(event.body, RpcFinished) for event in recording.events) == 1
    assert any(f"{copy}: the same as {path}: not read again" in note for note in recording.notes)


def test_the_same_mounts_on_two_nodes_are_mounts_of_both(tmp_path: Path) -> None:
    """A mount table says neither its node nor its time: the same bytes again are another fact."""
    line = f"100 1 0:50 / {told.TARGET} rw - fuse.csitrace ref rw"
    tables = [log(tmp_path / f"{node}.mountinfo", line) for node in ("n1", "n2")]
    bodies = [event.body for event in open_import(tables).events]
    assert [body.node_name for body in bodies if isinstance(body, MountAppeared)] == ["n1", "n2"]


def test_two_people_dump_their_namespaces(tmp_path: Path) -> None:
    """Each list is all of its namespace, and says nothing of the other's; what none may list is unknown."""
    mine = as_kubectl(told.claim(), 5)
    theirs = as_kubectl(told.claim(), 6)
    theirs["metadata"] |= {"namespace": "bank", "uid": "u-bank"}
    first = write(tmp_path / "mine.yaml", a_list(mine), "yaml")
    second = write(tmp_path / "theirs.json", a_list(theirs), at=START + MINUTE)
    bodies = [event.body for event in open_import([first, second]).events]
    listed = {body.scope for body in bodies if isinstance(body, ListCompleted)}
    assert listed == {"PersistentVolumeClaim/shop", "PersistentVolumeClaim/bank"}
    assert [body.object.namespace for body in bodies if isinstance(body, ObjectListed)] == ["shop", "bank"]
    assert not any(isinstance(body, ObjectDeleted) for body in bodies)


def test_a_log_whose_file_time_is_none_has_the_disks(tmp_path: Path) -> None:
    """1970 or 1980, as archives made to be reproducible have it, is when nothing of this was: not of that year at least."""
    path = log(tmp_path / "a.log", header(1) + "GRPC call: " + PUBLISH, at=0)
    (at,) = starts(path)
    assert at > ns("2016-01-01T00:00:00Z")
