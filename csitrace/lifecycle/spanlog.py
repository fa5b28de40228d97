"""All spans of a recording: also those of volumes that are gone, and of calls that a state no longer keeps.

A state is bounded, a recording need not be: spans are looked at after every event that changed a volume, and what was seen once
stays.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.spans import spans
from csitrace.lifecycle.state import Anomaly, State
from csitrace.lifecycle.verdict import verdict
from csitrace.lifecycle.views import Severity, SpanView, VolumeRow
from csitrace.model.events import TraceEvent


@dataclass(frozen=True, slots=True)
class LoggedSpan:
    """One span of one volume. `row`: the volume when the span was last seen to change, by event `seq`."""

    key: str
    span: SpanView
    row: VolumeRow
    seq: int

    def lasted(self, end: int) -> int:
        """Its length (ns); of one that is open, until `end`."""
        return (self.span.ended_at if self.span.ended_at is not None else max(end, self.span.started_at)) - (
            self.span.started_at
        )


@dataclass(frozen=True, slots=True)
class Worst:
    """That a volume was at its worst by event `seq`."""

    severity: Severity
    row: VolumeRow
    seq: int


@dataclass(slots=True)
class SpanLog:
    """What a recording holds, to be asked about. `at`: its end (ns). `worst`: of each volume by key, at the moments when a fact
    changed it; `state`: the last one."""

    state: State = field(default_factory=State)
    anomalies: list[tuple[Anomaly, VolumeRow | None]] = field(default_factory=list)
    worst: dict[str, Worst] = field(default_factory=dict)
    _by_volume: dict[str, list[LoggedSpan]] = field(default_factory=dict)

    @property
    def at(self) -> int:
        return self.state.at

    @property
    def spans(self) -> list[LoggedSpan]:
        """By start."""
        every = (logged for known in self._by_volume.values() for logged in known)
        return sorted(every, key=lambda logged: (logged.span.started_at, logged.key, logged.span.name))

    def take(self, event: TraceEvent) -> None:
        """Take in the next event."""
        before, self.state = self.state, fold(self.state, event)
        for key in _touched(before, self.state):
            self._look(key)
        for anomaly in self.state.anomalies:
            if anomaly.seq == event.seq:
                row = next(
                    (self._row(key) for key in self.state.changed_keys if key in self.state.volumes), None
                )
                self.anomalies.append((anomaly, row))

    def rows(self) -> Iterator[VolumeRow]:
        """How every volume that is left stands at the end."""
        for volume in self.state.volumes.values():
            if volume.gone_at is None:
                yield volume_row(self.state, volume, self.at)

    def _row(self, key: str) -> VolumeRow:
        return volume_row(self.state, self.state.volumes[key], self.at)

    def _look(self, key: str) -> None:
        volume = self.state.volumes[key]
        known = self._by_volume.get(key, [])
        current = spans(volume)
        if tuple(logged.span for logged in known) != current:
            self._by_volume[key] = _merged(known, current, key, self._row(key), self.state.seq)
        severity = verdict(self.state, volume, self.at).severity
        worst = self.worst.get(key)
        if worst is None or severity > worst.severity:
            self.worst[key] = Worst(severity, self._row(key), self.state.seq)


def span_log(events: Iterable[TraceEvent]) -> SpanLog:
    """The log of a whole recording."""
    log = SpanLog()
    for event in events:
        log.take(event)
    return log


def _touched(before: State, after: State) -> Iterator[str]:
    for key in after.changed_keys:
        if key in after.volumes and before.volumes.get(key) is not after.volumes[key]:
            yield key


def _merged(
    known: Sequence[LoggedSpan], current: Sequence[SpanView], key: str, row: VolumeRow, seq: int
) -> list[LoggedSpan]:
    """What is told now, and what was told and is no longer kept. A span told otherwise now (by calls, and before from what the
    cluster showed) is the one told now; one whose first calls are no longer kept still began with them."""
    found = {_identity(span): span for span in current}
    before = {_identity(logged.span): logged for logged in known}
    kept: list[LoggedSpan] = []
    for logged in known:
        if _identity(logged.span) in found:
            continue
        heir = next((span for span in found.values() if _overlap(span, logged.span)), None)
        if heir is None:
            kept.append(logged)
        elif heir.retry_marks and heir.retry_marks[0] in logged.span.retry_marks:
            earlier = logged.span.retry_marks[: logged.span.retry_marks.index(heir.retry_marks[0])]
            found[_identity(heir)] = replace(
                heir,
                started_at=logged.span.started_at,
                attempts=heir.attempts + len(earlier),
                retry_marks=(*earlier, *heir.retry_marks),
            )
    for identity, span in found.items():
        same = before.get(identity)
        kept.append(same if same is not None and same.span == span else LoggedSpan(key, span, row, seq))
    return sorted(kept, key=lambda logged: logged.span.started_at)


def _identity(span: SpanView) -> tuple[str, str, int]:
    return span.name, span.node_name, span.started_at


def _overlap(one: SpanView, other: SpanView) -> bool:
    """Two accounts of one operation: by name and place, at times that touch. A call's node may not be told."""
    if one.name != other.name or (one.node_name and other.node_name and one.node_name != other.node_name):
        return False
    return (other.ended_at is None or one.started_at <= other.ended_at) and (
        one.ended_at is None or other.started_at <= one.ended_at
    )
