"""The session: a history and a playhead. Live, the playhead follows the tail; else it is where it was put, or plays on.

A live watch that is scrolled back and a recording are the same: what differs is whether there is a tail to follow.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

from csitrace.engine.clock import Clock, session_clock
from csitrace.engine.moments import Moment, find_moment, is_time, moment_at, moment_of
from csitrace.lifecycle.history import History
from csitrace.lifecycle.state import State
from csitrace.model.events import Marked, Observation, TraceEvent
from csitrace.model.times import MINUTE

LIVE, PAUSED, REPLAY = "LIVE", "PAUSED", "REPLAY"

SPEEDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""How many seconds of the recording pass in one of ours."""

MAX_SKEW_NS = 5 * MINUTE
"""An origin's time this far in our future comes from a wrong clock, and is not taken over."""


Hearer = Callable[[Sequence[TraceEvent], State], None]
"""Who is told of recorded events, and of the state after them. It must not take long."""


class Session:
    """The only mutable object between sources and views. `title` names what is watched (a context, a file, "demo").

    `live`: facts come in as they happen, so there is a tail to follow; else they are those of a recording, stamped already, and
    the playhead begins before the first of them. `complete`: a recording's facts are all here.
    """

    def __init__(
        self, title: str, clock: Clock | None = None, history: History | None = None, *, live: bool = True
    ) -> None:
        self.title = title
        self.clock = clock or session_clock()
        self.history = history or History()
        self.live = self.following = live
        self.complete = False
        self.speed = 1.0
        self.awaited = ""  # the moment to go to as soon as it is loaded
        self.missed = ""  # the one that was awaited, and is not in the recording
        self._plays_on = False  # from where the awaited moment is
        self._held = Moment(0, 0)
        self._ticked_at: int | None = None  # while playing: up to when the playhead was moved, by the clock
        self._listeners: list[Callable[[], None]] = []
        self._hearers: list[Hearer] = []
        self._scheduled = False

    @property
    def position(self) -> int:
        """The playhead: the seq of the last event that is shown. Held, it moves on with the history's beginning."""
        if self.following:
            return self.history.tail_seq
        return max(self._held.seq, self.history.first_seq)

    @property
    def state(self) -> State:
        """The state at the playhead."""
        return self.history.tail if self.following else self.history.state_at(self.position)

    @property
    def now(self) -> int:
        """The time that views measure with: the clock while following, else the playhead's moment."""
        if self.following:
            return self.clock()
        return self._held.at if self._held.seq == self.position and self._held.at else self.state.at

    @property
    def mode(self) -> str:
        if self.following:
            return LIVE
        return PAUSED if self.live and not self.playing else REPLAY

    @property
    def playing(self) -> bool:
        """Whether the playhead moves on through what is past."""
        return self._ticked_at is not None

    async def run(self, batches: AsyncGenerator[list[Observation], None]) -> None:
        """Take facts in until their sources end; ended itself, it ends them first.

        The loop gets its turn between batches, so views stay live in a burst.
        """
        async with aclosing(batches):
            async for batch in batches:
                self.take(batch)
                await asyncio.sleep(0)

    def take(self, observations: Iterable[Observation]) -> None:
        """Stamp facts with the next `seq`s and our time, and fold them. What has a place in the history is a recorded event."""
        taken = []
        for observation in observations:
            taken.append(self._stamped(observation))
            self.history.append(taken[-1])
        for hear in list(self._hearers):
            hear(taken, self.history.tail)
        self._changed()

    def on_events(self, hear: Hearer) -> Callable[[], None]:
        """Call `hear` with all events that are taken in, and the state after them, at once; the answer unsubscribes it."""
        self._hearers.append(hear)
        return lambda: self._hearers.remove(hear) if hear in self._hearers else None

    def load(self, events: Iterable[TraceEvent]) -> None:
        """Fold facts of a recording: they are stamped already."""
        for event in events:
            self.history.append(event)
        if not self._held.at:
            self._held = moment_of(self.history, self._held.seq)
        if self.awaited and not (self.awaited.startswith("-") and not self.complete):
            self._look_for(self.awaited)
        self._changed()

    def loaded(self) -> None:
        """The recording's facts are all here: what is still awaited will not come."""
        self.complete = True
        self.load(())
        if self.awaited:
            self.awaited, self.missed = "", self.awaited
            if is_time(self.missed):
                self.missed = ""
                self.seek(self.history.tail_seq)
        self._changed()

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after changes, once per turn of the event loop at most; the answer unsubscribes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def pause(self) -> None:
        """Hold the playhead where it is; facts go on being taken in."""
        if self.following:
            self.seek(self.history.tail_seq)
        elif self.playing:
            self.advance()
            self._ticked_at = None
            self._changed()

    def follow(self) -> None:
        """Back to the tail: of what is live, to stay there."""
        if not self.live:
            self.seek(self.history.tail_seq)
            return
        self.following, self._ticked_at, self.awaited = True, None, ""
        self._changed()

    def play(self) -> None:
        """Let the playhead move on, `speed` times as fast as the facts came; from the beginning, if it is at the end."""
        if self.following or self.playing:
            return
        if self._at_end and self.complete:
            self.seek(self.history.first_seq)
        self._ticked_at = self.clock()
        self._changed()

    def set_speed(self, speed: float) -> None:
        """How fast to play, from now on."""
        self.advance()
        self.speed = speed
        self._changed()

    def advance(self) -> None:
        """Move a playing playhead to where it is by now. At a recording's end it holds; at a live tail it follows."""
        if self._ticked_at is None:
            return
        now = self.clock()
        at = self._held.at + int((now - self._ticked_at) * self.speed)
        self._ticked_at = now
        if not len(self.history.log):
            return
        self._held = moment_at(self.history, at)
        if at >= self.history.log.span()[1]:
            if self.live:
                self.follow()
            elif self.complete:
                self._ticked_at = None
        self._changed()

    def step(self, events: int) -> None:
        """Move the playhead by some events, back when negative; it then holds."""
        self.seek(self.history.log.moved(self.position, events))

    def seek(self, seq: int) -> None:
        """Put the playhead after event `seq`, or at the nearest end; it then holds."""
        self._hold(moment_of(self.history, seq))

    def seek_time(self, at: int) -> None:
        """Put the playhead at a time (ns), or at the nearest end; it then holds."""
        self._hold(moment_at(self.history, at))

    def go_to(self, text: str, *, play: bool = False) -> bool:
        """Put the playhead at the moment that `text` names (see `moments`); False where there is none such.

        What is not loaded yet is awaited. `play`: from there on.
        """
        self._plays_on = play
        waits_for_end = text.startswith("-") and not self.live
        if (not waits_for_end or self.complete) and self._look_for(text):
            return True
        if not self.live and not self.complete:
            self.awaited, self.missed = text, ""
        elif is_time(text):
            self.follow()
        else:
            return False
        self._changed()
        return True

    def jump_change(self, direction: int, key: str = "") -> bool:
        """To the next (or with a negative direction the last) change of a volume's step; False where there is none."""
        find = self.history.change_after if direction > 0 else self.history.change_before
        found = find(self.position, key)
        if found is not None:
            self.seek(found)
        return found is not None

    def jump_mark(self, direction: int) -> str | None:
        """To the next (or with a negative direction the last) mark: its text; None where there is none."""
        here = self.position
        marks = [mark for mark in self.history.marks if (mark[0] - here) * direction > 0]
        if not marks:
            return None
        seq, text = marks[0] if direction > 0 else marks[-1]
        self.seek(seq)
        return text

    def mark(self, text: str) -> None:
        """Note something in the history, now."""
        self.take([Observation(body=Marked(text=text))])

    @property
    def _at_end(self) -> bool:
        return self._held.at >= self.history.log.span()[1]

    def _look_for(self, text: str) -> bool:
        found = find_moment(text, self.history)
        if found is not None:
            self._hold(found)
            if self._plays_on:
                self.play()
        return found is not None

    def _hold(self, moment: Moment) -> None:
        self._held, self.following, self._ticked_at = moment, False, None
        self.awaited = self.missed = ""
        self._changed()

    def _stamped(self, observation: Observation) -> TraceEvent:
        """The next event: our time beside the origin's, where it tells one that can be."""
        observed_at = self.clock()
        told = observation.occurred_at
        return TraceEvent(
            seq=self.history.tail_seq + 1,
            observed_at=observed_at,
            occurred_at=told if told is not None and told <= observed_at + MAX_SKEW_NS else observed_at,
            stamp=observation.stamp,
            body=observation.body,
        )

    def _changed(self) -> None:
        if self._scheduled or not self._listeners:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no loop: nobody can be waiting for a turn
            self._tell()
            return
        self._scheduled = True
        loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._scheduled = False
        for listener in list(self._listeners):
            listener()
