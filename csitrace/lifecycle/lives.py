"""The lives of all volumes that were ever in a recording, as its events are folded, once and in order.

A state keeps a bounded past of each volume, and lets go of those that are gone. So what leaves it is read just before: a volume
before a pod of it is let go, whenever something is told of it once it is gone, and at the end; its calls as they come. What is
made of a volume when it is read is for who asks; the states are let go.
"""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, Self, TypeVar

from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.ladder import expansion, ladder, way_back
from csitrace.lifecycle.spans import called, over, shown
from csitrace.lifecycle.state import Call, Mark, State, Use, Volume
from csitrace.lifecycle.views import SpanView, StepView
from csitrace.model.events import RecordingGap, TraceEvent


class Reader(Protocol):
    """What is kept of one volume. It is read more than once: what is the same each time is to be kept once."""

    def read(self, state: State, volume: Volume) -> None:
        """The volume in a state in which everything of it is still there."""

    def inherit(self, former: Self) -> None:
        """What was kept of a volume that has turned out to be this one."""


ReaderT = TypeVar("ReaderT", bound=Reader)


class Past(Generic[ReaderT]):
    """One volume so far. `kept`: what its reader made of it."""

    __slots__ = ("_calls", "_shown", "kept", "volume")

    def __init__(self, volume: Volume, kept: ReaderT) -> None:
        self.volume, self.kept = volume, kept
        self._calls: dict[tuple[str, int], Call] = {}
        self._shown: dict[tuple[str, str, int], tuple[SpanView, tuple[Mark, ...]]] = {}

    @property
    def calls(self) -> tuple[Call, ...]:
        """All that were heard, oldest first."""
        return tuple(sorted(self._calls.values(), key=lambda call: (call.started_at, call.seq)))

    def spans(self) -> Iterator[tuple[SpanView, tuple[Call, ...], tuple[Mark, ...]]]:
        """Each span with the calls that it covers; or where no call tells of such spans, with the marks that bound it."""
        told = set()
        for span, tries in called(self.calls):
            told.add(span.name)
            yield over(span, self.volume), tries, ()
        for span, marks in self._shown.values():
            if span.name not in told:
                yield over(span, self.volume), (), marks

    def hear(self, calls: tuple[Call, ...]) -> None:
        """Calls as they are told now: each takes the place of what was told of it before."""
        self._calls.update(((call.instance, call.call_id), call) for call in calls)

    def read(self, state: State, volume: Volume) -> None:
        """See `Reader.read`."""
        for span, marks in shown(volume):
            self._shown[span.name, span.node_name, span.started_at] = span, marks
        self.kept.read(state, volume)

    def is_of(self, heir: Volume) -> bool:
        """Whether the volume goes by another key now, as `heir`."""
        former = self.volume
        return (
            (bool(heir.volume_id) and heir.volume_id == former.volume_id)
            or (heir.pv is not None and former.pv is not None and heir.pv.uid == former.pv.uid)
            or any((call.instance, call.call_id) in self._calls for call in heir.calls)
        )

    def inherit(self, former: "Past[ReaderT]") -> None:
        """The calls, and what was kept, of a volume that has turned out to be this one."""
        self._calls = {**former._calls, **self._calls}
        self.kept.inherit(former.kept)


class Lives(Generic[ReaderT]):
    """Takes events in `seq` order. `new`: makes what keeps one volume.

    `of`: each volume's past by its key, in the order in which they were first seen. `state`: the one after the last event;
    `touched`: the keys of the volumes that it changed. `first_at`: the first event's time, 0 without any.
    """

    def __init__(self, new: Callable[[], ReaderT]) -> None:
        self._new = new
        self._lost: dict[
            str, State
        ] = {}  # where facts are missing: the state before, for volumes not told again so far
        self.of: dict[str, Past[ReaderT]] = {}
        self.state = State()
        self.touched: tuple[str, ...] = ()
        self.events = 0
        self.first_at = 0

    def take(self, event: TraceEvent) -> None:
        """Fold one more event."""
        before, state = self.state, fold(self.state, event)
        self.state = state
        self.events += 1
        self.first_at = self.first_at or event.observed_at
        self.touched = tuple(
            key for key in state.changed_keys if before.volumes.get(key) is not state.volumes.get(key)
        )
        for key in self.touched:
            was, volume = before.volumes.get(key), state.volumes.get(key)
            if volume is not None:
                self._live(was, volume, before)
            elif was is not None and isinstance(event.body, RecordingGap):
                self._lost[key] = before
            elif was is not None and was.gone_at is None:
                self._move(key)

    def end(self) -> None:
        """After the last event: all that is still there is read, and what nobody saw the end of."""
        for key, state in self._lost.items():
            self.of[key].read(state, self.of[key].volume)
        for key, volume in self.state.volumes.items():
            self.of[key].read(self.state, volume)

    def _live(self, was: Volume | None, volume: Volume, before: State) -> None:
        past = self._past(volume)
        self._lost.pop(volume.key, None)
        if was is None or was.calls != volume.calls:
            past.hear(volume.calls)
        if was is not None and _lets_go(was, volume):
            past.read(before, was)
        past.volume = volume
        if volume.gone_at is not None:
            past.read(self.state, volume)

    def _past(self, volume: Volume) -> Past[ReaderT]:
        known = self.of.get(volume.key)
        if known is None:
            known = self.of[volume.key] = Past(volume, self._new())
        return known

    def _move(self, former: str) -> None:
        """A volume that was known by less has turned out to be one of those that changed now; or it is none of ours."""
        old = self.of.pop(former)
        for key in self.state.changed_keys:
            heir = self.state.volumes.get(key)
            if heir is not None and old.is_of(heir):
                self._past(heir).inherit(old)
                return


def roads(state: State, volume: Volume) -> Iterator[tuple[str, Use | None, tuple[StepView, ...]]]:
    """Every road of the volume: its name (forward, back, expansion), the pod it is told for, its steps."""
    for use in volume.uses or (None,):
        yield "forward", use, ladder(state, volume, use)
        yield "back", use, way_back(state, volume, use)
    if volume.expansion is not None:
        use = next(iter(volume.uses), None)
        yield "expansion", use, expansion(state, volume, use)


def _lets_go(was: Volume, volume: Volume) -> bool:
    """Whether something of it can no longer be read: an ended pod, an expansion that another one follows."""
    growing = was.expansion
    if growing is not None and (volume.expansion is None or volume.expansion.seq != growing.seq):
        return True
    return bool({use.pod_uid for use in was.uses} - {use.pod_uid for use in volume.uses})
