"""Folding what a recording tells of the time before it begins (see `snapshot`), and where facts are missing from it."""

from collections.abc import Callable, Iterable
from typing import Any

from immutables import Map
from msgspec.structs import replace

from csitrace.lifecycle import index
from csitrace.lifecycle.assemble import assemble
from csitrace.lifecycle.retention import hand_over
from csitrace.lifecycle.state import Anomaly, Expansion, Mark, SourceState, State, Use, Volume
from csitrace.model.events import (
    ExpansionRecalled,
    RecallCompleted,
    RecordingGap,
    SourceRecalled,
    StepSeen,
    TraceEvent,
    UseRecalled,
    VolumeRecalled,
    Witness,
)

Folded = tuple[State, Iterable[str]]


def _gap(state: State, event: TraceEvent, body: RecordingGap) -> Folded:
    lost = state.events_lost + (body.lost or 0)
    if not body.retold:
        return replace(state, events_lost=lost), ()
    return State(events_skipped=state.events_skipped, events_lost=lost), state.volumes.keys()


def _source(state: State, event: TraceEvent, body: SourceRecalled) -> Folded:
    source = SourceState(
        body.witness, body.scope, body.up, body.since, body.last_at, body.reason, body.denied, body.detail, body.listed,
        body.gaps, body.delay_ns, body.delay_at,
    )  # fmt: skip
    state = replace(state, sources=state.sources.set((body.witness, body.scope), source))
    driver, at, _ = body.scope.partition("@")
    if body.witness is Witness.DRIVER and driver and at:
        link = (index.FEEDS_OF, driver, body.scope, body.controls)
        state = replace(state, links=index.relink(state.links, (), [link]))
    return state, ()


def _volume(state: State, event: TraceEvent, body: VolumeRecalled) -> Folded:
    """The volume as it was: what is linked to it is found again, what was seen of it is taken over."""
    key, formers = body.key, []
    links: list[index.Link] = [
        (index.SUBJECTS_OF, key, subject, subject.partition("/")[0]) for subject in body.subjects
    ]
    state = replace(state, links=index.relink(state.links, (), links))
    for former in (f"handle/{subject}" for subject in (*body.subjects, *body.known_by)):
        if former != key and former in state.volumes:
            state = hand_over(state, former, key)
            formers.append(former)
    for subject in body.known_by:
        state = index.with_key_of_subject(state, subject, key)
    volume = _told(state.volumes.get(key) or Volume(key=key), event, body)
    state = replace(state, volumes=state.volumes.set(key, volume))
    joined = assemble(state, key, event)
    if joined is not None:
        uses = tuple(_as_told(use, body) for use in joined.uses)
        volume = _told(replace(joined, uses=uses), event, body)
    holds = [(index.HOLDERS_OF, fact.name, key, None) for fact in volume.mounts]
    state = replace(state, volumes=state.volumes.set(key, volume), links=index.relink(state.links, (), holds))
    return state, (key, *formers)


def _told(volume: Volume, event: TraceEvent, body: VolumeRecalled) -> Volume:
    """The volume with what is told of it; of its uses, those of pods that are gone are told whole."""
    living = [use for use in volume.uses if use.ended_at is None]
    ended = [
        Use(use.pod, use.volume_name, use.node_name, event.seq, _marks(use.seen, event.seq), use.ended_at, event.seq)
        for use in body.uses
        if use.pod is not None and use.ended_at is not None
    ]  # fmt: skip
    volume = replace(
        volume,
        driver=body.driver,
        volume_id=body.volume_id,
        claim_gone_at=body.claim_gone_at,
        pv_gone_at=body.pv_gone_at,
        pv_kept=body.pv_kept,
        uses=(*living, *ended),
        marks=_marks(body.seen, event.seq),
        expansion=_expansion(body.expansion, event),
        first_seen_at=body.first_seen_at,
        changed_seq=event.seq,
        gone_at=body.gone_at,
    )
    if body.claim is not None:
        volume = replace(volume, claim=body.claim, claim_seq=event.seq)
    if body.pv is not None:
        volume = replace(volume, pv=body.pv, pv_seq=event.seq)
    return volume


def _as_told(use: Use, body: VolumeRecalled) -> Use:
    told: UseRecalled | None = next((told for told in body.uses if told.pod_uid == use.pod_uid), None)
    if told is None or told.ended_at is not None:
        return use
    return replace(use, marks=_marks(told.seen, use.seq))


def _marks(seen: Iterable[StepSeen], seq: int) -> Map[tuple[str, Witness], Mark]:
    return Map({(step.step, step.witness): Mark(step.at, step.stamp, seq) for step in seen})


def _expansion(told: ExpansionRecalled | None, event: TraceEvent) -> Expansion | None:
    if told is None:
        return None
    return Expansion(told.wanted, told.before, told.at, event.seq, _marks(told.seen, event.seq))


def _completed(state: State, event: TraceEvent, body: RecallCompleted) -> Folded:
    anomalies = tuple(Anomaly(event.seq, told.at, told.subject, told.text) for told in body.anomalies)
    state = replace(
        state,
        gone=body.gone,
        anomalies=anomalies,
        events_skipped=max(state.events_skipped, body.events_skipped),
        events_lost=max(state.events_lost, body.events_lost),
    )
    return state, ()


RECALL: dict[type, Callable[[State, TraceEvent, Any], Folded]] = {
    RecordingGap: _gap,
    SourceRecalled: _source,
    VolumeRecalled: _volume,
    RecallCompleted: _completed,
}
