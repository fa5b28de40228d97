"""A recording in the whole: every volume that was ever in it, with all its calls, spans, steps, findings and facts (see `lives`).

What a screen shows is one state; what is taken elsewhere is all of them. Memory grows with the facts, not with the states.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush

from csitrace.lifecycle.facts import describe
from csitrace.lifecycle.fuse import HANG_NS, fuse_states
from csitrace.lifecycle.lives import Lives, Past, roads
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.spans import hangs
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
    """All of one volume. `row` is as at the end, or as it was last; `calls` are all that were heard, oldest first; `ways` also
    those of pods that were gone before."""

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


def chronicle(
    events: Iterable[TraceEvent], title: str = "", wanted: Callable[[VolumeRow, int], bool] | None = None
) -> Chronicle:
    """Fold the events, once. `wanted` chooses volumes, as they are at the end; what is of others is left out."""
    writer = _Writer()
    for event in events:
        writer.take(event)
    return writer.finished(title, wanted)


class _Kept:
    """One volume so far, beside its calls and spans."""

    __slots__ = ("_ways", "facts", "findings", "hangs", "last_at", "row")

    def __init__(self) -> None:
        self.row: VolumeRow | None = None
        self.last_at = 0
        self.hangs: tuple[SpanView, ...] = ()
        self.findings: list[Finding] = []
        self.facts: list[Fact] = []
        self._ways: dict[tuple[str, object], Way] = {}

    @property
    def ways(self) -> tuple[Way, ...]:
        """Those that it was last read with, then those of pods and expansions before."""
        return tuple(self._ways.values())

    def read(self, state: State, volume: Volume) -> None:
        self.row = volume_row(state, volume, state.at)
        self.last_at = volume.gone_at or state.at
        self.hangs = hangs(fuse_states(state, volume), state.at)
        ways: dict[tuple[str, object], Way] = {}
        for name, use, steps in roads(state, volume):
            if name == "expansion":
                ways[name, volume.expansion and volume.expansion.seq] = Way(name, "", "", steps)
            else:
                pod, node = (use.pod.name, use.node_name) if use is not None else ("", "")
                ways[name, use and use.pod_uid] = Way(name, pod, node, steps)
        before = {key: way for key, way in self._ways.items() if key not in ways and key[1] is not None}
        self._ways = {**ways, **before}

    def inherit(self, former: "_Kept") -> None:
        self.facts = sorted({*former.facts, *self.facts}, key=lambda fact: fact.seq)


class _Writer:
    """Takes events in `seq` order."""

    def __init__(self) -> None:
        self._lives = Lives(_Kept)
        self._facts: list[Fact] = []
        self._fuse: list[FuseSample] = []
        self._due: list[tuple[int, str]] = []  # when time alone may change a verdict, of which volume
        self._awaited: set[tuple[int, str]] = set()  # all that was ever in `_due`

    def take(self, event: TraceEvent) -> None:
        self._judge_until(event.observed_at - 1)
        before = self._lives.state
        self._lives.take(event)
        state, keys = self._lives.state, self._lives.touched
        fact = _fact(event, keys)
        self._facts.append(fact)
        for key in keys:
            if key in state.volumes:
                self._lives.of[key].kept.facts.append(fact)
                self._judge(key, event.observed_at, event.seq)
        self._note_anomalies(before, keys)
        if isinstance(event.body, FuseCounted | FuseObserved):
            self._sample(event.body, event)

    def finished(self, title: str, wanted: Callable[[VolumeRow, int], bool] | None) -> Chronicle:
        state = self._lives.state
        now = state.at
        self._judge_until(now)
        self._lives.end()
        lives = [_life(past, past.kept.row) for past in self._lives.of.values() if past.kept.row is not None]
        chosen = [life for life in lives if wanted is None or wanted(life.row, now)]
        keys = {life.key for life in chosen}
        ids = {life.volume.volume_id for life in chosen}
        everything = wanted is None
        return Chronicle(
            title,
            self._lives.first_at,
            now,
            self._lives.events,
            tuple(chosen),
            tuple(f for f in self._facts if everything or not keys.isdisjoint(f.keys) or _is_general(f)),
            tuple(s for s in self._fuse if everything or s.volume_id in ids),
            state.events_skipped,
        )

    def _judge_until(self, at: int) -> None:
        while self._due and self._due[0][0] <= at:
            due, key = heappop(self._due)
            self._judge(key, due, self._lives.state.seq)

    def _judge(self, key: str, at: int, seq: int) -> None:
        state = self._lives.state
        volume = state.volumes.get(key)
        if volume is None:
            return
        word = verdict(state, volume, at)
        findings = self._lives.of[key].kept.findings
        if not findings or _said(findings[-1].verdict) != _said(word):
            findings.append(Finding(at, seq, word))
        if word.since is not None and word.severity in (Severity.MOVING, Severity.SLOW):
            patience = PATIENCE.get(word.step_id, DEFAULT_PATIENCE)
            wait = patience.slow_ns if word.severity is Severity.MOVING else patience.stuck_ns
            if word.since + wait > at:
                self._look_again(word.since + wait, key)
        elif word.severity is Severity.OK:
            waiting = [c.waiting_since for c in fuse_states(state, volume) if c.waiting_since is not None]
            if waiting and min(waiting) + HANG_NS > at:
                self._look_again(min(waiting) + HANG_NS, key)

    def _look_again(self, at: int, key: str) -> None:
        if (at, key) not in self._awaited:
            self._awaited.add((at, key))
            heappush(self._due, (at, key))

    def _note_anomalies(self, before: State, keys: tuple[str, ...]) -> None:
        anomalies = self._lives.state.anomalies
        if before.anomalies is anomalies or not anomalies:
            return
        anomaly = anomalies[-1]
        fact = Fact(anomaly.seq, anomaly.at, Witness.DRIVER, anomaly.text, keys, "anomaly")
        self._facts.append(fact)
        for key in keys:
            if key in self._lives.of:
                self._lives.of[key].kept.facts.append(fact)

    def _sample(self, body: FuseCounted | FuseObserved, event: TraceEvent) -> None:
        seen = self._lives.state.fuse.get((body.node_name, body.connection))
        if seen is None:
            return
        ops = tuple(sorted((name, count.count) for name, count in seen.totals.items()))
        volume_id = seen.volume_id or body.volume_id
        self._fuse.append(
            FuseSample(event.occurred_at, body.node_name, body.connection, volume_id, ops, seen.waiting)
        )


def _life(past: Past[_Kept], row: VolumeRow) -> Life:
    kept = past.kept
    found = [*(span for span, _, _ in past.spans()), *kept.hangs]
    return Life(
        past.volume,
        row,
        kept.last_at,
        kept.ways,
        tuple(sorted(found, key=lambda span: (span.started_at, span.name))),
        past.calls,
        tuple(kept.findings),
        tuple(kept.facts),
    )


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
