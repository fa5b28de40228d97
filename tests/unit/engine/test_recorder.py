"""The recorder: what a session takes in is in the file, whoever kills what; nothing of it holds the session up."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from csitrace.engine import recorder as recording
from csitrace.engine.recorder import Recorder
from csitrace.engine.session import Session
from csitrace.errors import TraceError
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.history import KEYFRAME_EVERY, History
from csitrace.lifecycle.state import State
from csitrace.model.events import Marked, Observation, RecordingGap, TraceEvent
from csitrace.sources.recording import open_recording
from csitrace.trace.reader import TraceReader
from csitrace.trace.rotation import Bounds, RotatingWriter
from csitrace.trace.writer import TraceWriter
from tests.story import Story, straight_road, way_back_road
from tests.unit.lifecycle.test_snapshot import shown

DEADLINE_SECONDS = 30.0


def road() -> list[Observation]:
    told = Story()
    straight_road(told)
    events = way_back_road(told).events
    return [Observation(body=e.body, occurred_at=e.occurred_at, stamp=e.stamp) for e in events]


def marks(count: int) -> list[Observation]:
    return [Observation(body=Marked(text=f"m{number}")) for number in range(count)]


mount = os.system


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not true():  # noqa: ASYNC110 - a thread makes it true, which knows no event of ours
            await asyncio.sleep(0.01)


def folded(events: Sequence[TraceEvent]) -> State:
    state = State()
    for event in events:
        state = fold(state, event)
    return state


async def test_a_replayed_recording_has_the_states_of_the_live_session(tmp_path: Path) -> None:
    """Recorded from its beginning, the state after every seq equals the live history's, and so does every event."""
    session, path = Session("live"), tmp_path / "x.csitrace"
    recorder = Recorder(session, path)
    recorder.start()
    told = road()
    for start in range(0, len(told), 5):
        session.take(told[start : start + 5])
        await asyncio.sleep(0)
    status = await recorder.stop()
    assert (status.events, status.lost, status.trouble, status.recording) == (len(told), 0, "", False)
    assert status.bytes == path.stat().st_size
    recorded = open_recording([path])
    assert recorded.title == "live"
    state = State()
    for event in recorded.events:
        assert event == session.history.event(event.seq)
        state = fold(state, event)
        assert state == session.history.state_at(event.seq)
    assert state == session.history.tail
    assert not recorded.notes


async def test_begun_in_the_middle_it_has_all_that_the_history_has(tmp_path: Path) -> None:
    """What came before the key was pressed is in the file; where the history no longer begins at 0, a snapshot is."""
    for kept, lead in ((10_000, 0), (KEYFRAME_EVERY, KEYFRAME_EVERY * 3)):
        session = Session("live", history=History(events_kept=kept))
        told = road()
        session.take(told[:40])
        session.take(marks(lead))
        path = tmp_path / f"{kept}.csitrace"
        recorder = Recorder(session, path)
        recorder.start()
        session.take(told[40:])
        await recorder.stop()
        events = list(open_recording([path]).events)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert (len(events) == session.history.tail_seq) is (lead == 0)
        again = folded(events)
        assert shown(again, again.at) == shown(session.history.tail, again.at)


async def test_what_the_disk_is_too_slow_for_is_counted_marked_and_made_good(tmp_path: Path) -> None:
    """A burst larger than the queue is let go; the file says how many facts are missing, and what is known by then."""
    session, path = Session("live"), tmp_path / "x.csitrace"
    recorder = Recorder(session, path, queued=50)
    recorder.start()
    told = road()
    session.take(told[:20])
    session.take(told[20:] + marks(51))
    lost = len(told) - 20 + 51
    assert recorder.status.lost == lost
    await until(lambda: recorder.status.events > 20)
    session.take(marks(3))
    status = await recorder.stop()
    assert (status.lost, status.trouble) == (lost, "")
    events = list(open_recording([path]).events)
    gaps = [event.body for event in events if isinstance(event.body, RecordingGap)]
    assert gaps == [RecordingGap(reason=recording.TOO_SLOW, lost=lost, retold=True)]
    again = folded(events)
    assert again.events_lost == lost
    assert shown(again, again.at) == shown(session.history.tail, again.at)


async def test_a_full_disk_is_told_and_once_there_is_room_the_recording_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may not grow: the status says so, what is there stays whole; it may again: what was lost is marked."""
    monkeypatch.setattr(recording, "RETRY_SECONDS", 0.05)
    session, path = Session("live"), tmp_path / "x.csitrace"
    recorder = Recorder(session, path)
    recorder.start()
    session.take(road())
    await until(lambda: recorder.status.events > 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
    try:
        session.take(marks(500))
        await until(lambda: recorder.status.trouble == "the file may not grow any more")
        status = recorder.status
        assert status.lost == 500
        assert path.stat().st_size == status.bytes
        assert len(list(open_recording([path]).events)) == len(road())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await until(lambda: not recorder.status.trouble)
    session.take(marks(2))
    status = await recorder.stop()
    events = list(open_recording([path]).events)
    lost = [event.body.lost for event in events if isinstance(event.body, RecordingGap)]
    assert lost == [500]
    assert status.lost == 500
    again = folded(events)
    assert again.events_lost == 500
    assert shown(again, again.at) == shown(session.history.tail, again.at)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_a_file_system_that_is_full(tmp_path: Path) -> None:
    """A real one: the recorder goes on living, and says why it does not record."""
    if mount(f"mount -t tmpfs -o size=64k csitrace {tmp_path} 2>/dev/null"):
        pytest.skip("this root may not mount")
    session = Session("live")
    recorder = Recorder(session, tmp_path / "x.csitrace")
    try:
        recorder.start()
        for _ in range(20):
            session.take([Observation(body=Marked(text=os.urandom(4_000).hex())) for _ in range(5)])
            await asyncio.sleep(0)
        await until(lambda: recorder.status.trouble == "the disk is full")
        status = await recorder.stop()
        assert status.lost
        events = list(open_recording([tmp_path / "x.csitrace"]).events)
        assert sum(1 for event in events if isinstance(event.body, Marked)) + status.lost == 100
    finally:
        await recorder.stop()
        assert mount(f"umount {tmp_path}") == 0


async def test_rotated_parts_are_whole_alone_and_together(tmp_path: Path) -> None:
    """The latest part alone shows what the session shows; all parts together are the events of the session, once each."""
    session, path = Session("live"), tmp_path / "x.csitrace"
    recorder = Recorder(session, path, Bounds(part_bytes=3_000))
    recorder.start()
    told = road()
    for start in range(0, len(told), 10):
        before = recorder.status.bytes
        session.take(told[start : start + 10])
        await until(lambda: recorder.status.bytes > before)  # noqa: B023 - awaited in this round
    status = await recorder.stop()
    assert status.parts >= 2
    latest = folded(list(open_recording([path]).events))
    assert shown(latest, latest.at) == shown(session.history.tail, latest.at)
    together = list(open_recording([tmp_path]).events)
    assert together == list(session.history.kept())
    assert all(os.stat(tmp_path / name).st_mode & 0o777 == 0o600 for name in os.listdir(tmp_path))


def test_old_parts_go_where_all_would_be_too_large(tmp_path: Path) -> None:
    """What is kept stays below the bound; a part that is missing in between is told, and the state is that of the latest."""
    path, bounds = tmp_path / "x.csitrace", Bounds(part_bytes=4_000, total_bytes=20_000)
    writer = RotatingWriter(path, "t", 1, 1, bounds)
    state = State()
    for seq in range(1, 401):
        event = TraceEvent(seq=seq, observed_at=seq, occurred_at=seq, body=Marked(text=os.urandom(60).hex()))
        state = fold(state, event)
        writer.write([event])
        writer.flush()
        if writer.is_due(seq) and seq < 400:  # the last part is not empty
            writer.rotate(seq, seq + 1, ())
        assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= bounds.total_bytes + 200
    writer.close()
    kept = sorted(tmp_path.glob("x.*.csitrace"))
    assert writer.parts > len(kept) + 1
    kept[0].rename(tmp_path / "first")
    kept[1].unlink()
    events = list(open_recording([tmp_path / "first", path]).events)
    gaps = [event.body for event in events if isinstance(event.body, RecordingGap)]
    assert len(gaps) == 1
    assert gaps[0].retold


def test_age_ends_a_part_too(tmp_path: Path) -> None:
    """By the clock that the session has."""
    writer = RotatingWriter(tmp_path / "x", "t", 100, 1, Bounds(part_age_ns=50))
    writer.write([TraceEvent(seq=1, observed_at=1, occurred_at=1, body=Marked(text="m"))])
    assert not writer.is_due(150)
    writer.flush()
    assert not writer.is_due(149)
    assert writer.is_due(150)
    writer.close()


async def test_a_file_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    """And the session does not know of the recorder."""
    session = Session("live")
    with pytest.raises(TraceError, match="cannot make"):
        Recorder(session, tmp_path / "no" / "x").start()
    session.take(marks(1))


WRITER = """
import asyncio, sys, time
from pathlib import Path
from csitrace.engine.recorder import Recorder
from csitrace.engine.session import Session
from csitrace.model.events import Marked, Observation

async def main():
    session = Session("killed")
    recorder = Recorder(session, Path(sys.argv[1]))
    recorder.start()
    while True:
        session.take([Observation(body=Marked(text=f"{time.time_ns()}")) for _ in range(20)])
        await asyncio.sleep(0.002)

asyncio.run(main())
"""


def test_kill_9_costs_the_last_second_at_the_most(tmp_path: Path) -> None:
    """A real process, killed while it records: what it heard more than a second before is there, in order, from the first on."""
    path = tmp_path / "x.csitrace"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (path.exists() and path.stat().st_size > 20_000):
            assert time.monotonic() < deadline, "nothing is written"
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        killed_at = time.time_ns()
        process.send_signal(signal.SIGKILL)
        process.wait()
    with TraceReader.open(path) as reader:
        events = list(reader.events())
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    last = events[-1].body
    assert isinstance(last, Marked)
    assert killed_at - int(last.text) < 1_000_000_000


def test_a_writer_leaves_whole_blocks_when_a_write_fails(tmp_path: Path) -> None:
    """A block is written at once or not at all."""
    path = tmp_path / "x"
    session = Session("t")
    session.take(road())
    writer = RotatingWriter(path, "t", 1, 1, Bounds())
    writer.write(session.history.kept())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 200, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == writer.bytes
    assert isinstance(writer._part, TraceWriter)
    writer.write([replace(next(iter(session.history.kept())), seq=99)])
    writer.flush()
    writer.close()
    assert [event.seq for event in TraceReader.open(path).events() if event.seq] == [99]
