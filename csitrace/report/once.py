"""The list of volumes printed once, when everyone who can be heard has told what there is: `csitrace get`."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable

from csitrace.engine.session import Session
from csitrace.errors import NotAllowedError, UnreachableError
from csitrace.lifecycle.filter import parse_volume_filter
from csitrace.lifecycle.row import volume_rows
from csitrace.lifecycle.state import State
from csitrace.lifecycle.views import Severity
from csitrace.model.events import Witness
from csitrace.report.printer import BEGIN_SECONDS, has_begun, has_told
from csitrace.report.refusal import refusal
from csitrace.report.silence import sentences, silences
from csitrace.report.table import FORMS


async def print_once(
    session: Session, take_in: Callable[[], Awaitable[None]], wanted: str = "", *, form: str = "table"
) -> int:
    """Print the volumes to stdout, and who is not heard to stderr; the answer is the exit code: 1 when a volume is stuck.

    `wanted`: a filter; `form`: one of `FORMS`. Raises `FilterError` when the filter is wrong, `NotAllowedError` or
    `UnreachableError` when no API server tells anything, and what `take_in` raises.
    """
    chosen = parse_volume_filter(wanted)
    await hear_once(session, take_in)
    state, now = session.state, session.now
    rows = [
        row
        for row in volume_rows(state, now)
        if row.severity is not Severity.GONE and chosen.matches(row, now)
    ]
    for sentence in sentences(silences(state).values()):
        print(sentence, file=sys.stderr)
    if rows or form in ("json", "yaml"):
        print(FORMS[form](state, rows, now), flush=True)
    else:
        print("no volumes" + (f" that pass {wanted}" if wanted else ""), file=sys.stderr)
    return 1 if any(row.severity is Severity.STUCK for row in rows) else 0


async def hear_once(session: Session, take_in: Callable[[], Awaitable[None]]) -> None:
    """Take in what there is, and end. Raises `NotAllowedError` or `UnreachableError` when no API server tells anything, and what
    `take_in` raises."""
    await _until_begun(session, take_in)
    ensure_heard(session.state)


def ensure_heard(state: State) -> None:
    """Raise `NotAllowedError` or `UnreachableError` when no API server tells anything."""
    if reason := refusal(state):
        raise NotAllowedError(reason)
    kubernetes = [source for source in state.sources.values() if source.witness is Witness.KUBERNETES]
    if not any(source.up for source in kubernetes):
        raise UnreachableError(next((source.reason for source in kubernetes), "nobody is heard"))


async def _until_begun(session: Session, take_in: Callable[[], Awaitable[None]]) -> None:
    """Take facts in until all first lists are there, or those who cannot give them have said so. Who is no part of Kubernetes
    (an agent, a driver) has `BEGIN_SECONDS` from when Kubernetes has told all it has."""
    told, begun = asyncio.Event(), asyncio.Event()

    def look() -> None:
        if has_told(session.state):
            told.set()
        if has_begun(session.state):
            begun.set()

    async def wait() -> None:
        await told.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(begun.wait(), BEGIN_SECONDS)

    unsubscribe = session.on_change(look)
    taking_in, waiting = asyncio.ensure_future(take_in()), asyncio.ensure_future(wait())
    try:
        await asyncio.wait({taking_in, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if taking_in.done():
            taking_in.result()
    finally:
        unsubscribe()
        waiting.cancel()
        taking_in.cancel()
        await asyncio.wait({taking_in, waiting})
