"""OpenTelemetry traces (OTLP 1.x): one trace per volume, whose root is the volume's life; spans below it, calls below those.

Written by hand, as JSON and as protobuf (opentelemetry/proto/trace/v1/trace.proto): no package is needed. Ids are
digests of the volume's key, so exporting twice names the same spans. OTLP knows no open span: one that is open ends where
the recording ends, and says `csitrace.open`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from csitrace.export.wire import data, fixed64, text, varint
from csitrace.lifecycle.chronicle import Chronicle, Fact, Life
from csitrace.lifecycle.state import Call
from csitrace.lifecycle.views import Severity, SpanView
from csitrace.model.rpc import RPC_BY_METHOD, code_name

Value = str | int | bool | tuple[str, ...]
Attributes = Mapping[str, Value]

_INTERNAL, _CLIENT = 1, 3  # Span.SpanKind
_OK, _ERROR = 1, 2  # Status.StatusCode

EXPORT_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HTTP_PATH = "/v1/traces"


@dataclass(frozen=True, slots=True)
class SpanEvent:
    at: int
    name: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """One span, as OTLP has it. `status` 0: unset."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: int
    start: int
    end: int
    attributes: Attributes
    events: tuple[SpanEvent, ...] = ()
    status: int = 0
    message: str = ""


def otlp(told: Chronicle) -> Iterator[bytes]:
    """JSON lines, each one a TracesData with the trace of one volume, as the collector's file receiver reads them."""
    for life in told.lives:
        yield msgspec.json.encode({"resourceSpans": [_resource_json(life, told)]}) + b"\n"


def requests(told: Chronicle) -> Iterator[bytes]:
    """ExportTraceServiceRequests in protobuf, one per volume."""
    for life in told.lives:
        yield _request(life, told)


def spans_of(life: Life, told: Chronicle) -> list[Span]:
    """The trace of one volume, its root first."""
    trace_id = _digest("trace", life.key)[:16]
    root = _id(life, "life")
    about = _about(life)
    starts = [span.started_at for span in life.spans] + [call.started_at for call in life.calls]
    start = min([life.volume.first_seen_at or told.first_at, *starts])
    word = life.row.verdict
    spans = [
        Span(
            trace_id, root, b"", f"volume {life.name}", _INTERNAL, start, max(life.last_at, start),
            {**about, "csitrace.severity": word.severity.name.lower(), "csitrace.step": word.step_id,
             "csitrace.finding": word.sentence, "csitrace.holder": word.holder, "csitrace.next": word.command},
            tuple(_events(life)), _ERROR if word.severity is Severity.STUCK else 0,
            word.sentence if word.severity is Severity.STUCK else "",
        )
    ]  # fmt: skip
    parents: dict[tuple[str, int], bytes] = {}
    for span in life.spans:
        made = _of_span(life, span, trace_id, root, about, told.now)
        spans.append(made)
        parents.update(dict.fromkeys(((span.name, mark) for mark in span.retry_marks), made.span_id))
    for call in life.calls:
        rpc = RPC_BY_METHOD.get(call.method)
        parent = parents.get((rpc.span if rpc is not None else "", call.started_at), root)
        spans.append(_of_call(life, call, trace_id, parent, about, told.now))
    return spans


def _of_span(life: Life, span: SpanView, trace_id: bytes, root: bytes, about: Attributes, now: int) -> Span:
    failed = span.outcome not in ("", "ok")
    more: dict[str, Value] = {"csitrace.attempts": span.attempts, "k8s.node.name": span.node_name}
    if span.ended_at is None:
        more["csitrace.open"] = True
    return Span(
        trace_id, _id(life, span.name, span.node_name, span.started_at), root, span.name, _INTERNAL, span.started_at,
        max(span.ended_at or now, span.started_at), {**about, **more}, (),
        _ERROR if failed else _OK if span.outcome else 0, span.outcome if failed else "",
    )  # fmt: skip


def _of_call(life: Life, call: Call, trace_id: bytes, parent: bytes, about: Attributes, now: int) -> Span:
    rpc = RPC_BY_METHOD.get(call.method)
    more: dict[str, Value] = {
        "rpc.system": "grpc", "rpc.service": f"csi.v1.{rpc.service}" if rpc is not None else "", "rpc.method": call.method,
        "k8s.node.name": call.node_name, "csitrace.attempt": call.attempt,
    }  # fmt: skip
    if call.code is not None:
        more["rpc.grpc.status_code"] = call.code
    if call.code is None:
        more["csitrace.abandoned" if call.abandoned else "csitrace.open"] = True
    failed = bool(call.code) or call.abandoned
    message = (
        f"{code_name(call.code)}: {call.message}" if call.code else "abandoned" if call.abandoned else ""
    )
    return Span(
        trace_id, _id(life, call.instance, call.call_id), parent, call.method, _CLIENT, call.started_at,
        max(call.finished_at or now, call.started_at), {**about, **more}, (),
        _ERROR if failed else _OK if call.code == 0 else 0, message,
    )  # fmt: skip


def _about(life: Life) -> dict[str, Value]:
    """What every span of a volume says, so that each is found by itself. Empty values are left out."""
    volume = life.volume
    told: dict[str, Value] = {
        "k8s.namespace.name": volume.namespace,
        "k8s.persistentvolumeclaim.name": volume.claim.name if volume.claim is not None else "",
        "k8s.persistentvolumeclaim.uid": volume.claim.uid if volume.claim is not None else "",
        "k8s.persistentvolume.name": volume.pv_name,
        "k8s.storageclass.name": life.row.storage_class,
        "k8s.pod.names": tuple(dict.fromkeys(use.pod.name for use in volume.uses)),
        "csi.driver": volume.driver,
        "csi.volume_id": volume.volume_id,
    }
    return {name: value for name, value in told.items() if value not in ("", ())}


def _events(life: Life) -> Iterator[SpanEvent]:
    for finding in life.findings:
        word = finding.verdict
        told: Attributes = {
            "csitrace.severity": word.severity.name.lower(), "csitrace.step": word.step_id,
            "csitrace.finding": word.sentence, "csitrace.holder": word.holder,
        }  # fmt: skip
        yield SpanEvent(finding.at, f"verdict {word.severity.name.lower()}", told)
    yield from (_of_fact(fact) for fact in life.facts if fact.kind)


def _of_fact(fact: Fact) -> SpanEvent:
    witness = fact.witness.value if fact.witness is not None else ""
    name = {"event": "kubernetes event"}.get(fact.kind, fact.kind)
    return SpanEvent(fact.at, name, {"csitrace.text": fact.text, "csitrace.witness": witness})


def _digest(*words: object) -> bytes:
    return sha256("\0".join(str(word) for word in words).encode("utf-8", "replace")).digest()


def _id(life: Life, *words: object) -> bytes:
    return _digest("span", life.key, *words)[:8]


def _resource(life: Life, told: Chronicle) -> dict[str, Value]:
    name = life.volume.driver or "csi"
    return {"service.name": name, "service.namespace": "csi", "csitrace.recording": told.title}


def _resource_json(life: Life, told: Chronicle) -> dict[str, Any]:
    return {
        "resource": {"attributes": _attributes_json(_resource(life, told))},
        "scopeSpans": [
            {"scope": {"name": "csitrace"}, "spans": [_span_json(span) for span in spans_of(life, told)]}
        ],
    }


def _span_json(span: Span) -> dict[str, Any]:
    """The JSON mapping: ids in hex, 64-bit numbers as strings, enums as numbers."""
    told: dict[str, Any] = {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "parentSpanId": span.parent_id.hex(),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": _attributes_json(span.attributes),
        "events": [
            {"timeUnixNano": str(e.at), "name": e.name, "attributes": _attributes_json(e.attributes)}
            for e in span.events
        ],
        "status": {"code": span.status, **({"message": span.message} if span.message else {})},
    }
    return told


def _attributes_json(attributes: Attributes) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value_json(value)} for key, value in attributes.items() if value != ""]


def _value_json(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case tuple():
            return {"arrayValue": {"values": [{"stringValue": item} for item in value]}}
    return {"stringValue": value}


def _request(life: Life, told: Chronicle) -> bytes:
    scope = data(1, text(1, "csitrace"))
    spans = b"".join(data(2, _span_bytes(span)) for span in spans_of(life, told))
    resource = data(1, _attributes_bytes(1, _resource(life, told)))
    return data(1, resource + data(2, scope + spans))


def _span_bytes(span: Span) -> bytes:
    written = data(1, span.trace_id) + data(2, span.span_id)
    written += data(4, span.parent_id) if span.parent_id else b""
    written += text(5, span.name) + varint(6, span.kind) + fixed64(7, span.start) + fixed64(8, span.end)
    written += _attributes_bytes(9, span.attributes)
    for event in span.events:
        told = fixed64(1, event.at) + text(2, event.name) + _attributes_bytes(3, event.attributes)
        written += data(11, told)
    message = text(2, span.message) if span.message else b""
    return written + data(15, message + varint(3, span.status))


def _attributes_bytes(number: int, attributes: Attributes) -> bytes:
    written = b""
    for key, value in attributes.items():
        if value != "":
            written += data(number, text(1, key) + data(2, _value_bytes(value)))
    return written


def _value_bytes(value: Value) -> bytes:
    match value:
        case bool():
            return varint(2, value)
        case int():
            return varint(3, value)
        case tuple():
            return data(5, b"".join(data(1, text(1, item)) for item in value))
    return text(1, value)
