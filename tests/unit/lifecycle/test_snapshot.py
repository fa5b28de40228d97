"""A state told as events: folded from nothing they show the same, and go on the same, wherever it is cut."""

from dataclasses import replace as replaced
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from csitrace.lifecycle.drivers import driver_views
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.ladder import ladder, way_back
from csitrace.lifecycle.nodes import node_views
from csitrace.lifecycle.row import volume_rows
from csitrace.lifecycle.snapshot import snapshot
from csitrace.lifecycle.state import State
from csitrace.model import events
from csitrace.model.events import TraceEvent, Witness
from csitrace.model.fuse import OpCount
from csitrace.model.times import MINUTE, SECOND
from tests import fleet, story
from tests.story import Story, straight_road, way_back_road


def refolded(state: State) -> State:
    again = State()
    for number, event in enumerate(snapshot(state), 1):
        again = fold(again, replace(event, seq=number))
    return again


def shown(state: State, *later: int) -> list[object]:
    """All that views show of a state, at its own time and so much `later`, but for where in the order the evidence is."""
    told: list[object] = [(sorted(state.others.items()), state.gone, [a.text for a in state.anomalies])]
    for key, volume in sorted(state.volumes.items()):
        for use in (*volume.uses, None):
            steps = (*ladder(state, volume, use), *way_back(state, volume, use))
            told.append(
                (key, use and use.pod_uid, [(s.step_id, s.status, s.at, s.stamp, s.note) for s in steps])
            )
    told.append([(key, source) for key, source in sorted(state.sources.items())])
    told.append([(key, replace(each, samples=(), changed_seq=0)) for key, each in sorted(state.fuse.items())])
    for now in (state.at + each for each in (0, *later)):
        rows = volume_rows(state, now)
        for row in rows:
            evidence = sorted((e.witness, e.text, e.at or 0, bool(e.seq)) for e in row.verdict.evidence)
            told.append((replaced(row, changed_seq=0, verdict=replaced(row.verdict, evidence=())), evidence))
        for view in (*node_views(state, rows, now), *driver_views(state, rows, now)):
            told.append((view.name, view.severity, view.finding))
    return told


def lives() -> dict[str, list[TraceEvent]]:
    """Stories with all that can be known of a volume: gone, found, called about, abandoned, counted, fallen silent."""
    told = Story()
    straight_road(told)
    way_back_road(told)
    small = fleet.fleet()
    restarted = Story()
    straight_road(restarted)
    restarted.call("NodeUnstageVolume", volume_id=story.HANDLE)
    restarted.rpc("NodeUnpublishVolume", 13, "target is busy", target_path=story.TARGET)
    up = events.SourceUp(witness=Witness.DRIVER, scope=f"{story.DRIVER}@{story.NODE}", instance="run-2")
    restarted.tell(up)
    restarted.put(story.happened("FailedMount", "no", story.pod()))
    restarted.tell(events.SourceDown(witness=Witness.KERNEL, scope=story.NODE, reason="gone quiet"))
    restarted.tell(events.SourceGap(witness=Witness.KUBERNETES, scope="Pod", reason="relisted"))
    counted = Story()
    straight_road(counted)
    for number in range(130):
        ops = {
            "READ": OpCount(count=number, errors={"EIO": 1}, bytes=9, latency_ns_sum=5, buckets=(1, number))
        }
        counted.tell(
            events.FuseCounted(node_name=story.NODE, connection=50, volume_id=story.HANDLE, interval_ns=SECOND, ops=ops)
        )  # fmt: skip
    counted.tell(events.FuseObserved(node_name=story.NODE, connection=50, waiting=3))
    counted.tell(events.FuseObserved(node_name=story.NODE, connection=50, waiting=2, init_answered=True))
    found = Story().find(story.claim("Bound", story.PV_NAME)).find(story.pv()).find(story.pod(story.NODE))
    found.find(story.attachment(attached=True, finalizer=True)).hear_everyone()
    found.rpc("NodeStageVolume", 14, "later", staging_target_path=story.STAGING)
    stories = {"road": told, "fleet": small, "restarted": restarted, "counted": counted, "found": found}
    return {name: each.events for name, each in stories.items()}


LIVES = lives()


@cache
def heard(name: str) -> list[tuple[State, list[object]]]:
    """The state after each fact of a life, and what it shows: the same, wherever the life is cut."""
    heard, state = [], State()
    for event in LIVES[name]:
        state = fold(state, event)
        heard.append((state, shown(state)))
    return heard


@pytest.mark.parametrize("name", LIVES)
def test_a_snapshot_shows_what_the_state_shows_wherever_it_is_made(name: str) -> None:
    """Rows, ladders, sources, FUSE counts, nodes and drivers are the same, now and as time passes."""
    state = State()
    for event in LIVES[name]:
        state = fold(state, event)
        later = (20 * SECOND, 10 * MINUTE)
        assert shown(refolded(state), *later) == shown(state, *later), event


@pytest.mark.parametrize("name", LIVES)
@settings(max_examples=25)
@given(data=st.data())
def test_what_comes_after_a_snapshot_means_the_same(name: str, data: st.DataObject) -> None:
    """The rest of the story, told to the state and to its snapshot, shows the same after every fact."""
    told = heard(name)
    cut = data.draw(st.integers(1, len(told)))
    again = refolded(told[cut - 1][0])
    for event, (_, shows) in zip(LIVES[name][cut : cut + 40], told[cut : cut + 40], strict=True):
        again = fold(again, replace(event, seq=again.seq + 1))
        assert shown(again) == shows, event


def test_a_snapshot_of_a_snapshot_is_the_same_snapshot() -> None:
    """Nothing wears off when a recording of a recording is rotated."""
    for told in LIVES.values():
        state = State()
        for event in told:
            state = fold(state, event)
        once = refolded(state)
        assert list(snapshot(once)) == list(snapshot(state))


def test_facts_that_are_missing_and_told_again_leave_nothing_of_before() -> None:
    """After a gap that is retold, only what is told again is known; how many are missing is counted."""
    told = Story()
    straight_road(told)
    told.tell(events.RecordingGap(reason="the disk is full", lost=7, retold=True))
    assert not told.state.volumes
    assert not told.state.objects
    assert told.state.events_lost == 7
    told.tell(events.RecordingGap(reason="a block cannot be read", lost=3))
    assert told.state.events_lost == 10
