"""History: every event so far and the state after any of them.

States share structure, but one per event would still cost more than the event. So a state is kept at every
`KEYFRAME_EVERY`th event, and those between are folded again on demand. In a long history they get rarer, for each holds on to
objects as they then were. Bounded, unless it is to keep everything: the oldest events are let go, and the history then begins
at a keyframe.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence

from csitrace.lifecycle.eventlog import EventLog, Kept
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.state import State, StepStatus
from csitrace.lifecycle.steps import FORWARD
from csitrace.lifecycle.verdict import standing
from csitrace.model.events import Marked, TraceEvent

KEYFRAME_EVERY = 256
KEYFRAMES_KEPT = 512
EVENTS_KEPT = 200_000

_STATES_NEAR = 24
"""States at every 256th event that are kept around where the playhead was put: who steps back does so more than once."""

_GONE = "gone"
"""Where a volume stands that is gone, or was never there."""


class History:
    """Append-only, in `seq` order. Not shared between threads. `events_kept`: at most about so many; None: all of them."""

    def __init__(self, events_kept: int | None = EVENTS_KEPT) -> None:
        self._log = EventLog()
        self._appended = 0
        self._keyframes: deque[State] = deque([State()])
        self._spacing = KEYFRAME_EVERY  # events from one keyframe to the next
        self._near: deque[State] = deque(maxlen=_STATES_NEAR)
        self._changes: deque[tuple[int, str]] = deque()  # (seq, volume key) where a volume's step changed
        self._steps: dict[str, str] = {}  # where each volume stands that is not gone
        self._failing: set[str] = set()  # of these, the ones whose step has failed
        self._failures: deque[tuple[int, bool]] = (
            deque()
        )  # (seq, whether any volume's step has failed from here on)
        self._marks: deque[tuple[int, str]] = deque()
        self._tail = State()
        self._events_kept = max(events_kept, KEYFRAME_EVERY) if events_kept is not None else None
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

    @property
    def log(self) -> EventLog:
        """The kept events, by seq and by time."""
        return self._log

    @property
    def marks(self) -> Sequence[tuple[int, str]]:
        """The marks that were set, as (seq, text), in order."""
        return self._marks

    @property
    def failures(self) -> Sequence[tuple[int, bool]]:
        """Where a step of some volume failed while none had: (seq, True); and where the last of them was over: (seq, False)."""
        return self._failures

    def append(self, event: TraceEvent) -> State:
        """Fold one more event. Its `seq` must be greater than the last one's: it is the next, but where a recording has a gap."""
        before = self._tail
        self._tail = fold(before, event)
        self._log.append(event)
        self._note_changes(before, self._tail)
        if isinstance(event.body, Marked):
            self._marks.append((event.seq, event.body.text))
        self._appended += 1
        if self._appended % self._spacing == 0:
            self._keyframes.append(self._tail)
            self._thin_out()
            self._let_go()
        return self._tail

    def state_at(self, seq: int) -> State:
        """The state after event `seq`, or at the nearest end of the history."""
        if seq >= self.tail_seq:
            return self._tail
        seq = max(seq, self.first_seq)
        state = self._keyframe(seq)
        for known in (self._cached, *self._near):
            if state.seq < known.seq <= seq:
                state = known
        for count, event in enumerate(self.events(state.seq + 1, seq), 1):
            state = fold(state, event)
            if count % KEYFRAME_EVERY == 0:
                self._near.append(state)
        self._cached = state
        return state

    def event(self, seq: int) -> TraceEvent | None:
        """The event `seq`, or None where it is not (or no longer) kept."""
        return self._log.event(seq)

    def events(self, first: int, last: int) -> Iterator[TraceEvent]:
        """The kept events with first <= seq <= last, in order."""
        return self._log.events(first, last)

    def kept(self) -> Kept:
        """The events after `first_seq`, as they are kept now, for who reads them elsewhere."""
        return self._log.kept(self.first_seq)

    def change_after(self, seq: int, key: str = "") -> int | None:
        """The position of the next change of step, of one volume or of any; None where there is none."""
        return next((at for at, who in self._changes if at > seq and key in ("", who)), None)

    def change_before(self, seq: int, key: str = "") -> int | None:
        """The position of the last change of step before `seq`."""
        return next((at for at, who in reversed(self._changes) if at < seq and key in ("", who)), None)

    def _keyframe(self, seq: int) -> State:
        place = bisect_right(self._keyframes, seq, key=lambda state: state.seq)
        return self._keyframes[place - 1]

    def _thin_out(self) -> None:
        """Every second keyframe goes when there are too many; from then on they are made half as often."""
        if len(self._keyframes) > KEYFRAMES_KEPT and self._appended % (2 * self._spacing) == 0:
            self._spacing *= 2
            self._keyframes = deque(list(self._keyframes)[::2])

    def _let_go(self) -> None:
        if self._events_kept is None:
            return
        while len(self._log) > self._events_kept and len(self._keyframes) > 1:
            self._keyframes.popleft()
            first = self._keyframes[0].seq
            self._log.let_go(first)
            for told in (self._changes, self._marks):
                while told and told[0][0] <= first:
                    told.popleft()
            while len(self._failures) > 1 and self._failures[1][0] <= first:
                self._failures.popleft()

    def _note_changes(self, before: State, after: State) -> None:
        if before.volumes is after.volumes:
            return
        failed_before = bool(self._failing)
        for key in _touched(before, after):
            step, has_failed = _step_of(after, key)
            (self._failing.add if has_failed else self._failing.discard)(key)
            if self._steps.get(key, _GONE) == step:
                continue
            if step == _GONE:
                del self._steps[key]
            else:
                self._steps[key] = step
            self._changes.append((after.seq, key))
        if bool(self._failing) != failed_before:
            self._failures.append((after.seq, not failed_before))


def _touched(before: State, after: State) -> Iterator[str]:
    """Keys of the volumes that this event changed: they carry its seq."""
    for key in after.changed_keys:
        if before.volumes.get(key) is not after.volumes.get(key):
            yield key


def _step_of(state: State, key: str) -> tuple[str, bool]:
    """The step that the volume stands at, and whether it has failed there."""
    volume = state.volumes.get(key)
    if volume is None or volume.gone_at is not None:
        return _GONE, False
    current = standing(state, volume).current
    if current is None:
        return FORWARD[-1].id + "+", False
    return current.step_id, current.status is StepStatus.FAILED
