"""Volumes explained once: which of them, on what they are printed, and what the exit code says."""

import sys
from collections.abc import Awaitable, Callable

from csitrace.engine.session import Session
from csitrace.errors import UsageError
from csitrace.lifecycle.explanation import explain, is_unwell, worst_first
from csitrace.lifecycle.filter import parse_volume_filter
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.state import State
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.report.explained import explained_json
from csitrace.report.once import hear_once
from csitrace.report.page import counted, pages
from csitrace.report.paint import has_colours
from csitrace.report.silence import sentences, silences
from csitrace.sources.recording import Recording

NAMES_TOLD = 5
"""How many volumes are named to somebody who named one that is not there."""


async def explain_session(
    session: Session, take_in: Callable[[], Awaitable[None]], wanted: str, *, named: bool, form: str
) -> int:
    """Explain what a session hears, once its sources have told all there is. Raises as `print_once` does, and `UsageError` when
    what was named is not there.

    `wanted`: a filter. `named`: it names volumes, so that those are explained that are well, too. The answer is the exit code.
    """
    parse_volume_filter(wanted)
    await hear_once(session, take_in)
    for sentence in sentences(silences(session.state).values()):
        print(sentence, file=sys.stderr)
    return explain_state(session.state, session.now, wanted, named=named, form=form)


def explain_recording(recording: Recording, wanted: str, *, named: bool, form: str) -> int:
    """Explain what a recording holds, as of its last event. Raises `TraceError` and `UsageError`."""
    parse_volume_filter(wanted)
    state = State()
    for event in recording.events:
        state = fold(state, event)
    for note in recording.notes:
        print(note, file=sys.stderr)
    return explain_state(state, state.at, wanted, named=named, form=form)


def explain_state(state: State, now: int, wanted: str, *, named: bool, form: str) -> int:
    """Print the pages to stdout; 1 when a volume that has one is stuck."""
    chosen, others = choose(state, now, wanted, named=named)
    told = [explain(state, state.volumes[row.key], now) for row in chosen]
    if form == "json":
        print(explained_json(state, told, others, now), flush=True)
    elif told:
        print(pages(told, others, coloured=has_colours(sys.stdout)), flush=True)
    else:
        print(
            f"nothing to explain: {counted(others) or 'no volumes'}".replace(" more: ", " volumes: "),
            flush=True,
        )
    return 1 if any(each.row.severity is Severity.STUCK for each in told) else 0


def choose(state: State, now: int, wanted: str, *, named: bool) -> tuple[list[VolumeRow], list[VolumeRow]]:
    """The volumes to be explained, worst first, and those that are only counted. Raises `UsageError` when none has the name."""
    passes = parse_volume_filter(wanted)
    rows = worst_first(volume_row(state, volume, now) for volume in state.volumes.values())
    living = [row for row in rows if row.severity is not Severity.GONE]
    if not named:
        matching = [row for row in living if passes.matches(row, now)]
        return [row for row in matching if is_unwell(row)], [row for row in matching if not is_unwell(row)]
    found = [row for row in living if passes.matches(row, now)]
    found = found or [row for row in rows if passes.matches(row, now)]  # of what is gone, what is known last
    if not found:
        raise UsageError(f"no volume matches {wanted}; {_there_is(living)}")
    return found, []


def _there_is(rows: list[VolumeRow]) -> str:
    if not rows:
        return "there is no volume at all"
    names = [row.display_name for row in rows[:NAMES_TOLD]]
    more = f" and {len(rows) - NAMES_TOLD} more" if len(rows) > NAMES_TOLD else ""
    return f"there is {', '.join(names)}{more}"
