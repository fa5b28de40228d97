"""A Perfetto trace (protobuf, perfetto/trace/perfetto_trace.proto): a track per volume, driver and node, in ui.perfetto.dev.

Times are Unix nanoseconds: a clock snapshot says that the trace's clock and the wall clock are one, so that SQL's `ts` is
the recording's time. A span flows into the calls to the driver that it is made of.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from csitrace.export.lanes import lanes
from csitrace.export.wire import data, fixed64, text, varint
from csitrace.lifecycle.chronicle import Chronicle, Fact, Finding, FuseSample, Life
from csitrace.lifecycle.state import Call
from csitrace.lifecycle.views import Severity, SpanView
from csitrace.model.rpc import RPC_BY_METHOD, code_name

_PACKET = 1  # of Trace
_CLOCK_SNAPSHOT, _TIMESTAMP, _SEQUENCE, _TRACK_EVENT, _SEQUENCE_FLAGS, _TRACK_DESCRIPTOR = (
    6,
    8,
    10,
    11,
    13,
    60,
)
_INCREMENTAL_STATE_CLEARED = 1
_REALTIME, _BOOTTIME = 1, 6  # BuiltinClock; the latter is the trace's own

_UUID, _NAME, _PARENT, _COUNTER, _DESCRIPTION = 1, 2, 5, 8, 14  # of TrackDescriptor
_UNIT_NAME = 6  # of CounterDescriptor

_ANNOTATION, _TYPE, _TRACK, _CATEGORY, _EVENT_NAME, _COUNTER_VALUE, _FLOW = (
    4,
    9,
    11,
    22,
    23,
    30,
    47,
)  # of TrackEvent
_BEGIN, _END, _INSTANT, _COUNTED = 1, 2, 3, 4  # its types
_INT_VALUE, _STRING_VALUE, _KEY = 4, 6, 10  # of DebugAnnotation

Arguments = dict[str, str | int]


def perfetto(told: Chronicle) -> Iterator[bytes]:
    """The trace, in chunks."""
    yield _packet(data(_CLOCK_SNAPSHOT, _clocks(told.first_at)))
    trace = _Trace()
    for life in told.lives:
        _volume(trace, life)
    _drivers(trace, told.lives)
    _nodes(trace, told)
    for fact in told.facts:
        if fact.kind and not fact.keys:
            trace.instant(
                trace.track("witnesses and marks"), fact.at, fact.text, fact.kind, {"seq": fact.seq}
            )
    yield from trace.descriptors
    for _, packet in sorted(
        trace.packets, key=lambda pair: pair[0]
    ):  # stable: what ends comes before what begins
        yield packet


@dataclass(slots=True)
class _Trace:
    """Tracks and packets so far."""

    descriptors: list[bytes] = field(default_factory=list)
    packets: list[tuple[int, bytes]] = field(default_factory=list)
    known: set[int] = field(default_factory=set)

    def track(self, name: str, parent: int = 0, what: str = "", *, key: str = "", unit: str = "") -> int:
        """The uuid of a track, made when it is first asked for. `unit`: it is a counter's."""
        uuid = identity(str(parent), key or name)
        if uuid not in self.known:
            self.known.add(uuid)
            told = varint(_UUID, uuid) + text(_NAME, name)
            told += varint(_PARENT, parent) if parent else b""
            told += text(_DESCRIPTION, what) if what else b""
            told += data(_COUNTER, text(_UNIT_NAME, unit)) if unit else b""
            self.descriptors.append(_packet(data(_TRACK_DESCRIPTOR, told)))
        return uuid

    def slice(
        self,
        track: int,
        start: int,
        end: int | None,
        name: str,
        category: str,
        arguments: Arguments,
        flow: int = 0,
    ) -> None:
        """An interval; one without an end stays open."""
        told = text(_EVENT_NAME, name) + text(_CATEGORY, category) + _annotated(arguments)
        self._event(track, start, _BEGIN, told + (fixed64(_FLOW, flow) if flow else b""))
        if end is not None:
            self._event(track, max(end, start), _END, b"")

    def instant(self, track: int, at: int, name: str, category: str, arguments: Arguments) -> None:
        self._event(
            track, at, _INSTANT, text(_EVENT_NAME, name) + text(_CATEGORY, category) + _annotated(arguments)
        )

    def count(self, track: int, at: int, value: int) -> None:
        self._event(track, at, _COUNTED, varint(_COUNTER_VALUE, value))

    def _event(self, track: int, at: int, kind: int, told: bytes) -> None:
        event = varint(_TYPE, kind) + varint(_TRACK, track) + told
        self.packets.append((at, _packet(varint(_TIMESTAMP, at) + data(_TRACK_EVENT, event))))


def _packet(told: bytes) -> bytes:
    first = varint(_SEQUENCE, 1) + varint(_SEQUENCE_FLAGS, _INCREMENTAL_STATE_CLEARED)
    return data(_PACKET, first + told)


def _clocks(at: int) -> bytes:
    def clock(number: int) -> bytes:
        return data(1, varint(1, number) + varint(2, at))

    return clock(_BOOTTIME) + clock(_REALTIME)


def _annotated(arguments: Arguments) -> bytes:
    written = b""
    for name, value in arguments.items():
        if value == "":
            continue
        told = varint(_INT_VALUE, value) if isinstance(value, int) else text(_STRING_VALUE, value)
        written += data(_ANNOTATION, text(_KEY, name) + told)
    return written


def identity(*words: str) -> int:
    """A number for a thing that is the same in every export: 63 bits of a digest of its names."""
    return int.from_bytes(sha256("\0".join(words).encode("utf-8", "replace")).digest()[:8], "big") >> 1


def _interval(span: SpanView) -> tuple[int, int | None]:
    return span.started_at, span.ended_at


def _call_interval(call: Call) -> tuple[int, int | None]:
    return call.started_at, call.finished_at


def _volume(trace: _Trace, life: Life) -> None:
    top = trace.track(f"volume {life.name}", what=_words(life), key=f"volume {life.key}")
    for lane, span in lanes(life.spans, _interval):
        track = trace.track("spans", top, key=f"spans {lane}")
        arguments = _of_span(life, span)
        trace.slice(track, span.started_at, span.ended_at, span.name, "span", arguments, _flow(life, span))
    for lane, call in lanes(life.calls, _call_interval):
        _call(trace, trace.track("calls", top, key=f"calls {lane}"), life, call)
    verdicts = trace.track("verdict", top)
    for number, finding in enumerate(life.findings):
        following = life.findings[number + 1].at if number + 1 < len(life.findings) else life.last_at
        _finding(trace, verdicts, finding, following)
    for fact in life.facts:
        if fact.kind:
            trace.instant(top, fact.at, fact.text, fact.kind, _of_fact(fact))


def _finding(trace: _Trace, track: int, finding: Finding, until: int) -> None:
    word = finding.verdict
    name = f"{word.severity.name} {word.step_id}" if word.severity > Severity.OK else word.severity.name
    arguments: Arguments = {
        "finding": word.sentence, "holder": word.holder, "next": word.command, "seq": finding.seq,
    }  # fmt: skip
    trace.slice(track, finding.at, until, name, "verdict", arguments)


def _drivers(trace: _Trace, lives: Iterable[Life]) -> None:
    calls: dict[str, list[tuple[Life, Call]]] = {}
    for life in lives:
        for call in life.calls:
            calls.setdefault(call.driver, []).append((life, call))
    for driver, made in calls.items():
        top = trace.track(f"driver {driver}")
        for lane, (life, call) in lanes(made, lambda pair: _call_interval(pair[1])):
            track = trace.track("calls", top, key=f"calls {lane}")
            _call(trace, track, life, call, _flow_of_call(life, call))


def _call(trace: _Trace, track: int, life: Life, call: Call, flow: int = 0) -> None:
    answer = "" if call.code is None else code_name(call.code)
    arguments: Arguments = {
        "volume": life.name, "volume_id": call.volume_id, "driver": call.driver, "node": call.node_name,
        "code": "abandoned" if call.abandoned else answer, "message": call.message, "attempt": call.attempt, "seq": call.seq,
    }  # fmt: skip
    trace.slice(track, call.started_at, call.finished_at, call.method, "call", arguments, flow)


def _nodes(trace: _Trace, told: Chronicle) -> None:
    there: dict[str, list[tuple[Life, SpanView]]] = {}
    for life in told.lives:
        for span in life.spans:
            if span.node_name:
                there.setdefault(span.node_name, []).append((life, span))
    for node, found in there.items():
        top = trace.track(f"node {node}")
        for lane, (life, span) in lanes(found, lambda pair: _interval(pair[1])):
            track = trace.track("spans", top, key=f"spans {lane}")
            name = f"{span.name} {life.name}"
            trace.slice(track, span.started_at, span.ended_at, name, "node", _of_span(life, span))
    for sample in told.fuse:
        _sample(trace, sample)


def _sample(trace: _Trace, sample: FuseSample) -> None:
    top = trace.track(f"node {sample.node_name}")
    who = f"FUSE {sample.volume_id or sample.connection}"
    for name, count in sample.ops:
        trace.count(trace.track(f"{who} {name}", top, unit="operations"), sample.at, count)
    if sample.waiting is not None:
        trace.count(trace.track(f"{who} waiting", top, unit="requests"), sample.at, sample.waiting)


def _flow(life: Life, span: SpanView) -> int:
    return identity("flow", life.key, span.name, span.node_name, str(span.started_at))


def _flow_of_call(life: Life, call: Call) -> int:
    """The flow of the span that a call is a part of, 0 for none."""
    rpc = RPC_BY_METHOD.get(call.method)
    for span in life.spans:
        if rpc is not None and span.name == rpc.span and call.started_at in span.retry_marks:
            return _flow(life, span)
    return 0


def _of_span(life: Life, span: SpanView) -> Arguments:
    return {
        "volume": life.name, "namespace": life.volume.namespace, "pv": life.volume.pv_name, "driver": life.volume.driver,
        "storage_class": life.row.storage_class, "node": span.node_name, "outcome": span.outcome or "open",
        "attempts": span.attempts,
    }  # fmt: skip


def _of_fact(fact: Fact) -> Arguments:
    return {"seq": fact.seq, "witness": fact.witness.value if fact.witness is not None else ""}


def _words(life: Life) -> str:
    word = life.row.verdict
    return f"{word.severity.name} at step {word.step_id}: {word.sentence}"
