"""All of a recording: nothing of a volume is lost because a state let go of it, and both that fold it say the same."""

import random

import pytest
from msgspec.structs import replace

from csitrace.lifecycle.chronicle import Chronicle, Life, chronicle
from csitrace.lifecycle.retention import CALLS_KEPT
from csitrace.lifecycle.samples import SPAN, STEP, UNFINISHED, gather
from csitrace.lifecycle.snapshot import snapshot
from csitrace.lifecycle.state import Call
from csitrace.model import events
from csitrace.model.events import Body, TraceEvent, Witness
from csitrace.model.times import MILLISECOND
from tests import story
from tests.story import DRIVER, NODE, STAGING, START, Story, straight_road, way_back_road


def whole_life() -> list[TraceEvent]:
    return way_back_road(dict(straight_road())["17"]).events


def told(bodies: list[Body]) -> list[TraceEvent]:
    """The facts as one recording, a tenth of a second apart."""
    return [
        TraceEvent(seq=seq, observed_at=START + seq * 100 * MILLISECOND, occurred_at=START + seq * 100 * MILLISECOND, body=body)
        for seq, body in enumerate(bodies, 1)
    ]  # fmt: skip


def only(chronicled: Chronicle) -> Life:
    (life,) = chronicled.lives
    return life


def heard(call: Call) -> tuple[str, int, int | None, int | None]:
    return call.method, call.started_at, call.finished_at, call.code


@pytest.mark.parametrize("seed", range(12))
def test_statistics_and_chronicle_tell_of_the_same_spans_and_steps(seed: int) -> None:
    """Whatever part of a life was recorded, in whatever order: each span of one is a sample of the other, as long, if it was ever
    done."""
    chance = random.Random(seed)
    bodies = [event.body for event in whole_life() if chance.random() < 0.8]
    if seed % 3 == 0:
        chance.shuffle(bodies)
    recording = told(bodies)
    ended = chronicle(recording)
    spans = sorted(
        (span.name, span.started_at, max(0, span.ended_at - span.started_at) if span.outcome == "ok" else None)
        for life in ended.lives for span in life.spans if span.name != "FUSE hang"
    )  # fmt: skip
    samples = gather(recording).samples
    assert spans == sorted((s.name, s.started_at, s.took_ns) for s in samples if s.kind == SPAN)
    done = {
        (step.step_id, step.at, step.took_ns)
        for life in ended.lives for way in life.ways for step in way.steps
        if step.took_ns is not None and step.at is not None
    }  # fmt: skip
    assert {(s.name, s.started_at + (s.took_ns or 0), s.took_ns) for s in samples if s.kind == STEP} == done


def test_a_pod_that_was_let_go_has_left_its_steps() -> None:
    """A state keeps the last few pods that ended; the whole recording has them all, each with its own times."""
    road = dict(straight_road())["17"]
    last = 6
    for number in range(last):
        uid, name = f"uid-later-{number}", f"later-{number}"
        road.put(story.pod(NODE, "running", "Running", started=True, name=name, uid=uid))
        road.remove(story.pod(NODE, "terminated", "Succeeded", started=True, name=name, uid=uid))
    life = only(chronicle(road.events))
    assert len(life.volume.uses) < 1 + last
    pods = [way.pod for way in life.ways if way.name == "forward"]
    assert sorted(pods) == ["later-0", "later-1", "later-2", "later-3", "later-4", "later-5", "web-0"]
    assert pods[: len(life.volume.uses)] == [use.pod.name for use in life.volume.uses]


def test_a_call_that_its_driver_left_is_known_as_abandoned() -> None:
    """Nobody answers it: that the driver came up anew is what ends it, in the chronicle as in the statistics."""
    road = dict(straight_road())["15"]
    road.call("NodeStageVolume", volume_id=story.HANDLE, staging_target_path=STAGING)
    road.tell(events.SourceUp(witness=Witness.DRIVER, scope=f"{DRIVER}@{NODE}", instance="run-2"))
    life = only(chronicle(road.events))
    assert life.calls[-1].abandoned
    assert life.spans[-1].outcome == "abandoned"
    (stage,) = (sample for sample in gather(road.events).samples if sample.name == "stage")
    assert stage.errors == ("abandoned",)


def test_the_calls_of_a_volume_before_it_had_its_name_are_all_its_own() -> None:
    """More refusals than a state keeps, before anything but the driver told of the volume: its claim and PV come later."""
    road = Story().hear_everyone()
    for _ in range(CALLS_KEPT + 36):
        road.rpc("NodeStageVolume", 13, "no", staging_target_path=STAGING)
    road.put(story.storage_class()).put(story.claim("Bound", story.PV_NAME)).put(story.pv())
    life = only(chronicle(road.events))
    assert len(life.calls) == CALLS_KEPT + 36
    assert life.facts[0].text.startswith("NodeStageVolume")
    (stage,) = (sample for sample in gather(road.events).samples if sample.name == "stage")
    assert (stage.attempts, stage.outcome) == (CALLS_KEPT + 36, "INTERNAL")


@pytest.mark.parametrize("returns", [True, False])
def test_what_was_before_a_gap_stays(returns: bool) -> None:
    """Facts are missing, and what is left is told anew: the volume keeps its facts and calls, whether or not it is still there.
    What is told twice is counted once."""
    road = dict(straight_road())["17"]
    before, steps = (
        only(chronicle(road.events)),
        {s.name for s in gather(road.events).samples if s.kind == STEP},
    )
    again = list(snapshot(road.state)) if returns else []
    assert not returns or any(isinstance(event.body, events.VolumeRecalled) for event in again)
    gap = replace(
        road.tell(events.RecordingGap(reason="slow disk", lost=7, retold=True)), seq=road.state.seq + 7
    )
    later = [replace(event, seq=seq, observed_at=road.at) for seq, event in enumerate(again, gap.seq + 1)]
    recording = [*road.events[:-1], gap, *later]
    after = only(chronicle(recording))
    assert [heard(call) for call in after.calls] == [heard(call) for call in before.calls]
    assert after.facts[: len(before.facts)] == before.facts
    assert [span for span in after.spans if span.outcome == "ok"] == list(before.spans)
    samples = gather(recording).samples
    assert UNFINISHED not in {sample.outcome for sample in samples}
    assert {sample.name for sample in samples if sample.kind == STEP} >= steps
    found = [(sample.kind, sample.name, sample.node) for sample in samples]
    assert len(found) == len(set(found))
