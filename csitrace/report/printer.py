"""A session printed as it changes: `csitrace watch` where there is no terminal."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from csitrace.engine.session import Session
from csitrace.lifecycle.filter import Filter, parse_volume_filter
from csitrace.lifecycle.rowcache import RowCache
from csitrace.lifecycle.state import SourceState, State
from csitrace.lifecycle.views import VolumeRow
from csitrace.model.events import Witness
from csitrace.model.kinds import KIND_BY_NAME
from csitrace.model.times import SECOND
from csitrace.report.changes import Change, Follower
from csitrace.report.lines import LINES
from csitrace.report.refusal import refusal
from csitrace.report.silence import Silence, sentences, silences

PACE_SECONDS = 0.2
"""At most this often lines are made: what comes and goes in between is no line."""

QUIET_SECONDS = 1.0
"""Without any fact, time alone makes things slow or stuck: it is looked at this often."""

BEGIN_SECONDS = 3.0
"""How long lines wait, at the most, until everyone who is heard has told what there is: half a picture is full of unknowns."""


async def print_changes(
    session: Session, take_in: Callable[[], Awaitable[None]], wanted: str = "", *, form: str = "lines"
) -> int:
    """Print changes to stdout until `take_in` ends, and news of the witnesses to stderr; the answer is the exit code, 0.

    `wanted`: a filter; `form`: one of `LINES`. Raises `FilterError` when it is wrong, and what `take_in` raises.
    """

    def write(text: str) -> None:
        print(text, flush=True)

    def complain(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    printer = Printer(session, parse_volume_filter(wanted), LINES[form], write, complain)
    await printer.run(take_in)
    return 0


class Printer:
    """Writes a line per change of a session: `line` makes it, `write` takes it. `complain` takes news of silent witnesses."""

    def __init__(
        self,
        session: Session,
        chosen: Filter[VolumeRow],
        line: Callable[[Change, int], str],
        write: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        self._session, self._line, self._write, self._complain = session, line, write, complain
        self._follower = Follower(chosen)
        self._rows = RowCache()
        self._silent: dict[str, Silence] = {}

    async def run(self, take_in: Callable[[], Awaitable[None]]) -> None:
        """Print while facts are taken in, and what came last once they end. Errors of `take_in` pass through."""
        changed = asyncio.Event()
        unsubscribe = self._session.on_change(changed.set)
        taking_in = asyncio.ensure_future(take_in())
        begun, latest = False, self._session.clock() + int(BEGIN_SECONDS * SECOND)
        try:
            while not taking_in.done():
                await self._wait(changed, taking_in)
                changed.clear()
                begun = begun or has_begun(self._session.state) or self._session.clock() >= latest
                if begun and not refusal(self._session.state):  # which ends it, and says it all
                    self.print_changes()
            self.print_changes(complaining=taking_in.exception() is None)  # an error says it all
            await taking_in
        finally:
            taking_in.cancel()
            unsubscribe()

    async def _wait(self, changed: asyncio.Event, taking_in: "asyncio.Future[None]") -> None:
        """Until something changed, but no longer than `QUIET_SECONDS`, and no less than `PACE_SECONDS`."""
        await asyncio.wait((taking_in,), timeout=PACE_SECONDS)
        waiting = asyncio.ensure_future(changed.wait())
        await asyncio.wait((waiting, taking_in), timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    def print_changes(self, *, complaining: bool = True) -> None:
        """Print what changed since the last call."""
        state, now = self._session.state, self._session.now
        if complaining:
            self._print_silence(silences(state))
        found = self._follower.update(self._rows.rows(state, now), now)
        for change in sorted(found, key=lambda change: (change.row.display_name, change.row.key)):
            self._write(self._line(change, now))

    def _print_silence(self, silent: dict[str, Silence]) -> None:
        for sentence in sentences(item for who, item in silent.items() if who not in self._silent):
            self._complain(sentence)
        again: dict[str, list[str]] = {}
        for who in sorted(self._silent.keys() - silent.keys()):
            again.setdefault(self._silent[who].witness, []).append(self._silent[who].scope)
        for witness, scopes in again.items():
            self._complain(f"heard again: {witness} {', '.join(scopes)}")
        self._silent = silent


def has_begun(state: State) -> bool:
    """Whether every kind of object, and every other source that was heard of, has told all there is, or why it cannot."""
    return has_told(state) and all(_has_told(source) for source in state.sources.values())


def has_told(state: State) -> bool:
    """Whether Kubernetes has: each kind is listed, or it is known why it cannot be, in each place where it is looked for."""
    told = [source for source in state.sources.values() if source.witness is Witness.KUBERNETES]
    kinds = {source.scope.partition("/")[0] for source in told}
    return kinds >= KIND_BY_NAME.keys() and all(_has_told(source) for source in told)


def _has_told(source: SourceState) -> bool:
    return source.listed or not source.up
