"""A recording printed: the changes it holds, at its own times, without waiting."""

import sys
from collections.abc import Iterable, Sequence

from csitrace.engine.session import Session
from csitrace.lifecycle.filter import parse_volume_filter
from csitrace.lifecycle.history import KEYFRAME_EVERY, History
from csitrace.model.events import TraceEvent
from csitrace.model.times import MINUTE, SECOND
from csitrace.report.lines import LINES
from csitrace.report.printer import BEGIN_SECONDS, PACE_SECONDS, QUIET_SECONDS, Printer, has_begun

PATIENCE_NS = 10 * MINUTE
"""For how long after a fact time alone is looked at: later, all that becomes slow or stuck is."""


def print_recording(
    title: str, events: Iterable[TraceEvent], notes: Sequence[str], wanted: str = "", *, form: str = "lines"
) -> int:
    """Print changes to stdout, notes and news of the witnesses to stderr; the answer is the exit code, 0.

    `wanted`: a filter; `form`: one of `LINES`. Raises `FilterError`, and `TraceError` where the events cannot be read on.
    """

    def complain(text: str) -> None:
        print(text, file=sys.stderr)

    clock = _Clock()
    session = Session(title, clock, History(events_kept=KEYFRAME_EVERY))
    printer = Printer(session, parse_volume_filter(wanted), LINES[form], print, complain)
    Replayer(session, clock, printer).run(events)
    for note in notes:
        complain(note)
    sys.stdout.flush()
    return 0


class _Clock:
    """The recording's own time."""

    def __init__(self) -> None:
        self.at = 0

    def __call__(self) -> int:
        return self.at


class Replayer:
    """Folds events one by one and lets the printer look as often, in the recording's time, as it looks at a live session."""

    def __init__(self, session: Session, clock: _Clock, printer: Printer) -> None:
        self._session, self._clock, self._printer = session, clock, printer
        self._begun, self._looked_at = False, 0

    def run(self, events: Iterable[TraceEvent]) -> None:
        latest: int | None = None
        for event in events:
            if latest is None:
                self._clock.at = self._looked_at = event.observed_at
                latest = event.observed_at + int(BEGIN_SECONDS * SECOND)
            self._pass_time(event.observed_at)
            self._session.history.append(event)
            self._begun = self._begun or self._clock.at >= latest or has_begun(self._session.state)
        self._look()

    def _pass_time(self, at: int) -> None:
        """What is to be seen between the last fact and this one."""
        if at - self._looked_at < int(PACE_SECONDS * SECOND):
            self._clock.at = max(self._clock.at, at)
            return
        self._look()
        until, quiet = min(at, self._clock.at + PATIENCE_NS), int(QUIET_SECONDS * SECOND)
        while self._clock.at + quiet < until:
            self._clock.at += quiet
            self._look()
        self._clock.at = max(self._clock.at, at)
        self._looked_at = self._clock.at

    def _look(self) -> None:
        if self._begun:
            self._printer.print_changes()
