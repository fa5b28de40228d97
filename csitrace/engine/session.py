"""The session: a history and a playhead. Live, the playhead follows the tail; paused or replayed, it is where it was put."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

from csitrace.engine.clock import Clock, session_clock
from csitrace.lifecycle.history import History
from csitrace.lifecycle.state import State
from csitrace.model.events import Marked, Observation, TraceEvent
from csitrace.model.times import MINUTE

LIVE, PAUSED = "LIVE", "PAUSED"

MAX_SKEW_NS = 5 * MINUTE
"""An origin's time this far in our future comes from a wrong clock, and is not taken over."""


Hearer = Callable[[Sequence[TraceEvent], State], None]
"""Who is told of recorded events, and of the state after them. It must not take long."""


class Session:
    """The only mutable object between sources and views. `title` names what is watched (a context, a file, "demo")."""

    def __init__(self, title: str, clock: Clock | None = None, history: History | None = None) -> None:
        self.title = title
        self.clock = clock or session_clock()
        self.history = history or History()
        self.following = True
        self._position = 0
        self._listeners: list[Callable[[], None]] = []
        self._hearers: list[Hearer] = []
        self._scheduled = False

    @property
    def position(self) -> int:
        """The playhead: the seq of the last event that is shown. Held, it moves on with the history's beginning."""
        if self.following:
            return self.history.tail_seq
        return max(self._position, self.history.first_seq)

    @property
    def state(self) -> State:
        """The state at the playhead."""
        return self.history.tail if self.following else self.history.state_at(self.position)

    @property
    def now(self) -> int:
        """The time that views measure with: the clock while following, else the time of the event at the playhead."""
        return self.clock() if self.following else self.state.at

    @property
    def mode(self) -> str:
        return LIVE if self.following else PAUSED

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

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after changes, once per turn of the event loop at most; the answer unsubscribes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def pause(self) -> None:
        """Hold the playhead where it is; facts go on being taken in."""
        if self.following:
            self._position, self.following = self.history.tail_seq, False
            self._changed()

    def follow(self) -> None:
        """Back to the tail."""
        self.following = True
        self._changed()

    def step(self, events: int) -> None:
        """Move the playhead by some events, back when negative; it then holds."""
        self.seek(self.position + events)

    def seek(self, seq: int) -> None:
        """Put the playhead after event `seq`, or at the nearest end; it then holds."""
        self._position = min(max(seq, self.history.first_seq), self.history.tail_seq)
        self.following = False
        self._changed()

    def jump_change(self, direction: int, key: str = "") -> bool:
        """To the next (or with a negative direction the last) change of a volume's step; False where there is none."""
        find = self.history.change_after if direction > 0 else self.history.change_before
        found = find(self.position, key)
        if found is not None:
            self.seek(found)
        return found is not None

    def mark(self, text: str) -> None:
        """Note something in the history, now."""
        self.take([Observation(body=Marked(text=text))])

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
