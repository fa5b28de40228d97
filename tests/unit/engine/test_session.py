"""A session is a history and a playhead; sources are merged, and one that breaks does not take the others along."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from csitrace.engine.merge import merge
from csitrace.engine.session import MAX_SKEW_NS, Session
from csitrace.lifecycle.history import KEYFRAME_EVERY, History
from csitrace.model import events
from csitrace.model.events import Body, Observation, Stamp, Witness


class Told:
    """A source that says what it was given, then ends, or breaks."""

    witness = Witness.DRIVER

    def __init__(self, name: str, bodies: Sequence[Body], error: Exception | None = None) -> None:
        self.name = name
        self.closed = False
        self._bodies = bodies
        self._error = error

    async def observe(self) -> AsyncIterator[Observation]:
        try:
            for body in self._bodies:
                yield Observation(body=body)
                await asyncio.sleep(0)
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


class Endless:
    """A source that never ends by itself."""

    witness = Witness.KERNEL
    name = "endless"

    def __init__(self) -> None:
        self.closed = False

    async def observe(self) -> AsyncIterator[Observation]:
        try:
            while True:
                yield Observation(body=mark("tick"))
                await asyncio.sleep(0)
        finally:
            self.closed = True


def mark(text: str) -> events.Marked:
    return events.Marked(text=text)


def texts(session: Session) -> list[str]:
    history = session.history
    return [e.body.text for e in history.events(1, history.tail_seq) if isinstance(e.body, events.Marked)]


async def test_facts_of_all_sources_come_in_each_in_its_own_order() -> None:
    """seq counts from 1 without a gap, and a source's facts keep their order."""
    session = Session("test")
    await session.run(
        merge([Told("a", [mark(f"a{n}") for n in range(50)]), Told("b", [mark(f"b{n}") for n in range(50)])])
    )
    history = session.history
    assert [event.seq for event in history.events(1, history.tail_seq)] == list(range(1, 101))
    assert [t for t in texts(session) if t.startswith("a")] == [f"a{n}" for n in range(50)]
    assert [t for t in texts(session) if t.startswith("b")] == [f"b{n}" for n in range(50)]


async def test_a_source_that_breaks_becomes_a_fact_and_the_others_go_on() -> None:
    """Its scope is down, with the reason in one line."""
    session = Session("test")
    broken = Told("feed", [mark("x")], ExceptionGroup("some", [RuntimeError("out of cheese")]))
    await session.run(merge([broken, Told("b", [mark(f"b{n}") for n in range(20)])]))
    down = session.state.sources[(Witness.DRIVER, "feed")]
    assert not down.up
    assert down.reason == "RuntimeError: out of cheese"
    assert sum(text.startswith("b") for text in texts(session)) == 20


async def test_ending_a_session_ends_its_sources() -> None:
    """Cancelled, it closes every source before it is done."""
    session, endless, other = Session("test"), Endless(), Told("a", [mark("a")])
    running = asyncio.create_task(session.run(merge([endless, other])))
    heard = asyncio.Event()
    session.on_change(heard.set)
    await heard.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert endless.closed
    assert other.closed


class Stubborn:
    """A source that takes its first cancellation for something else, as a time-out in the same moment can make it."""

    witness = Witness.KERNEL
    name = "stubborn"

    async def observe(self) -> AsyncIterator[Observation]:
        yield Observation(body=mark("here"))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()


async def test_a_source_that_misses_its_cancellation_is_told_again() -> None:
    """Ending a session does not hang on a source whose cancellation got lost once."""
    session, heard = Session("test"), asyncio.Event()
    running = asyncio.create_task(session.run(merge([Stubborn()])))
    session.on_change(heard.set)
    await heard.wait()
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=30)
    assert done == {running}


def test_the_playhead_follows_until_it_is_put_somewhere() -> None:
    """Paused, the state stays where it is while facts come in; following again, it is at the tail."""
    session = Session("test", clock=iter(range(1, 1000)).__next__)
    session.take([Observation(body=mark("1")), Observation(body=mark("2"))])
    assert (session.position, session.mode) == (2, "LIVE")
    session.pause()
    session.take([Observation(body=mark("3"))])
    assert (session.position, session.mode, session.history.tail_seq) == (2, "PAUSED", 3)
    session.step(-1)
    assert (session.position, session.state.seq) == (1, 1)
    session.step(-10)
    assert session.position == session.history.first_seq == 0
    session.seek(99)
    assert session.position == 3
    session.follow()
    session.take([Observation(body=mark("4"))])
    assert (session.position, session.mode) == (4, "LIVE")


def test_a_held_playhead_moves_on_with_the_historys_beginning() -> None:
    """What it was put on may be let go meanwhile: its position is that of the state that is shown."""
    session = Session("test", history=History(events_kept=KEYFRAME_EVERY))
    session.take([Observation(body=mark("early"))])
    session.pause()
    session.take([Observation(body=mark("later"))] * (KEYFRAME_EVERY * 3))
    assert session.position == session.state.seq == session.history.first_seq > 1


def test_while_paused_time_stands_still() -> None:
    """Durations on a paused screen are those of its moment, not of now."""
    clock = iter(range(0, 10_000, 100)).__next__
    session = Session("test", clock=clock)
    session.take([Observation(body=mark("1"))])
    session.pause()
    assert session.now == session.now == session.state.at
    session.follow()
    assert session.now < session.now


def test_an_origins_time_is_kept_unless_it_lies_in_our_future() -> None:
    """A wrong clock on a node must not put facts after everything that is to come."""
    session = Session("test", clock=lambda: 10**18)
    session.take(
        [
            Observation(body=mark("past"), occurred_at=5, stamp=Stamp.ORIGIN),
            Observation(body=mark("future"), occurred_at=10**18 + MAX_SKEW_NS + 1, stamp=Stamp.ORIGIN),
            Observation(body=mark("none")),
        ]
    )
    assert [event.occurred_at for event in session.history.events(1, 3)] == [5, 10**18, 10**18]


async def test_a_burst_tells_listeners_once_a_turn() -> None:
    """A thousand facts in one turn of the loop are one change."""
    session, calls = Session("test"), []
    unsubscribe = session.on_change(lambda: calls.append(session.position))
    for _ in range(10):
        session.take([Observation(body=mark("x"))] * 100)
    await asyncio.sleep(0)
    assert calls == [1000]
    unsubscribe()
    session.take([Observation(body=mark("x"))])
    await asyncio.sleep(0)
    assert calls == [1000]
