"""A state told as events: what a recording that begins in the middle begins with.

Folded from nothing, they show the same rows and verdicts, and go on like the state itself. Objects, mounts, FUSE counts and calls
are told as what they are, at their own times; what none of them tells any more (when a step was first seen done, what an object
was that is gone) follows in bodies of its own. `seq` is 0: they have no place in the order of what was heard; whoever folds them
gives them one.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from msgspec.structs import replace

from csitrace.lifecycle import index
from csitrace.lifecycle.fuse_fold import WINDOWS_KEPT
from csitrace.lifecycle.state import Call, Expansion, FuseState, Mark, SourceState, State, Use, Volume
from csitrace.model.events import (
    AnomalyRecalled,
    Body,
    ExpansionRecalled,
    FuseCounted,
    FuseObserved,
    MountAppeared,
    ObjectListed,
    RecallCompleted,
    RpcFinished,
    RpcStarted,
    SourceRecalled,
    SourceUp,
    Stamp,
    StepSeen,
    TraceEvent,
    UseRecalled,
    VolumeRecalled,
    Witness,
)
from csitrace.model.fuse import OpCount
from csitrace.model.rpc import RPC_BY_METHOD

Told = tuple[Body, int, Stamp]


def snapshot(state: State) -> Iterator[TraceEvent]:
    """The events, with `seq` 0, observed at the state's own time."""
    tellers = (_kernels, _objects, _mounts, _fuse, _calls, _sources, _volumes, _end)
    for body, at, stamp in chain.from_iterable(tell(state) for tell in tellers):
        yield TraceEvent(seq=0, observed_at=state.at, occurred_at=at, stamp=stamp, body=body)


def _kernels(state: State) -> Iterator[Told]:
    """First, as they were when they told: a mount which we saw come is then not taken for one that was there before us."""
    seen = {fact.node_name for fact in state.mounts.values() if fact.stamp is Stamp.OBSERVED}
    for source in _sorted(state.sources.values()):
        if source.witness is Witness.KERNEL and source.scope in seen:
            yield _source(state, replace(source, up=True, listed=True))


def _objects(state: State) -> Iterator[Told]:
    for stored in sorted(state.objects.values(), key=lambda stored: stored.seq):
        yield ObjectListed(object=stored.object), stored.at, Stamp.INFERRED


def _mounts(state: State) -> Iterator[Told]:
    for fact in sorted(state.mounts.values(), key=lambda fact: fact.seq):
        yield MountAppeared(node_name=fact.node_name, mount=fact.mount), fact.at, fact.stamp


def _fuse(state: State) -> Iterator[Told]:
    """After the mounts: what is told of a connection before it is mounted is not of that mount."""
    for connection in sorted(state.fuse.values(), key=lambda each: (each.node_name, each.connection)):
        yield from _connection(connection)


def _connection(told: FuseState) -> Iterator[Told]:
    names = {"node_name": told.node_name, "connection": told.connection, "volume_id": told.volume_id}
    if len(told.windows) == WINDOWS_KEPT and (
        rest := _rest(told)
    ):  # counted before the windows that are kept
        yield FuseCounted(**names, ops=rest), told.first_op_at or told.windows[0].at, Stamp.ORIGIN  # type: ignore[arg-type]
    for window in told.windows:
        yield FuseCounted(**names, interval_ns=window.interval_ns, ops=window.ops), window.at, Stamp.ORIGIN  # type: ignore[arg-type]
    for at, _, sample in told.samples:
        yield sample, at, Stamp.ORIGIN
    if told.waiting_since is not None:
        yield FuseObserved(**names, waiting=told.waiting), told.waiting_since, Stamp.ORIGIN  # type: ignore[arg-type]
    seen = FuseObserved(
        **names,  # type: ignore[arg-type]
        waiting=told.waiting, init_answered=told.init_answered, aborted=told.aborted, daemon=told.daemon,
    )  # fmt: skip
    yield seen, told.changed_at, Stamp.ORIGIN


def _rest(told: FuseState) -> dict[str, OpCount]:
    rest = dict(told.totals)
    for window in told.windows:
        for op, count in window.ops.items():
            if op in rest:
                rest[op] = _less(rest[op], count)
    return {op: count for op, count in rest.items() if count != OpCount()}


def _less(total: OpCount, part: OpCount) -> OpCount:
    errors = {name: total.errors[name] - part.errors.get(name, 0) for name in total.errors}
    padded = part.buckets + (0,) * (len(total.buckets) - len(part.buckets))
    buckets = tuple(a - b for a, b in zip(total.buckets, padded, strict=False))
    return OpCount(
        count=total.count - part.count,
        errors={name: count for name, count in errors.items() if count},
        bytes=total.bytes - part.bytes,
        latency_ns_sum=total.latency_ns_sum - part.latency_ns_sum,
        buckets=buckets if any(buckets) else (),
    )


def _calls(state: State) -> Iterator[Told]:
    """Every kept call's beginning, and its end if it has one, in the order in which they were heard."""
    told: list[tuple[int, int, Told]] = []
    everything = [call for calls in state.calls.values() for call in calls]
    for subject, calls in state.calls.items():
        for call in calls:
            told.append((call.seq, 0, (_started(subject, call), call.started_at, Stamp.ORIGIN)))
            if call.finished_at is None or call.finished_seq is None:
                continue
            end = _abandoned(call, everything) if call.abandoned else _finished(subject, call)
            told.append((call.finished_seq, 1, (end, call.finished_at, Stamp.ORIGIN)))
    for _, _, each in sorted(told, key=lambda each: each[:2]):
        yield each


def _started(subject: str, call: Call) -> RpcStarted:
    volume_id, volume_name = _names(subject)
    return RpcStarted(
        driver=call.driver, instance=call.instance, call_id=call.call_id, method=_full_method(call.method),
        node_name=call.node_name, volume_id=volume_id, volume_name=volume_name, node_id=call.node_id,
        staging_target_path=call.staging_target_path, target_path=call.target_path, attempt=call.attempt,
    )  # fmt: skip


def _finished(subject: str, call: Call) -> RpcFinished:
    return RpcFinished(
        driver=call.driver, instance=call.instance, call_id=call.call_id, method=_full_method(call.method),
        code=call.code or 0, message=call.message, duration_ns=call.duration_ns or 0, node_name=call.node_name,
        volume_id=call.volume_id, volume_name=_names(subject)[1], attempt=call.attempt,
    )  # fmt: skip


def _abandoned(call: Call, others: Iterable[Call]) -> SourceUp:
    """The driver came up as another process: one that had calls of its own then or later, where any is known."""
    scope, ended = f"{call.driver}@{call.node_name}", call.finished_seq or 0
    theirs = (
        other.instance
        for other in others
        if (other.driver, other.node_name) == (call.driver, call.node_name)
        and other.instance != call.instance
        and (other.finished_seq is None or other.finished_seq > ended)
    )
    return SourceUp(witness=Witness.DRIVER, scope=scope, instance=next(theirs, f"after {call.instance}"))


def _names(subject: str) -> tuple[str, str]:
    """A subject as (volume id, volume name)."""
    name = subject.partition("/")[2]
    return ("", name[5:]) if name.startswith("name:") else (name, "")


def _full_method(method: str) -> str:
    rpc = RPC_BY_METHOD.get(method)
    return rpc.full_method if rpc is not None else method


def _sources(state: State) -> Iterator[Told]:
    """Once all they told is told again: when each was last heard is what it was."""
    for source in _sorted(state.sources.values()):
        yield _source(state, source)


def _source(state: State, source: SourceState) -> Told:
    driver = source.scope.partition("@")[0]
    controls = source.witness is Witness.DRIVER and bool(
        index.members(state, index.FEEDS_OF, driver).get(source.scope)
    )
    body = SourceRecalled(
        witness=source.witness, scope=source.scope, up=source.up, since=source.since, last_at=source.last_at,
        reason=source.reason, denied=source.denied, detail=source.detail, listed=source.listed, gaps=source.gaps,
        controls=controls, delay_ns=source.delay_ns, delay_at=source.delay_at,
    )  # fmt: skip
    return body, source.since, Stamp.INFERRED


def _sorted(sources: Iterable[SourceState]) -> list[SourceState]:
    return sorted(sources, key=lambda source: (source.witness, source.scope))


def _volumes(state: State) -> Iterator[Told]:
    known_by: dict[str, list[str]] = {}
    for (relation, subject), keys in state.links.items():
        if relation == index.KEY_OF_SUBJECT and not subject.startswith("/"):  # of a driver that is known
            for key in keys:
                known_by.setdefault(key, []).append(subject)
    for key, volume in sorted(state.volumes.items()):
        subjects = tuple(sorted(index.members(state, index.SUBJECTS_OF, key)))
        body = _volume(volume, subjects, tuple(sorted(known_by.get(key, ()))), _is_own_pv(state, volume))
        yield body, volume.first_seen_at, Stamp.INFERRED


def _is_own_pv(state: State, volume: Volume) -> bool:
    """Whether its PV is told by the object itself."""
    return (
        volume.pv is not None
        and volume.pv_gone_at is None
        and ("PersistentVolume", volume.pv.uid) in state.objects
    )


def _volume(
    volume: Volume, subjects: tuple[str, ...], known_by: tuple[str, ...], own_pv: bool
) -> VolumeRecalled:
    return VolumeRecalled(
        key=volume.key, driver=volume.driver, volume_id=volume.volume_id, subjects=subjects, known_by=known_by,
        claim=volume.claim if volume.claim_gone_at is not None else None, claim_gone_at=volume.claim_gone_at,
        pv=volume.pv if not own_pv else None, pv_gone_at=volume.pv_gone_at, pv_kept=volume.pv_kept,
        uses=tuple(_use(use) for use in volume.uses), seen=_seen(volume.marks.items()),
        expansion=_expansion(volume.expansion), first_seen_at=volume.first_seen_at, gone_at=volume.gone_at,
    )  # fmt: skip


def _use(use: Use) -> UseRecalled:
    ended = use.ended_at is not None
    return UseRecalled(
        pod_uid=use.pod_uid, volume_name=use.volume_name if ended else "", node_name=use.node_name if ended else "",
        pod=use.pod if ended else None, ended_at=use.ended_at, seen=_seen(use.marks.items()),
    )  # fmt: skip


def _expansion(told: Expansion | None) -> ExpansionRecalled | None:
    if told is None:
        return None
    return ExpansionRecalled(
        wanted=told.wanted, before=told.before, at=told.at, seen=_seen(told.marks.items())
    )


def _seen(marks: Iterable[tuple[tuple[str, Witness], Mark]]) -> tuple[StepSeen, ...]:
    return tuple(
        StepSeen(step=step, witness=witness, at=mark.at, stamp=mark.stamp)
        for (step, witness), mark in sorted(marks, key=lambda item: item[0])
    )


def _end(state: State) -> Iterator[Told]:
    anomalies = tuple(AnomalyRecalled(at=a.at, subject=a.subject, text=a.text) for a in state.anomalies)
    body = RecallCompleted(
        gone=state.gone, anomalies=anomalies, events_skipped=state.events_skipped, events_lost=state.events_lost
    )  # fmt: skip
    yield body, state.at, Stamp.INFERRED
