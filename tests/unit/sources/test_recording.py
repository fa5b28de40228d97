"""Several files as one recording: ordered as far as there is an order, and not claimed to be where there is none."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from csitrace.errors import TraceError
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.snapshot import snapshot
from csitrace.lifecycle.state import State
from csitrace.model.events import Marked, RecordingGap, TraceEvent
from csitrace.model.times import SECOND
from csitrace.sources.recording import open_recording
from csitrace.trace.writer import TraceWriter, new_header
from tests.story import START, Story, straight_road, way_back_road


def write(
    path: Path,
    events: Sequence[TraceEvent],
    *,
    recording: str = "",
    part: int = 1,
    known: Sequence[TraceEvent] = (),
) -> Path:
    writer = TraceWriter(path, new_header(path.stem, 1, events[0].seq, recording, part))
    writer.write_snapshot(known)
    writer.write(events)
    writer.flush()
    writer.close()
    return path


def marks(name: str, *seconds: float) -> list[TraceEvent]:
    ats = [START + int(second * SECOND) for second in seconds]
    return [
        TraceEvent(seq=seq, observed_at=at, occurred_at=at, body=Marked(text=f"{name}{seq}"))
        for seq, at in enumerate(ats, 1)
    ]


def texts(events: Sequence[TraceEvent]) -> list[str]:
    return [
        event.body.text if isinstance(event.body, Marked) else type(event.body).__name__ for event in events
    ]


def test_recordings_of_the_same_time_are_merged_and_the_order_is_not_claimed(tmp_path: Path) -> None:
    """By our time of them, each in its own order, with seqs of the whole; a note says what is not known."""
    a = write(tmp_path / "a.csitrace", marks("a", 1, 3, 3, 9))
    b = write(tmp_path / "b.csitrace", marks("b", 2, 3, 4))
    recording = open_recording([b, a])
    events = list(recording.events)
    assert texts(events) == ["a1", "b1", "a2", "a3", "b2", "b3", "a4"]
    assert [event.seq for event in events] == list(range(1, 8))
    (note,) = recording.notes
    assert "less than 2.0s apart" in note
    assert list(recording.events) == events


def test_a_clock_that_is_set_back_does_not_change_the_order_within_a_file(tmp_path: Path) -> None:
    """A file's own order is that of its seqs, whatever its times say."""
    a = write(tmp_path / "a.csitrace", marks("a", 5, 1, 6))
    b = write(tmp_path / "b.csitrace", marks("b", 2, 4))
    told = texts(list(open_recording([a, b]).events))
    assert [text for text in told if text.startswith("a")] == ["a1", "a2", "a3"]


def test_recordings_of_different_times_follow_each_other(tmp_path: Path) -> None:
    """What was known in the first does not count in the second: it was told anew, and what happened meanwhile is not known."""
    told = Story()
    straight_road(told)
    first = write(tmp_path / "monday.csitrace", told.events)
    second = write(tmp_path / "tuesday.csitrace", marks("b", 86_400, 86_401))
    recording = open_recording([second, first])
    state = State()
    for event in recording.events:
        state = fold(state, event)
    assert not state.volumes
    assert isinstance(list(recording.events)[len(told.events)].body, RecordingGap)
    assert not recording.notes
    assert recording.title == "2 recordings: monday, tuesday"


def test_the_parts_of_one_recording_are_that_recording(tmp_path: Path) -> None:
    """In whatever order they are named; what a part tells anew is left out, but for the first that is there."""
    told = Story()
    straight_road(told)
    way_back_road(told)
    cuts, state, parts = (0, 25, 50, len(told.events)), State(), []
    for number in range(3):
        events = told.events[cuts[number] : cuts[number + 1]]
        known = list(snapshot(state)) if number else ()
        name = tmp_path / f"{number}.csitrace"
        parts.append(write(name, events, recording="one", part=number + 1, known=known))
        for event in events:
            state = fold(state, event)
    assert list(open_recording(parts[::-1]).events) == told.events
    assert list(open_recording([tmp_path]).events) == told.events
    later = State()
    for event in open_recording(parts[1:]).events:
        later = fold(later, event)
    assert set(later.volumes) == set(state.volumes)
    holes = [
        event.body
        for event in open_recording([parts[0], parts[2]]).events
        if isinstance(event.body, RecordingGap)
    ]
    assert [(hole.lost, hole.retold) for hole in holes] == [(25, True)]


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """A directory without recordings, a missing file, one file among several that is none."""
    good = write(tmp_path / "a.csitrace", marks("a", 1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no")
    for paths in ([tmp_path / "empty"], [tmp_path / "missing"], [good, tmp_path / "text"], []):
        with pytest.raises(TraceError):
            open_recording(paths)


def test_a_damaged_file_among_several_is_noted(tmp_path: Path) -> None:
    """The notes of each file are those of the recording, once its events are read."""
    good = write(tmp_path / "a.csitrace", marks("a", 1))
    torn = write(
        tmp_path / "b.csitrace",
        [replace(event, observed_at=event.observed_at + 1) for event in marks("b", 1)],
    )
    os.truncate(torn, torn.stat().st_size - 3)
    recording = open_recording([good, torn])
    assert texts(list(recording.events)) == ["a1"]
    assert any("torn off" in note for note in recording.notes)


def test_a_recording_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    """Nothing can be shown of it, and nothing holds of it: it is not one without volumes."""
    path = write(tmp_path / "torn.csitrace", marks("a", 0, 1))
    content = path.read_bytes()
    path.write_bytes(content[:-8])
    with pytest.raises(TraceError, match="no fact in it"):
        list(open_recording([path]).events)
