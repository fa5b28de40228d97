"""History: every event so far and the state after any of them.

States share structure, but one per event would still cost more than the event. So a state is kept at every
`KEYFRAME_EVERY`th event, and those between are folded again on demand. Bounded: the oldest events are let go, and the history
then begins at a keyframe.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator

from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.state import State
from csitrace.lifecycle.steps import FORWARD
from csitrace.lifecycle.verdict import standing
from csitrace.model.events import TraceEvent

KEYFRAME_EVERY = 256
EVENTS_KEPT = 200_000

_GONE = "gone"
"""Where a volume stands that is gone, or was never there."""


class History:
    """Append-only, in `seq` order. Not shared between threads."""

    def __init__(self, events_kept: int = EVENTS_KEPT) -> None:
        self._events: deque[TraceEvent] = deque()
        self._keyframes: deque[State] = deque([State()])
        self._changes: deque[tuple[int, str]] = deque()  # (seq, volume key) where a volume's step changed
        self._steps: dict[str, str] = {}  # where each volume stands that is not gone
        self._tail = State()
        self._events_kept = max(events_kept, KEYFRAME_EVERY)
        self._cached = self._tail

    @property
    def tail(self) -> State:
        """The state after the last event."""
        return self._tail

    @property
    def first_seq(self) -> int:
        """The first position there is a state for: 0, or later once old events were let go."""
        return self._keyframes[0].seq

    @property
    def tail_seq(self) -> int:
        return self._tail.seq

    def append(self, event: TraceEvent) -> State:
        """Fold one more event. Its `seq` must be the next one."""
        before = self._tail
        self._tail = fold(before, event)
        self._events.append(event)
        self._note_changes(before, self._tail)
        if event.seq % KEYFRAME_EVERY == 0:
            self._keyframes.append(self._tail)
            self._let_go()
        return self._tail

    def state_at(self, seq: int) -> State:
        """The state after event `seq`, or at the nearest end of the history."""
        if seq >= self.tail_seq:
            return self._tail
        seq = max(seq, self.first_seq)
        state = self._keyframe(seq)
        if state.seq < self._cached.seq <= seq:
            state = self._cached
        for event in self.events(state.seq + 1, seq):
            state = fold(state, event)
        self._cached = state
        return state

    def event(self, seq: int) -> TraceEvent | None:
        """The event `seq`, or None where it is not (or no longer) kept."""
        offset = seq - self._first_event_seq()
        return self._events[offset] if 0 <= offset < len(self._events) else None

    def events(self, first: int, last: int) -> Iterator[TraceEvent]:
        """The kept events with first <= seq <= last, in order."""
        start = max(first - self._first_event_seq(), 0)
        for offset in range(start, min(last - self._first_event_seq() + 1, len(self._events))):
            yield self._events[offset]

    def kept(self) -> list[TraceEvent]:
        """All events that are kept, in order: a copy, at once, for who reads them elsewhere."""
        return list(self._events)

    def change_after(self, seq: int, key: str = "") -> int | None:
        """The position of the next change of step, of one volume or of any; None where there is none."""
        return next((at for at, who in self._changes if at > seq and key in ("", who)), None)

    def change_before(self, seq: int, key: str = "") -> int | None:
        """The position of the last change of step before `seq`."""
        return next((at for at, who in reversed(self._changes) if at < seq and key in ("", who)), None)

    def _first_event_seq(self) -> int:
        return self._events[0].seq if self._events else self.tail_seq + 1

    def _keyframe(self, seq: int) -> State:
        place = bisect_right(self._keyframes, seq, key=lambda state: state.seq)
        return self._keyframes[place - 1]

    def _let_go(self) -> None:
        while len(self._events) > self._events_kept and len(self._keyframes) > 1:
            self._keyframes.popleft()
            first = self._keyframes[0].seq
            while self._events and self._events[0].seq <= first:
                self._events.popleft()
            while self._changes and self._changes[0][0] <= first:
                self._changes.popleft()

    def _note_changes(self, before: State, after: State) -> None:
        if before.volumes is after.volumes:
            return
        for key in _touched(before, after):
            step = _step_of(after, key)
            if self._steps.get(key, _GONE) == step:
                continue
            if step == _GONE:
                del self._steps[key]
            else:
                self._steps[key] = step
            self._changes.append((after.seq, key))


def _touched(before: State, after: State) -> Iterator[str]:
    """Keys of the volumes that this event changed: they carry its seq."""
    for key in after.changed_keys:
        if before.volumes.get(key) is not after.volumes.get(key):
            yield key


def _step_of(state: State, key: str) -> str:
    volume = state.volumes.get(key)
    if volume is None or volume.gone_at is not None:
        return _GONE
    current = standing(state, volume).current
    return current.step_id if current is not None else FORWARD[-1].id + "+"
