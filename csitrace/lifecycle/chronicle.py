"""A recording in the whole: every volume that was ever in it, with all its calls, spans, steps, findings and facts.

What a screen shows is one state; what is taken elsewhere is all of them. So the events are folded once, in order, and what each
one brings is kept; the states are let go. Memory grows with the facts, not with the states.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from msgspec.structs import replace

from csitrace.lifecycle.facts import describe
from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.fuse import HANG_NS, fuse_states
from csitrace.lifecycle.ladder import expansion, ladder, way_back
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.spans import hangs, spans
from csitrace.lifecycle.state import Call, State, Volume
from csitrace.lifecycle.verdict import DEFAULT_PATIENCE, PATIENCE, verdict
from csitrace.lifecycle.views import Severity, SpanView, StepView, Verdict, VolumeRow
from csitrace.model.events import (
    FuseCounted,
    FuseObserved,
    Marked,
    ObjectAdded,
    ObjectListed,
    ObjectModified,
    RpcFinished,
    RpcStarted,
    SourceDown,
    SourceGap,
    TraceEvent,
    Witness,
)
from csitrace.model.kubernetes import Event

INSTANTS: dict[type, str] = {Marked: "mark", SourceGap: "gap", SourceDown: "silence"}
"""Facts about no volume that are worth a point in time, and what they are called."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One event in words. `keys`: the volumes that it told something of. `kind`: what of `INSTANTS` it is, or "event" for one of
    Kubernetes, "anomaly"; else ""."""

    seq: int
    at: int
    witness: Witness | None
    text: str
    keys: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """From `at` on the verdict was this one, until the next."""

    at: int
    seq: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Way:
    """The steps of one road: `name` forward, back or expansion; of one pod, or of none ("")."""

    name: str
    pod: str
    node_name: str
    steps: tuple[StepView, ...]


@dataclass(frozen=True, slots=True)
class Life:
    """All of one volume. `row` is as at the end, or as it was last; `calls` are all that were heard, oldest first."""

    volume: Volume
    row: VolumeRow
    last_at: int
    ways: tuple[Way, ...]
    spans: tuple[SpanView, ...]
    calls: tuple[Call, ...]
    findings: tuple[Finding, ...]
    facts: tuple[Fact, ...]

    @property
    def key(self) -> str:
        return self.volume.key

    @property
    def name(self) -> str:
        return self.volume.display_name


@dataclass(frozen=True, slots=True)
class FuseSample:
    """What a FUSE connection had done by `at`: operations by kind since it was first seen; `waiting` None: not told."""

    at: int
    node_name: str
    connection: int
    volume_id: str
    ops: tuple[tuple[str, int], ...]
    waiting: int | None


@dataclass(frozen=True, slots=True)
class Chronicle:
    """The whole recording. `lives` in the order in which they were first seen; `now`: the last event's time, 0 without any."""

    title: str
    first_at: int
    now: int
    events: int
    lives: tuple[Life, ...]
    facts: tuple[Fact, ...]
    fuse: tuple[FuseSample, ...]
    skipped: int = 0
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Growing:
    """One volume so far."""

    state: State
    volume: Volume
    calls: dict[tuple[str, int], Call] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)


def chronicle(
    events: Iterable[TraceEvent], title: str = "", wanted: Callable[[VolumeRow, int], bool] | None = None
) -> Chronicle:
    """Fold the events, once. `wanted` chooses volumes, as they are at the end; what is of others is left out."""
    writer = _Writer()
    for event in events:
        writer.take(event)
    return writer.finished(title, wanted)


class _Writer:
    """Takes events in `seq` order."""

    def __init__(self) -> None:
        self._state = State()
        self._growing: dict[str, _Growing] = {}
        self._facts: list[Fact] = []
        self._fuse: list[FuseSample] = []
        self._due: list[tuple[int, str]] = []  # when time alone may change a verdict, of which volume
        self._awaited: set[tuple[int, str]] = set()  # all that was ever in `_due`
        self._first_at = 0
        self._events = 0

    def take(self, event: TraceEvent) -> None:
        while self._due and self._due[0][0] < event.observed_at:
            at, key = heappop(self._due)
            self._judge(key, at, self._state.seq)
        before, self._state = self._state, fold(self._state, event)
        self._events += 1
        self._first_at = self._first_at or event.observed_at
        keys = tuple(key for key in self._state.changed_keys if self._is_touched(before, key))
        fact = _fact(event, keys)
        self._facts.append(fact)
        for key in keys:
            self._touch(key, event, fact)
        self._note_anomalies(before, keys)
        if isinstance(event.body, FuseCounted | FuseObserved):
            self._sample(event.body, event)

    def finished(self, title: str, wanted: Callable[[VolumeRow, int], bool] | None) -> Chronicle:
        now = self._state.at
        while self._due and self._due[0][0] <= now:
            at, key = heappop(self._due)
            self._judge(key, at, self._state.seq)
        lives = [self._life(growing, now) for growing in self._growing.values()]
        chosen = [life for life in lives if wanted is None or wanted(life.row, now)]
        keys = {life.key for life in chosen}
        ids = {life.volume.volume_id for life in chosen}
        everything = wanted is None
        return Chronicle(
            title,
            self._first_at,
            now,
            self._events,
            tuple(chosen),
            tuple(f for f in self._facts if everything or not keys.isdisjoint(f.keys) or _is_general(f)),
            tuple(s for s in self._fuse if everything or s.volume_id in ids),
            self._state.events_skipped,
        )

    def _is_touched(self, before: State, key: str) -> bool:
        return before.volumes.get(key) is not self._state.volumes.get(key)

    def _touch(self, key: str, event: TraceEvent, fact: Fact) -> None:
        volume = self._state.volumes.get(key)
        growing = self._growing.get(key)
        if volume is None:
            if (
                growing is not None and growing.volume.gone_at is None
            ):  # it is another by now, or none of ours
                self._move(key)
            return
        if growing is None:
            growing = self._growing[key] = _Growing(self._state, volume)
        growing.state, growing.volume = self._state, volume
        growing.facts.append(fact)
        if isinstance(event.body, RpcStarted | RpcFinished) or len(volume.calls) > len(growing.calls):
            growing.calls.update(((call.instance, call.call_id), call) for call in volume.calls)
        self._judge(key, event.observed_at, event.seq)

    def _move(self, former: str) -> None:
        """A volume that was known by its calls only has turned out to be one of those that changed now."""
        old = self._growing.pop(former)
        for key in self._state.changed_keys:
            heir = self._state.volumes.get(key)
            same = heir is not None and key != former and (
                (bool(heir.volume_id) and heir.volume_id == old.volume.volume_id)
                or (heir.pv is not None and old.volume.pv is not None and heir.pv.uid == old.volume.pv.uid)
                or (bool(old.calls) and not old.calls.keys().isdisjoint((c.instance, c.call_id) for c in heir.calls))
            )  # fmt: skip
            if same and heir is not None:
                growing = self._growing.setdefault(key, _Growing(self._state, heir))
                growing.calls = {**old.calls, **growing.calls}
                growing.facts = sorted({*old.facts, *growing.facts}, key=lambda fact: fact.seq)
                return

    def _judge(self, key: str, at: int, seq: int) -> None:
        growing = self._growing.get(key)
        if growing is None or self._state.volumes.get(key) is None:
            return
        word = verdict(self._state, growing.volume, at)
        last = growing.findings[-1].verdict if growing.findings else None
        if last is None or _said(last) != _said(word):
            growing.findings.append(Finding(at, seq, word))
        if word.since is not None and word.severity in (Severity.MOVING, Severity.SLOW):
            patience = PATIENCE.get(word.step_id, DEFAULT_PATIENCE)
            wait = patience.slow_ns if word.severity is Severity.MOVING else patience.stuck_ns
            if word.since + wait > at:
                self._look_again(word.since + wait, key)
        elif word.severity is Severity.OK:
            waiting = [
                c.waiting_since
                for c in fuse_states(self._state, growing.volume)
                if c.waiting_since is not None
            ]
            if waiting and min(waiting) + HANG_NS > at:
                self._look_again(min(waiting) + HANG_NS, key)

    def _look_again(self, at: int, key: str) -> None:
        if (at, key) not in self._awaited:
            self._awaited.add((at, key))
            heappush(self._due, (at, key))

    def _note_anomalies(self, before: State, keys: tuple[str, ...]) -> None:
        if before.anomalies is self._state.anomalies or not self._state.anomalies:
            return
        anomaly = self._state.anomalies[-1]
        fact = Fact(anomaly.seq, anomaly.at, Witness.DRIVER, anomaly.text, keys, "anomaly")
        self._facts.append(fact)
        for key in keys:
            if key in self._growing:
                self._growing[key].facts.append(fact)

    def _sample(self, body: FuseCounted | FuseObserved, event: TraceEvent) -> None:
        seen = self._state.fuse.get((body.node_name, body.connection))
        if seen is None:
            return
        ops = tuple(sorted((name, count.count) for name, count in seen.totals.items()))
        volume_id = seen.volume_id or body.volume_id
        self._fuse.append(
            FuseSample(event.occurred_at, body.node_name, body.connection, volume_id, ops, seen.waiting)
        )

    def _life(self, growing: _Growing, now: int) -> Life:
        state, volume = growing.state, growing.volume
        if self._state.volumes.get(volume.key) is volume:
            state = self._state
        calls = tuple(sorted(growing.calls.values(), key=lambda call: (call.started_at, call.seq)))
        found = (*spans(replace(volume, calls=calls)), *hangs(fuse_states(state, volume), now))
        return Life(
            volume,
            volume_row(state, volume, now),
            volume.gone_at or state.at,
            tuple(_ways(state, volume)),
            tuple(sorted(found, key=lambda span: (span.started_at, span.name))),
            calls,
            tuple(growing.findings),
            tuple(growing.facts),
        )


def _ways(state: State, volume: Volume) -> Iterable[Way]:
    for use in volume.uses or (None,):
        pod, node = (use.pod.name, use.node_name) if use is not None else ("", "")
        yield Way("forward", pod, node, ladder(state, volume, use))
        yield Way("back", pod, node, way_back(state, volume, use))
    if steps := expansion(state, volume, None):
        yield Way("expansion", "", "", steps)


def _fact(event: TraceEvent, keys: tuple[str, ...]) -> Fact:
    witness, text = describe(event)
    kind = INSTANTS.get(type(event.body), "")
    if isinstance(event.body, ObjectAdded | ObjectModified | ObjectListed) and isinstance(
        event.body.object, Event
    ):
        kind = "event"
    return Fact(event.seq, event.occurred_at, witness, text, keys, kind)


def _is_general(fact: Fact) -> bool:
    return not fact.keys and fact.kind in INSTANTS.values()


def _said(word: Verdict) -> tuple[Severity, str, str]:
    return word.severity, word.step_id, word.holder
