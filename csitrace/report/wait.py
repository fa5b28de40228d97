"""Waiting for volumes: silent until all have what is waited for, or the time is up; then a line for each."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from csitrace.engine.session import Session
from csitrace.lifecycle.condition import Condition
from csitrace.lifecycle.filter import Filter
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.state import State
from csitrace.lifecycle.views import VolumeRow
from csitrace.model.times import format_duration
from csitrace.report.once import ensure_heard
from csitrace.report.printer import QUIET_SECONDS, has_told


@dataclass(slots=True)
class Target:
    """What was named on the command line: all volumes that pass `passes`. `known`: those that ever did, by key, and what they
    were called: deletion is seen of what was there. `must_exist`: that there is none is nothing to be waited for.
    `claimed`: only those whose claim is heard, where claims are selected and the rest of the cluster is not."""

    text: str
    passes: Filter[VolumeRow]
    must_exist: bool = False
    claimed: bool = False
    known: dict[str, str] = field(default_factory=dict)

    def unmet(self, state: State, now: int, condition: Condition) -> list[str]:
        """A line for each volume that has not what is waited for, or that there is none; empty when all is well."""
        matching = []
        for volume in state.volumes.values():
            if self.claimed and volume.claim is None:
                continue
            if volume.key in self.known or volume.gone_at is None:
                row = volume_row(state, volume, now)
                if volume.key in self.known or self.passes.matches(row, now):
                    self.known.setdefault(volume.key, row.display_name)
                    matching.append((volume, row))
        if condition.is_deletion:
            return [_reason(row) for volume, row in matching if volume.gone_at is None]
        living = [(volume, row) for volume, row in matching if volume.gone_at is None]
        if not living:
            gone = next(iter(self.known.values()), "")
            return [f"{gone}: it is gone" if gone else f"no volume matches {self.text}"]
        return [_reason(row) for volume, row in living if not condition.is_met(state, volume, now)]


def _reason(row: VolumeRow) -> str:
    held = f" (held by {row.verdict.holder})" if row.verdict.holder else ""
    return f"{row.display_name}: step {row.step_id}: {row.verdict.sentence}{held}"


async def wait_session(
    session: Session,
    take_in: Callable[[], Awaitable[None]],
    targets: Sequence[Target],
    condition: Condition,
    timeout_seconds: float | None,
) -> int:
    """Wait until every target has it; the exit code is 0, or 1 when the time is up. 0 seconds: look once; None: for ever.

    Raises `NotAllowedError` and `UnreachableError` when no API server tells anything at the beginning, and what `take_in` raises.
    """
    waiting = _Waiting(session, targets, condition)
    taking_in = asyncio.ensure_future(take_in())
    unsubscribe = session.on_change(waiting.changed.set)
    try:
        async with asyncio.timeout(timeout_seconds or None):
            await waiting.until_met(taking_in, once=timeout_seconds == 0)
    except TimeoutError:
        ensure_heard(session.state)  # who was never heard is no volume's fault
    finally:
        unsubscribe()
        taking_in.cancel()
        await asyncio.wait({taking_in})
    if not waiting.unmet:
        for target in targets:
            for name in sorted(target.known.values()):
                print(f"{name}: {condition.text}", flush=True)
        return 0
    after = f"after {format_duration(int(timeout_seconds * 10**9))}" if timeout_seconds else "now"
    for line in waiting.unmet:
        print(f"not {condition.text} {after}: {line}", file=sys.stderr, flush=True)
    return 1


class _Waiting:
    """Looks whenever something changed, and every `QUIET_SECONDS`."""

    def __init__(self, session: Session, targets: Sequence[Target], condition: Condition) -> None:
        self._session, self._targets, self._condition = session, targets, condition
        self.changed = asyncio.Event()
        self.unmet = [f"no volume matches {target.text}" for target in targets]

    async def until_met(self, taking_in: "asyncio.Future[None]", *, once: bool) -> None:
        began = False
        while True:
            state = self._session.state
            if not began and has_told(state):
                began = True
                ensure_heard(state)
            if began and (self._look(state) or once or self._is_hopeless()):
                return
            if taking_in.done():
                taking_in.result()
                self._look(self._session.state)
                return
            self.changed.clear()
            change = asyncio.ensure_future(self.changed.wait())
            await asyncio.wait(
                (change, taking_in), timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            change.cancel()

    def _look(self, state: State) -> bool:
        now = self._session.now
        self.unmet = [line for target in self._targets for line in target.unmet(state, now, self._condition)]
        return not self.unmet

    def _is_hopeless(self) -> bool:
        """Nothing passes a selection: as for kubectl, that is nothing to wait for. What is named may yet come."""
        return any(target.must_exist and not target.known for target in self._targets)
