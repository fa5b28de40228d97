"""The same as the page, as values. The JSON's names are a contract (docs/explain.md)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from csitrace.lifecycle.explanation import Explanation
from csitrace.lifecycle.state import EventFact, State
from csitrace.lifecycle.views import Evidence, StepView, Testimony, VolumeRow
from csitrace.model.events import Stamp, Witness
from csitrace.model.times import MILLISECOND, format_rfc3339, parse_rfc3339
from csitrace.report.lines import LEVELS, volume_record
from csitrace.report.silence import silences


def explained(
    state: State, told: Sequence[Explanation], others: Sequence[VolumeRow], now: int
) -> dict[str, Any]:
    """Everything: the volumes explained, how the others fare, and who is not heard."""
    levels = [LEVELS[row.severity].lower() for row in others]
    return {
        "time": format_rfc3339(now),
        "volumes": [volume(each) for each in told],
        "others": {level: levels.count(level) for level in sorted(set(levels))},
        "notHeard": [
            {"witness": item.witness, "scope": item.scope, "denied": item.denied, "reason": item.why}
            for item in silences(state).values()
        ],
    }


def explained_json(state: State, told: Sequence[Explanation], others: Sequence[VolumeRow], now: int) -> str:
    return msgspec.json.format(msgspec.json.encode(explained(state, told, others, now)), indent=2).decode()


def volume(told: Explanation) -> dict[str, Any]:
    """One volume: what `get -o json` tells of it, and the page."""
    step = told.held_since
    return {
        **volume_record(told.row),
        "volumeHandle": told.volume.volume_id,
        "verdict": told.row.verdict.sentence,
        "sinceSource": step.source if step is not None else "",
        "sinceAtLatest": step.at_latest if step is not None else False,
        "pod": told.use.pod.name if told.use is not None else None,
        "steps": [_step(each) for each in told.steps],
        "wayBack": [_step(each) for each in told.way_back],
        "expansion": [_step(each) for each in told.expansion],
        "evidence": [_evidence(each) for each in told.row.verdict.evidence],
        "events": [_event(each) for each in told.events],
    }


def _step(step: StepView) -> dict[str, Any]:
    return {
        "step": step.step_id,
        "stage": step.stage,
        "title": step.title,
        "actor": step.actor,
        "status": step.status.value,
        **_time(step.at, step.stamp, step.source, step.at_latest),
        "tookMs": step.took_ns / MILLISECOND if step.took_ns is not None else None,
        "tookPrecisionMs": None if step.took_ns is None else 1000 if step.took_rough else 1,
        "note": step.note,
        "testimonies": [_testimony(who, said) for who, said in step.testimonies.items()],
    }


def _testimony(who: Witness, said: Testimony) -> dict[str, Any]:
    return {
        "witness": who.value,
        "status": said.status.value,
        "text": said.text,
        **_time(said.at, said.stamp, said.source, said.at_latest),
        "seq": said.seq,
    }


def _time(at: int | None, stamp: Stamp, source: str, at_latest: bool) -> dict[str, Any]:
    """A time and how it is known; `precisionMs` is the width of what `time` can mean."""
    return {
        "time": format_rfc3339(at) if at is not None else None,
        "stamp": stamp.value if at is not None or stamp is Stamp.INFERRED else None,
        "source": source,
        "atLatest": at_latest,
        "precisionMs": None if at is None else 1000 if stamp is Stamp.SERVER else 1,
    }


def _evidence(item: Evidence) -> dict[str, Any]:
    at = format_rfc3339(item.at) if item.at is not None else None
    return {"witness": item.witness.value, "text": item.text, "time": at, "seq": item.seq}


def _event(fact: EventFact) -> dict[str, Any]:
    event, began = fact.event, parse_rfc3339(fact.event.first_time)
    return {
        "reason": event.reason,
        "type": event.type,
        "count": event.times_seen,
        "first": format_rfc3339(began) if began is not None else None,
        "last": format_rfc3339(fact.at),
        "component": event.component,
        "kind": event.involved_object.kind,
        "name": event.involved_object.name,
        "message": event.message,
    }
