"""The facts of a history, packed: each is given back as it was, by seq and by time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from csitrace.lifecycle import history as histories
from csitrace.lifecycle.eventlog import CHUNK, EventLog
from csitrace.lifecycle.history import KEYFRAME_EVERY, History
from csitrace.model import events
from csitrace.model.events import TraceEvent
from tests.story import straight_road, way_back_road

ROAD = way_back_road(dict(straight_road())["17"]).events
LONG = CHUNK * 20  # more than is kept unpacked


def told(seq: int, at: int | None = None) -> TraceEvent:
    at = seq * 10 if at is None else at
    return TraceEvent(seq=seq, observed_at=at, occurred_at=at, body=ROAD[seq % len(ROAD)].body)


def log_of(facts: list[TraceEvent]) -> EventLog:
    log = EventLog()
    for event in facts:
        log.append(event)
    return log


def test_packed_facts_come_back_as_they_were() -> None:
    """Whatever kind of fact: what was packed is equal to what was told."""
    facts = [told(seq) for seq in range(1, LONG)]
    log = log_of(facts)
    assert list(log.events(1, LONG)) == facts
    assert [log.event(seq) for seq in (1, CHUNK, CHUNK + 1, LONG - 1)] == [
        facts[place] for place in (0, CHUNK - 1, CHUNK, LONG - 2)
    ]
    assert log.event(LONG) is None


def test_a_kind_of_fact_that_cannot_be_read_back_is_kept_as_it_is() -> None:
    """A newer program's facts are not lost by packing."""

    class Unheard(events._Body, frozen=True, kw_only=True):
        pass

    odd = TraceEvent(seq=1, observed_at=1, occurred_at=1, body=Unheard())  # type: ignore[arg-type]
    log = log_of([odd, *(told(seq) for seq in range(2, LONG))])
    assert log.event(1) is odd


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-50, 100)), min_size=1, max_size=40), st.data())
def test_places_are_found_across_gaps_and_backward_clocks(
    moves: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Seqs may have gaps and clocks may go back: time never does, and a step is always one fact."""
    facts, seq, at = [], 0, 1_000
    for gap, later in moves:
        seq, at = seq + gap, at + later
        facts.append(told(seq, at))
    log = log_of(facts)
    seqs = [event.seq for event in facts]
    times = [max(event.observed_at for event in facts[: place + 1]) for place in range(len(facts))]
    assert log.span() == (times[0], times[-1])
    asked = data.draw(st.integers(0, seq + 3))
    known = [each for each in seqs if each <= asked]
    assert log.upto(asked) == (known[-1] if known else 0)
    assert log.moved(asked, 1) == seqs[min(len(known), len(seqs) - 1)]
    assert log.moved(asked, -1) == (known[-2] if len(known) > 1 else 0)
    when = data.draw(st.integers(900, 5_000))
    came = [each for each, time in zip(seqs, times, strict=True) if time <= when]
    assert log.seq_at(when) == (came[-1] if came else 0)
    assert sum(log.counts([times[0], when, max(when, times[-1] + 1)])) in (len(seqs), len(seqs) - len(came))


def test_a_history_that_keeps_everything_gives_every_state_however_rare_its_keyframes(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Keyframes get rarer in a long history; the states between them are still those that were."""
    monkeypatch.setattr(histories, "KEYFRAMES_KEPT", 4)
    history, seen = History(events_kept=None), {}
    for seq in range(1, KEYFRAME_EVERY * 24):
        state = history.append(told(seq))
        if seq % 97 == 0:
            seen[seq] = state
    assert history.first_seq == 0
    assert len(history._keyframes) <= 5
    for seq in sorted(seen, key=lambda seq: seq * 7919 % 1000):
        assert history.state_at(seq) == seen[seq], seq


def test_a_history_knows_its_marks_and_when_something_had_failed() -> None:
    """Marks by place and name; from the first failed step to the last that was mended."""
    history, story = History(), dict(straight_road())["12"]
    story.rpc("ControllerPublishVolume", 9, "no", node_id="n1")
    failed = story.state.seq
    story.tell(events.Marked(text="here"))
    story.rpc("ControllerPublishVolume", node_id="n1")
    for event in story.events:
        history.append(event)
    assert list(history.marks) == [(failed + 1, "here")]
    assert history.failures[0] == (failed, True)
    assert history.failures[1][1] is False
    assert history.failures[1][0] > failed + 1
