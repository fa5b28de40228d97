"""Whether a recording shows what its makers saw live: every moment of every road, in its order."""

from collections import deque
from collections.abc import Iterable, Sequence

from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.state import State
from csitrace.model.events import FuseCounted, FuseOpSampled, TraceEvent
from tests.roads.shown import Awaited


def not_replayed(events: Iterable[TraceEvent], awaited: Sequence[Awaited]) -> list[str]:
    """The moments that do not come, one after the other on each road, when the events are folded."""
    ahead: dict[str, deque[Awaited]] = {}
    for moment in awaited:
        ahead.setdefault(moment.namespace, deque()).append(moment)
    state = State()
    for event in events:
        state = fold(state, event)
        if isinstance(event.body, FuseCounted | FuseOpSampled):  # many, and they tell of no step
            continue
        for namespace in _concerned(state, ahead):
            moments = ahead[namespace]
            while moments and moments[0].is_shown(state):
                moments.popleft()
    return [
        f"{namespace}: {moment.name}, of {moment.of}" for namespace, left in ahead.items() for moment in left
    ]


def _concerned(state: State, ahead: Iterable[str]) -> Iterable[str]:
    """The roads that the last event may have been about: all of them, where it was about no claim."""
    told = {volume.namespace for key in state.changed_keys if (volume := state.volumes.get(key)) is not None}
    return ahead if not told or "" in told else told.intersection(ahead)
