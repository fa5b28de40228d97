"""A replay: a playhead over a recording that moves as the facts came, or is put somewhere."""

import asyncio
import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csitrace.engine.moments import find_moment
from csitrace.engine.replay import load, replay_session
from csitrace.engine.session import SPEEDS, Session
from csitrace.lifecycle.history import History
from csitrace.model import events
from csitrace.model.events import TraceEvent
from csitrace.model.times import MILLISECOND, MINUTE, SECOND
from tests.story import START, straight_road, way_back_road

ROAD = way_back_road(dict(straight_road())["17"]).events


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 5 * MINUTE

    def __call__(self) -> int:
        return self.at


def told(*seconds: float) -> list[TraceEvent]:
    """Marks at these seconds after START, each named by its seq."""
    return [
        TraceEvent(seq=seq, observed_at=START + int(at * SECOND), occurred_at=START, body=events.Marked(text=f"m{seq}"))
        for seq, at in enumerate(seconds, 1)
    ]  # fmt: skip


def replayed(facts: list[TraceEvent], clock: Hands) -> Session:
    session = replay_session("x", clock)
    session.load(facts)
    session.loaded()
    return session


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_playhead_moves_by_the_recordings_own_times(speed: float) -> None:
    """After n seconds of ours, n x speed seconds of the recording have passed; at its end it holds."""
    clock = Hands()
    session = replayed(told(0, 10, 11, 500), clock)
    assert (session.mode, session.position, session.playing) == ("REPLAY", 0, False)
    session.set_speed(speed)
    session.play()
    clock.at += int(10.5 * SECOND / speed)
    session.advance()
    assert session.position == 2
    assert abs(session.now - START - 10.5 * SECOND) < 1_000
    clock.at += int(1_000 * SECOND / speed)
    session.advance()
    assert (session.position, session.playing, session.mode) == (4, False, "REPLAY")
    session.play()  # from the beginning again
    session.advance()
    assert (session.position, session.playing) == (1, True)


def test_a_change_of_speed_counts_from_when_it_was_made() -> None:
    """What passed before passed at the old speed."""
    clock = Hands()
    session = replayed(told(0, 100), clock)
    session.play()
    clock.at += 5 * SECOND
    session.set_speed(10)
    clock.at += SECOND
    session.advance()
    assert session.now == START + 15 * SECOND
    session.pause()
    clock.at += 60 * SECOND
    session.advance()
    assert session.now == START + 15 * SECOND


def test_steps_changes_and_marks_hold_the_playhead() -> None:
    """Whoever puts it somewhere wants to look: it stays until it is told to play."""
    session = replayed(told(0, 10, 20), Hands())
    session.play()
    session.step(2)
    assert (session.position, session.playing, session.now) == (2, False, START + 10 * SECOND)
    assert session.jump_mark(1) == "m3"
    assert session.jump_mark(1) is None
    assert session.jump_mark(-1) == "m2"
    session.follow()
    assert (session.position, session.mode) == (3, "REPLAY")


def test_a_time_between_two_facts_is_a_moment_of_its_own() -> None:
    """How long something has lasted is counted up to the time that was asked for, not to the last fact before it."""
    session = replayed(told(0, 10, 20), Hands())
    assert session.go_to("10:00:15")
    assert (session.position, session.now) == (2, START + 15 * SECOND)
    session.step(1)
    assert (session.position, session.now) == (3, START + 20 * SECOND)


@pytest.mark.parametrize(
    ("text", "seq"),
    [("10:00:10", 2), ("10:00:09.999", 1), ("10:00", 1), ("+10s", 2), ("+0.5s", 1), ("-1s", 2), ("-0s", 3), ("m3", 3), ("M2", 2),
     ("2026-01-02T10:00:12Z", 2), ("2026-01-02 10:00:12", 2), ("9:00", 1)],
)  # fmt: skip
def test_moments_are_named_as_people_do(text: str, seq: int) -> None:
    """Times of day, whole times, distances from either end, and marks."""
    session = replayed(told(0, 10, 20), Hands())
    found = find_moment(text, session.history)
    assert found is not None
    assert found.seq == seq


@pytest.mark.parametrize("text", ["", "yesterday", "25:00", "10:00:21", "+1x"])
def test_what_names_no_moment_so_far_is_none(text: str) -> None:
    """Neither a time there is nor a mark."""
    assert find_moment(text, replayed(told(0, 10, 20), Hands()).history) is None


async def test_what_is_not_loaded_yet_is_awaited() -> None:
    """`--at` works from the start: the playhead goes there as soon as it is loaded, and plays on where that was asked."""
    for text, seq, plays in (("m3", 3, False), ("+15s", 2, True), ("-15s", 1, False), ("+1h", 3, False)):
        session = replay_session("x", Hands())
        assert session.go_to(text, play=plays)
        await load(session, told(0, 10, 20))
        assert (session.position, session.playing, session.awaited) == (seq, plays, ""), text
    session = replay_session("x", Hands())
    session.go_to("no such mark")
    await load(session, told(0, 10, 20))
    assert (session.position, session.missed, session.complete) == (0, "no such mark", True)


async def test_loading_gives_the_loop_its_turn() -> None:
    """While a recording is folded, others get to run: the screen is usable."""
    session, turns = replay_session("x", itertools.count(0, MILLISECOND).__next__), 0
    loading = asyncio.create_task(load(session, (e for e in told(*range(4_000)))))
    while not loading.done():
        await asyncio.sleep(0)
        turns += 1
    assert session.history.tail_seq == 4_000
    assert (
        turns > 4_000 / 16 / 12
    )  # a slice is of 16 facts, and here it takes a millisecond; the loop has its turn every ten


def test_a_live_watch_plays_its_past_and_follows_again_what_it_caught_up() -> None:
    """Scrolled back, a live session plays like a recording; at its tail it is live again."""
    clock, history = Hands(), History()
    for event in told(0, 10, 20):
        history.append(event)
    session = Session("live", clock, history)
    session.play()
    assert (session.mode, session.playing) == ("LIVE", False)
    session.seek(1)
    assert session.mode == "PAUSED"
    session.set_speed(10)
    session.play()
    assert session.mode == "REPLAY"
    clock.at += SECOND
    session.advance()
    assert session.position == 2
    clock.at += SECOND
    session.advance()
    assert (session.mode, session.position) == ("LIVE", 3)


@settings(max_examples=40)
@given(
    st.randoms(use_true_random=False),
    st.integers(0, len(ROAD)),
    st.lists(st.integers(1, len(ROAD)), min_size=1, max_size=4),
)
def test_a_live_watch_scrolled_back_and_a_replay_are_in_the_same_state(
    random: Random, mixed: int, seqs: list[int]
) -> None:
    """However well or badly ordered the facts came and wherever the playhead is put: same seq, same state, same time."""
    head = [event.body for event in ROAD[:mixed]]
    random.shuffle(head)
    bodies = [*head, *(event.body for event in ROAD[mixed:])]
    facts = [
        TraceEvent(seq=seq, observed_at=START + seq * SECOND // 7, occurred_at=START, body=body)
        for seq, body in enumerate(bodies, 1)
    ]
    history = History()
    for event in facts:
        history.append(event)
    live, replay = Session("live", Hands(), history), replayed(facts, Hands())
    for seq in seqs:
        live.seek(seq)
        replay.seek_time(replay.history.log.time_of(seq) or 0)
        assert live.position == replay.position == seq
        assert live.state == replay.state
        assert live.now == replay.now
