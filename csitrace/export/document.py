"""One JSON document of everything; its names are a contract (docs/export.md). Times are RFC 3339, those
in `…Ns` Unix nanoseconds, durations milliseconds; what is not known is null."""

from collections.abc import Iterator
from typing import Any

import msgspec

from csitrace.lifecycle.chronicle import Chronicle, Fact, FuseSample, Life
from csitrace.lifecycle.state import Call
from csitrace.lifecycle.views import Evidence, SpanView, StepView, Verdict
from csitrace.model.rpc import code_name
from csitrace.model.times import MILLISECOND, format_rfc3339

FORMAT = "csitrace.export/1"


def document(told: Chronicle) -> Iterator[bytes]:
    """The document in chunks: one volume, fact or sample at a time."""
    head = {
        "format": FORMAT,
        "title": told.title,
        "from": _time(told.first_at or None),
        "to": _time(told.now or None),
        "events": told.events,
        "eventsSkipped": told.skipped,
        "notes": told.notes,
    }
    yield msgspec.json.encode(head)[:-1]
    for name, items in (
        ("volumes", (_volume(life) for life in told.lives)),
        ("facts", (_fact(fact) for fact in told.facts)),
        ("fuse", (_sample(sample) for sample in told.fuse)),
    ):
        yield f',\n"{name}":['.encode()
        for number, item in enumerate(items):
            yield (b",\n" if number else b"\n") + msgspec.json.encode(item)
        yield b"]"
    yield b"}\n"


def _volume(life: Life) -> dict[str, Any]:
    volume = life.volume
    return {
        "key": life.key,
        "namespace": volume.namespace,
        "name": volume.name,
        "claim": volume.claim.name if volume.claim is not None else None,
        "pv": volume.pv_name or None,
        "driver": volume.driver,
        "volumeId": volume.volume_id,
        "storageClass": life.row.storage_class,
        "nodes": list(life.row.node_names),
        "pods": list(life.row.pods),
        "firstSeen": _time(volume.first_seen_at or None),
        "gone": _time(volume.gone_at),
        "verdict": _verdict(life.row.verdict),
        "findings": [
            {"at": _time(f.at), "atNs": f.at, "seq": f.seq, **_verdict(f.verdict)} for f in life.findings
        ],
        "ways": [
            {"road": way.name, "pod": way.pod, "node": way.node_name, "steps": [_step(s) for s in way.steps]}
            for way in life.ways
        ],
        "spans": [_span(span) for span in life.spans],
        "calls": [_call(call) for call in life.calls],
    }


def _verdict(word: Verdict) -> dict[str, Any]:
    return {
        "severity": word.severity.name.lower(),
        "step": word.step_id,
        "sentence": word.sentence,
        "holder": word.holder,
        "since": _time(word.since),
        "next": word.command,
        "evidence": [_evidence(evidence) for evidence in word.evidence],
    }


def _evidence(told: Evidence) -> dict[str, Any]:
    return {"witness": told.witness.value, "text": told.text, "seq": told.seq, "at": _time(told.at)}


def _step(step: StepView) -> dict[str, Any]:
    return {
        "step": step.step_id,
        "stage": step.stage,
        "title": step.title,
        "actor": step.actor,
        "status": step.status.value,
        "at": _time(step.at),
        "timeFrom": step.stamp.value if step.at is not None else None,
        "tookMs": _milliseconds(step.took_ns),
        "note": step.note,
        "witnesses": {
            witness.value: {"status": t.status.value, "text": t.text, "at": _time(t.at), "seq": t.seq}
            for witness, t in step.testimonies.items()
        },
    }


def _span(span: SpanView) -> dict[str, Any]:
    took = span.ended_at - span.started_at if span.ended_at is not None else None
    return {
        "span": span.name,
        "node": span.node_name,
        "outcome": span.outcome or "open",
        "attempts": span.attempts,
        "attemptsAtNs": list(span.retry_marks),
        "startedNs": span.started_at,
        "endedNs": span.ended_at,
        "tookMs": _milliseconds(took),
    }


def _call(call: Call) -> dict[str, Any]:
    return {
        "method": call.method,
        "driver": call.driver,
        "node": call.node_name,
        "attempt": call.attempt,
        "startedNs": call.started_at,
        "endedNs": call.finished_at,
        "tookMs": _milliseconds(call.duration_ns),
        "code": code_name(call.code) if call.code is not None else None,
        "message": call.message,
        "abandoned": call.abandoned,
        "seq": call.seq,
    }


def _fact(fact: Fact) -> dict[str, Any]:
    return {
        "seq": fact.seq,
        "atNs": fact.at,
        "witness": fact.witness.value if fact.witness is not None else None,
        "text": fact.text,
        "kind": fact.kind or None,
        "volumes": list(fact.keys),
    }


def _sample(sample: FuseSample) -> dict[str, Any]:
    return {
        "atNs": sample.at,
        "node": sample.node_name,
        "connection": sample.connection,
        "volumeId": sample.volume_id,
        "operations": dict(sample.ops),
        "waiting": sample.waiting,
    }


def _time(at: int | None) -> str | None:
    return format_rfc3339(at) if at is not None else None


def _milliseconds(duration_ns: int | None) -> float | None:
    return duration_ns / MILLISECOND if duration_ns is not None else None
