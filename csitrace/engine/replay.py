"""A recording as a session: its facts are folded a slice at a time, so that the screen is usable from the first of them on."""

import asyncio
from collections.abc import Iterable
from itertools import islice

from csitrace.engine.clock import Clock
from csitrace.engine.session import Session
from csitrace.lifecycle.history import History
from csitrace.model.events import TraceEvent
from csitrace.model.times import MILLISECOND

_SLICE_NS = 10 * MILLISECOND
"""How long folding may hold up the event loop, and with it the keys of who has the screen before them."""

_AT_ONCE = 16


def replay_session(title: str, clock: Clock | None = None) -> Session:
    """A session for a recording: none of its facts is let go."""
    return Session(title, clock, History(events_kept=None), live=False)


async def load(session: Session, events: Iterable[TraceEvent]) -> None:
    """Fold a recording's facts into the session; the event loop has its turn between slices. Raises what reading them raises."""
    clock = session.clock
    until = clock() + _SLICE_NS
    waiting = iter(events)
    while some := list(islice(waiting, _AT_ONCE)):
        session.load(some)
        if clock() >= until:
            await asyncio.sleep(0)
            until = clock() + _SLICE_NS
    session.loaded()
