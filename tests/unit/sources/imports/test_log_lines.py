"""The lines of logs as they are found: wrapped, in JSON, cut in the middle, of several lines."""

import json
from pathlib import Path

import pytest

from csitrace.model.events import RpcFinished, RpcStarted, TraceEvent
from csitrace.model.times import DAY, MILLISECOND, SECOND, format_rfc3339, parse_rfc3339
from csitrace.sources.imports.hints import Hints
from csitrace.sources.imports.importing import open_import
from csitrace.sources.recording import Recording
from tests import story as told
from tests.story import START
from tests.unit.sources.imports.test_logs import PUBLISH, header, log

HINTS = Hints(driver=told.DRIVER)
REQUEST = '{"node_id":"n1","volume_id":"vol-1"}'


def calls_of(recording: Recording) -> list[TraceEvent]:
    return [event for event in recording.events if isinstance(event.body, RpcStarted | RpcFinished)]


def one_call(recording: Recording) -> tuple[TraceEvent, RpcStarted, RpcFinished]:
    started, finished = calls_of(recording)
    assert isinstance(started.body, RpcStarted)
    assert isinstance(finished.body, RpcFinished)
    return started, started.body, finished.body


def an_attach(second: float = 1) -> list[str]:
    return [
        header(second) + "GRPC call: " + PUBLISH,
        header(second) + "GRPC request: " + REQUEST,
        header(second + 1) + "GRPC response: {}",
        header(second + 1) + "GRPC error: rpc error: code = Internal desc = no path",
    ]


@pytest.mark.parametrize(
    ("before", "year"),
    [
        ("2025-01-02T10:00:01.001Z ", 2025),
        ("2025-01-02T10:00:01.001234567Z stderr F ", 2025),
        ("[pod/csi-attacher-0/csi-attacher] 2025-01-02T10:00:01.001Z ", 2025),
        ("[pod/csi-attacher-0/csi-attacher] ", 2026),
        ("2025-01-02T10:00:01+0000 n1 kubelet[1701]: ", 2025),
        ("2025-01-02T10:00:01.123456+00:00 n1 k3s[1701]: ", 2025),
        ("Jan 02 10:00:01 n1 kubelet[1701]: ", 2026),
        ("Jan  2 10:00:01.000123 n1 kubelet: ", 2026),
    ],
)
def test_what_was_put_before_a_line_is_known(tmp_path: Path, before: str, year: int) -> None:
    """kubectl's --timestamps and --prefix, containerd's and CRI-O's files, journalctl: whoever says the year is believed."""
    path = log(tmp_path / "a.log", *(before + line for line in an_attach()))
    event, started, finished = one_call(open_import([path], hints=HINTS))
    assert event.occurred_at == parse_rfc3339(f"{year}-01-02T10:00:01Z")
    assert (started.volume_id, finished.code) == ("vol-1", 13)


def test_dockers_files_are_read(tmp_path: Path) -> None:
    """json-file: each line, or a part of a long one, in an object that says when it was written."""
    lines = an_attach()
    parts = [lines[0] + "\n", lines[1][:60], lines[1][60:] + "\n", lines[2] + "\n", lines[3] + "\n"]
    path = log(
        tmp_path / "a-json.log",
        *(json.dumps({"log": p, "stream": "stderr", "time": "2025-01-02T10:00:01.1Z"}) for p in parts),
    )
    event, started, _ = one_call(open_import([path], hints=HINTS))
    assert event.occurred_at == parse_rfc3339("2025-01-02T10:00:01Z")
    assert started.volume_id == "vol-1"


@pytest.mark.parametrize("offset", [-8, -3.5, 0, 2, 5.75, 13])
def test_the_zone_follows_from_the_time_before_a_line(tmp_path: Path, offset: float) -> None:
    """A kubelet whose clock is not in UTC: the runtime's time before its line is, and the difference is the zone."""
    at = parse_rfc3339("2025-01-02T10:00:01Z")
    assert at is not None
    utc = at - int(offset * 3_600 * SECOND)
    path = log(
        tmp_path / "a.log", *(f"{format_rfc3339(utc + 40 * MILLISECOND)} {line}" for line in an_attach())
    )
    event, _, finished = one_call(open_import([path], hints=HINTS))
    assert event.occurred_at == utc
    assert finished.duration_ns == SECOND


def test_lines_that_a_runtime_has_cut_are_put_together(tmp_path: Path) -> None:
    """CRI: `P` is a part of a line, `F` its end; the two streams are told apart, and a part without its end is counted."""
    call, request, *answer = an_attach()
    path = log(
        tmp_path / "0.log",
        f"2025-01-02T10:00:01Z stderr F {call}",
        f"2025-01-02T10:00:01Z stderr P {request[:70]}",
        "2025-01-02T10:00:01Z stdout F something else",
        f"2025-01-02T10:00:01Z stderr F {request[70:]}",
        *(f"2025-01-02T10:00:02Z stderr F {line}" for line in answer),
        f"2025-01-02T10:00:03Z stderr P {call}",
    )
    recording = open_import([path], hints=HINTS)
    _, started, _ = one_call(recording)
    assert (started.volume_id, started.node_id) == ("vol-1", "n1")
    assert any("1 lines whose end is missing" in note for note in recording.notes)


def as_json(second: float, message: str, **more: object) -> str:
    """component-base, `--logging-format=json`."""
    ts = (START + int(second * SECOND)) / 1_000_000
    return json.dumps({"ts": ts, "caller": "rpc/common.go:76", "msg": message, "v": 5, **more})


@pytest.mark.parametrize("request_", [REQUEST, json.loads(REQUEST)])
def test_json_logs_tell_calls_with_exact_times(tmp_path: Path, request_: object) -> None:
    """`ts` has the year and no zone to guess; no error is null or absent, one is text."""
    path = log(
        tmp_path / "a.log",
        as_json(1, "GRPC call", method=PUBLISH, request=request_),
        as_json(2.5, "GRPC response", response="{}", err="rpc error: code = NotFound desc = no n1"),
        as_json(3, "GRPC call", method=PUBLISH, request=request_),
        as_json(4, "GRPC response", response="{}", err=None),
        at=START + 900 * DAY,
    )
    recording = open_import([path], hints=HINTS)
    started, finished, _, again = calls_of(recording)
    assert isinstance(finished.body, RpcFinished)
    assert isinstance(again.body, RpcFinished)
    assert started.occurred_at == START + SECOND
    assert (finished.body.volume_id, finished.body.code, finished.body.message) == ("vol-1", 5, "no n1")
    assert again.body.code == 0
    assert not any("neither year nor zone" in note for note in recording.notes)


@pytest.mark.parametrize("before", ["Jan 02 10:00:01 n1 kubelet[17]: ", "2026-01-02T10:00:01Z stderr F "])
@pytest.mark.parametrize("ts", [1767348001, 1767348001000.25, "2026-01-02T10:00:01.000Z"])
def test_json_logs_are_found_behind_anything(tmp_path: Path, before: str, ts: object) -> None:
    """Seconds, milliseconds and text; in a journal, in a runtime's file."""
    line = {"level": "info", "ts": ts, "msg": "GRPC call", "method": PUBLISH, "request": REQUEST}
    path = log(tmp_path / "a.log", before + json.dumps(line))
    (started,) = calls_of(open_import([path], hints=HINTS))
    assert started.occurred_at // SECOND == START // SECOND + 1


def test_an_error_of_several_lines_is_one(tmp_path: Path) -> None:
    """klog writes text with line breaks as it is, and such a value indented between `<` and ` >`."""
    path = log(
        tmp_path / "a.log",
        *an_attach()[:3],
        header(2, level="E") + "GRPC error: rpc error: code = Internal desc = mount failed: exit status 32",
        "Output: mount: /mnt: no such device",
        header(3) + f'"GRPC call" method="{PUBLISH}" request={json.dumps(REQUEST)}',
        header(4) + '"GRPC response" response="{}" err=<',
        "\trpc error: code = NotFound desc = gone",
        "\tfor good",
        " >",
        header(5) + "something else",
    )
    recording = open_import([path], hints=HINTS)
    ends = [event.body for event in calls_of(recording) if isinstance(event.body, RpcFinished)]
    assert [(end.code, end.message) for end in ends] == [
        (13, "mount failed: exit status 32\nOutput: mount: /mnt: no such device"),
        (5, "gone\nfor good"),
    ]
    assert any("4 lines that go on from the one before" in note for note in recording.notes)


def test_a_log_torn_at_both_ends_tells_what_lies_between(tmp_path: Path) -> None:
    """The rest of a line is no line; an answer whose error would have come next is not taken for success."""
    path = log(tmp_path / "a.log", "17 connection.go:1] GRPC req", *an_attach(1), *an_attach(5)[:3])
    path.write_bytes(path.read_bytes() + header(6).encode()[:25])
    recording = open_import([path], hints=HINTS)
    events = calls_of(recording)
    assert [type(event.body) for event in events] == [RpcStarted, RpcFinished, RpcStarted]
    assert any("2 lines without a header of klog" in note for note in recording.notes)


def test_a_journal_names_the_machine_where_nothing_names_the_node(tmp_path: Path) -> None:
    """A host's name is often the node's, but need not be: it is said, not taken."""
    path = log(
        tmp_path / "driver.log",
        "Jan 02 10:00:01 ip-10-0-0-1 driver[7]: " + header(1) + "GRPC call: /csi.v1.Node/NodeStageVolume",
        "Jan 02 10:00:01 ip-10-0-0-1 driver[7]: " + header(1) + "GRPC request: " + REQUEST,
    )
    recording = open_import([path], hints=HINTS)
    assert any(
        "journald names the machine ip-10-0-0-1" in note and "--node" in note for note in recording.notes
    )


def test_unended_quotes_do_not_take_long(tmp_path: Path) -> None:
    """A line that is all keys and quotes that never end is gone through once: its values end with it."""
    line = header(1) + f'"GRPC call" method="{PUBLISH}"' + ' a="\\"' * 30_000
    (started,) = calls_of(open_import([log(tmp_path / "a.log", line)], hints=HINTS))
    assert isinstance(started.body, RpcStarted)
    assert started.body.method == PUBLISH
