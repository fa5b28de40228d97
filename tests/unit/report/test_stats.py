"""Statistics and comparisons, printed."""

import json
from pathlib import Path

import pytest

from csitrace.cli import main
from csitrace.lifecycle.comparison import compare
from csitrace.lifecycle.samples import SPAN, Gathered, Sample, Subject, gather
from csitrace.lifecycle.statistics import EDGES, summaries
from csitrace.model.times import MILLISECOND
from csitrace.report.bars import bounds
from csitrace.report.diff import DiffReport, diff_json, diff_table, diff_wide
from csitrace.report.stats import StatsReport, stats_json, stats_table, stats_wide
from csitrace.sources import recording
from csitrace.sources.recording import Recording
from tests.story import straight_road, way_back_road


def attaches(first_ms: int, count: int = 20, *errors: str) -> list[Sample]:
    took = [None if errors else (first_ms + i) * MILLISECOND for i in range(count)]
    outcome = errors[-1] if errors else "ok"
    return [Sample(SPAN, "attach", Subject(), "n1", 0, t, outcome, 1, errors) for t in took]


def life() -> Gathered:
    return gather(way_back_road(dict(straight_road())["17"]).events)


def test_a_table_fits_80_columns_and_ascii_is_ascii() -> None:
    """Every line, with every span and step there is; every bucket has a name."""
    gathered = life()
    for ascii_only in (False, True):
        text = stats_table(StatsReport("x", gathered, summaries(gathered.samples), (), "", ascii_only))
        assert max(map(len, text.splitlines())) <= 80
        assert text.isascii() == ascii_only
    assert "not measured: 9 known to the second only" in text
    wide = stats_wide(StatsReport("x", gathered, summaries(gathered.samples, ["node"]), ["node"]))
    assert "node n1" in wide
    assert "100ms-200ms " + "█" * 40 + " 1" in wide
    assert [bounds(place) for place in (0, 1, len(EDGES))] == ["< 1ms", "1ms-2ms", ">= 5000s"]


def test_what_did_not_end_well_is_said_to_be_in_no_time() -> None:
    """Two attachments that failed have no times, and the table says so."""
    samples = attaches(5, 3) + attaches(0, 2, "INTERNAL")
    *_, blank, last = stats_table(StatsReport("x", Gathered(), summaries(samples))).splitlines()
    assert (blank, last) == ("", "not ok: 2, given up or not over at the end; in no P50, P95 or MAX")
    *_, last = stats_table(StatsReport("x", Gathered(), summaries(attaches(5, 3)))).splitlines()
    assert last.startswith("attach")


def test_nothing_is_said_to_be_nothing() -> None:
    """No samples, or none that pass, is a sentence and no empty table."""
    gathered = life()
    assert stats_table(StatsReport("x", Gathered(), [])) == "x: no span and no step in its 0 events"
    assert "matches ns:dev" in stats_table(StatsReport("x", gathered, [], (), "ns:dev"))
    assert json.loads(stats_json(StatsReport("x", Gathered(), [])))["rows"] == []
    assert "neither has a span or a step" in diff_table(DiffReport("x", "y", []))


def test_a_difference_is_told_and_chance_is_counted() -> None:
    """The table names what differs; the rest is one line. JSON has every row."""
    report = DiffReport("x", "y", compare(attaches(500), attaches(1500)))
    assert "slower x3" in diff_table(report)
    assert report.is_worse
    (row,) = json.loads(diff_json(report))["rows"]
    assert (row["verdict"], row["a"]["n"], row["b"]["p50Ms"]) == ("slower", 20, 1509.0)
    failing = DiffReport("x", "y", compare(attaches(500), attaches(0, 20, "INTERNAL")))
    assert "newly fails: 0 of 20, 20 of 20 (INTERNAL)" in diff_table(failing)
    same = DiffReport("x", "y", compare(attaches(500), attaches(500)))
    assert diff_table(same).splitlines()[2:] == ["", "nothing of 1 differs, 1 no more than chance makes"]
    few = DiffReport("x", "y", compare(attaches(500, 4), attaches(500, 4)))
    assert max(map(len, diff_wide(few).splitlines())) <= 80
    assert "too few to tell" in diff_wide(few)


def test_commands_end_with_what_they_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`stats` tells one recording; `diff` of one with itself is quiet and ends with 0."""
    events = way_back_road(dict(straight_road())["17"]).events
    monkeypatch.setattr(
        recording, "open_recording", lambda paths: Recording(paths[0].name, events, ["a note"])
    )
    file = tmp_path / "a.csitrace"
    file.touch()
    assert main(["stats", str(file), "--by", "class", "--ascii"]) == 0
    told = capsys.readouterr()
    assert "class fast" in told.out
    assert told.err == "a note\n"
    assert main(["diff", str(file), str(file), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["worse"] is False
    assert main(["stats", str(file), "--filter", "phase:created"]) == 2
    assert "no field 'phase'" in capsys.readouterr().err
