"""The fold: `state_after = fold(state_before, event)`. Pure, total, and the only place where states come from.

An event whose body is not known is skipped and counted; what does not fit becomes an `Anomaly`. A handler per body updates
the stores and indexes and names the volumes concerned; those, and no others, are joined anew (`assemble`), so the cost of an
event does not grow with the number of volumes.
"""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from csitrace.lifecycle import index
from csitrace.lifecycle.assemble import assemble
from csitrace.lifecycle.delays import with_delay
from csitrace.lifecycle.fuse_fold import fold_fuse, fuse_mounted, fuse_unmounted
from csitrace.lifecycle.left_out import reason_of
from csitrace.lifecycle.machine import check_call
from csitrace.lifecycle.paths import StagingPath, parse_path
from csitrace.lifecycle.recall import RECALL
from csitrace.lifecycle.retention import hand_over, keep_calls, note_gone
from csitrace.lifecycle.sources_fold import fold_source, with_feed
from csitrace.lifecycle.state import Anomaly, Call, MountFact, State, Volume
from csitrace.model.events import (
    FuseCounted,
    FuseObserved,
    FuseOpSampled,
    ListCompleted,
    Marked,
    MountAppeared,
    MountVanished,
    ObjectAdded,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    RpcFinished,
    RpcStarted,
    SourceDown,
    SourceGap,
    SourceUp,
    Stamp,
    TraceEvent,
    VolumeRecalled,
    Witness,
)
from csitrace.model.kubernetes import KubernetesObject, Node, PersistentVolume, StorageClass
from csitrace.model.mounts import Mount
from csitrace.model.rpc import RPC_BY_METHOD, short_method

ANOMALIES_KEPT = 256

Folded = tuple[State, Iterable[str]]


def fold(state: State, event: TraceEvent) -> State:
    """The state after `event`. Never raises on an event's content."""
    handler = _HANDLERS.get(type(event.body))
    if handler is None:
        return replace(
            state,
            seq=event.seq,
            at=event.observed_at,
            changed_keys=(),
            events_skipped=state.events_skipped + 1,
        )
    state, keys = handler(state, event, event.body)
    if isinstance(event.body, VolumeRecalled):  # it is told as it was: nothing is to be concluded anew
        return replace(state, seq=event.seq, at=event.observed_at, changed_keys=tuple(keys))
    keys = tuple(sorted(keys))
    state = replace(state, seq=event.seq, at=event.observed_at, changed_keys=keys)
    for key in keys:
        state = _assembled(state, key, event)
    return state


def _assembled(state: State, key: str, event: TraceEvent) -> State:
    volume = assemble(state, key, event)
    reason = reason_of(state, volume) if volume is not None else None
    if volume is None or reason is not None:
        known = key in state.volumes
        state = replace(state, volumes=state.volumes.delete(key)) if known else state
        if volume is not None and volume.gone_at is None and reason is not None:
            return replace(state, others=state.others.set(key, reason))
        if (volume is None or volume.gone_at is not None) and key in state.others:
            return replace(state, others=state.others.delete(key))
        return state
    if key in state.others:
        state = replace(state, others=state.others.delete(key))
    for former in _formers(state, volume):
        state = replace(hand_over(state, former, key), changed_keys=(*state.changed_keys, former))
        volume = assemble(state, key, event) or volume
    holds = [(index.HOLDERS_OF, fact.name, key, None) for fact in volume.mounts]
    state = replace(
        state,
        volumes=state.volumes.set(key, volume),
        links=index.relink(state.links, (), holds) if holds else state.links,
    )
    if volume.gone_at is not None:
        return note_gone(state, key)
    known_by = index.subject(volume.driver, volume.volume_id)
    return index.with_key_of_subject(state, known_by, key) if volume.volume_id else state


def _formers(state: State, volume: Volume) -> list[str]:
    """The keys it went by before it was known whose it is: the id or name that a driver's calls gave it, a PV not yet claimed."""
    known_by = dict.fromkeys(index.members(state, index.SUBJECTS_OF, volume.key))
    if volume.volume_id:
        known_by[index.subject(volume.driver, volume.volume_id)] = None
    keys = [f"handle/{subject}" for subject in known_by]
    if volume.pv is not None and volume.pv_gone_at is None and index.pv_key(volume.pv) == volume.key:
        keys.append(f"pv/{volume.pv.uid}")
    return [key for key in keys if key != volume.key and key in state.volumes]


def _object_stored(
    state: State, event: TraceEvent, body: ObjectListed | ObjectAdded | ObjectModified
) -> Folded:
    obj = body.object
    state = _heard(state, event, Witness.KUBERNETES, obj.kind, obj.namespace)
    old = state.objects.get((obj.kind, obj.uid))
    keys = index.volume_keys(state, old.object) if old is not None else set()
    state = index.store(state, obj, event.seq, event.occurred_at)
    if isinstance(body, ObjectModified) and old is not None:
        state = with_delay(state, event, old, obj)
    return state, keys | index.volume_keys(state, obj) | _environment_keys(
        state, old.object if old else None, obj
    )


def _object_deleted(state: State, event: TraceEvent, body: ObjectDeleted) -> Folded:
    state = _heard(state, event, Witness.KUBERNETES, body.object.kind, body.object.namespace)
    keys = index.volume_keys(state, body.object)
    if isinstance(body.object, Node):
        on_it = (fact for (node_name, _), fact in state.mounts.items() if node_name == body.object.name)
        keys = {key for fact in on_it for key in index.members(state, index.HOLDERS_OF, fact.name)}
    return index.forget(state, body.object), keys


def _environment_keys(state: State, old: KubernetesObject | None, new: KubernetesObject) -> set[str]:
    """Volumes that change because something around them did: their class was told, their node lists them or does not."""
    if isinstance(new, StorageClass) and old is None:
        return {f"claim/{uid}" for uid in index.members(state, index.CLAIMS_OF_CLASS, new.name)}
    if isinstance(new, Node):
        before = set(old.status.volumes_in_use) if isinstance(old, Node) else set()
        keys = set()
        for name in before.symmetric_difference(new.status.volumes_in_use):
            driver, _, handle = name.removeprefix("kubernetes.io/csi/").partition("^")
            for uid in index.members(state, index.PV_OF_HANDLE, index.subject(driver, handle)):
                pv = index.get(state, PersistentVolume, uid)
                if pv is not None:
                    keys.add(index.pv_key(pv))
        return keys
    return set()


def _rpc_started(state: State, event: TraceEvent, body: RpcStarted) -> Folded:
    state = _driver_heard(state, event, body)
    if not (body.volume_id or body.volume_name):
        return state, ()
    subject = _subject(body)
    call = Call(
        method=short_method(body.method),
        driver=body.driver,
        instance=body.instance,
        call_id=body.call_id,
        started_at=event.occurred_at,
        seq=event.seq,
        node_name=body.node_name,
        node_id=body.node_id,
        volume_id=body.volume_id,
        staging_target_path=body.staging_target_path,
        target_path=body.target_path,
        attempt=body.attempt,
    )
    state = replace(state, in_flight=state.in_flight.set((body.instance, body.call_id), subject))
    state = keep_calls(state, subject, (*_other_calls(state, subject, call), call))
    key = index.subject_key(state, body.driver, body.volume_id, body.volume_name)
    return _linked(state, [(index.SUBJECTS_OF, key, subject, body.driver)]), {key}


def _rpc_finished(state: State, event: TraceEvent, body: RpcFinished) -> Folded:
    state = _driver_heard(state, event, body)
    subject = state.in_flight.get((body.instance, body.call_id))
    if subject is None:
        if not (body.volume_id or body.volume_name):
            return state, ()
        subject = _subject(body)
    else:
        state = replace(state, in_flight=state.in_flight.delete((body.instance, body.call_id)))
    calls = state.calls.get(subject, ())
    started = next((c for c in calls if c.instance == body.instance and c.call_id == body.call_id), None)
    if started is None:  # its beginning was before us: told by its duration
        started = Call(
            short_method(body.method), body.driver, body.instance, body.call_id,
            event.occurred_at - body.duration_ns, event.seq, body.node_name, volume_id=body.volume_id, attempt=body.attempt,
        )  # fmt: skip
    finished = replace(
        started,
        finished_at=event.occurred_at,
        finished_seq=event.seq,
        duration_ns=body.duration_ns,
        code=body.code,
        message=body.message,
        volume_id=body.volume_id or started.volume_id,
    )
    state = _with_anomaly(state, event, finished, calls)
    calls = (*_other_calls(state, subject, started), finished)
    state = keep_calls(state, subject, tuple(sorted(calls, key=lambda c: c.seq)))
    key = index.subject_key(state, body.driver, body.volume_id, body.volume_name)
    links: list[index.Link] = [(index.SUBJECTS_OF, key, subject, body.driver)]
    if body.volume_id and body.volume_name:
        known_by_id = index.subject(body.driver, body.volume_id)
        links += [
            (index.KEY_OF_SUBJECT, known_by_id, key, None),
            (index.SUBJECTS_OF, key, known_by_id, body.driver),
        ]
    return _linked(state, links), {key}


def _driver_heard(state: State, event: TraceEvent, body: RpcStarted | RpcFinished) -> State:
    scope = f"{body.driver}@{body.node_name}"
    rpc = RPC_BY_METHOD.get(short_method(body.method))
    if rpc is not None and rpc.service == "Controller" and (Witness.DRIVER, scope) in state.sources:
        state = with_feed(state, scope, controls=True)
    return _heard(state, event, Witness.DRIVER, scope)


def _linked(state: State, links: list[index.Link]) -> State:
    return replace(state, links=index.relink(state.links, (), links))


def _subject(body: RpcStarted | RpcFinished) -> str:
    if isinstance(body, RpcStarted) and body.volume_name and not body.volume_id:
        return index.named_subject(body.driver, body.volume_name)
    if isinstance(body, RpcFinished) and body.volume_name:
        return index.named_subject(body.driver, body.volume_name)
    return index.subject(body.driver, body.volume_id)


def _other_calls(state: State, subject: str, call: Call) -> tuple[Call, ...]:
    return tuple(
        other
        for other in state.calls.get(subject, ())
        if (other.instance, other.call_id) != (call.instance, call.call_id)
    )


def _with_anomaly(state: State, event: TraceEvent, call: Call, earlier: tuple[Call, ...]) -> State:
    text = check_call(call, earlier)
    if not text:
        return state
    anomaly = Anomaly(event.seq, event.occurred_at, index.subject(call.driver, call.volume_id), text)
    return replace(state, anomalies=(*state.anomalies, anomaly)[-ANOMALIES_KEPT:])


def _mount_appeared(state: State, event: TraceEvent, body: MountAppeared) -> Folded:
    state = _heard(state, event, Witness.KERNEL, body.node_name)
    keys: set[str] = set()
    known = state.mounts.get((body.node_name, body.mount.mount_id))
    if known is not None and not _is_same(known.mount, body.mount):  # moved, or the id was given to another
        state, keys = _unmounted(state, known)
        known = None
    path = parse_path(body.mount.mount_point)
    if path is None:
        return state, keys
    source = state.sources.get((Witness.KERNEL, body.node_name))
    listed = source is not None and source.listed
    fact = MountFact(
        body.node_name,
        body.mount,
        path.role,
        event.occurred_at,
        Stamp.OBSERVED if listed and event.stamp is not Stamp.INFERRED else Stamp.INFERRED,
        event.seq,
        "" if isinstance(path, StagingPath) else path.pod_uid,
    )
    if known is not None:  # remounted, or listed again: it stood before
        fact = replace(fact, at=known.at, stamp=known.stamp)
    elif body.mount.is_fuse:
        state = fuse_mounted(state, body.node_name, body.mount.minor)
    state = replace(
        state,
        mounts=state.mounts.set((body.node_name, body.mount.mount_id), fact),
        links=index.relink(state.links, (), _mount_links(fact)),
    )
    return state, keys | index.mount_volume_keys(state, body.mount)


def _mount_vanished(state: State, event: TraceEvent, body: MountVanished) -> Folded:
    state = _heard(state, event, Witness.KERNEL, body.node_name)
    fact = state.mounts.get((body.node_name, body.mount.mount_id))
    return _unmounted(state, fact) if fact is not None else (state, ())


def _unmounted(state: State, fact: MountFact) -> tuple[State, set[str]]:
    holders = index.members(state, index.HOLDERS_OF, fact.name)
    old = _mount_links(fact)
    old += [(index.HOLDERS_OF, fact.name, key, None) for key in holders]
    state = replace(
        state,
        mounts=state.mounts.delete((fact.node_name, fact.mount.mount_id)),
        links=index.relink(state.links, old, ()),
    )
    if fact.mount.is_fuse:
        state = fuse_unmounted(state, fact.node_name, fact.mount.minor)
    return state, index.mount_volume_keys(state, fact.mount) | set(holders)


def _is_same(known: Mount, told: Mount) -> bool:
    return (known.mount_point, known.device) == (told.mount_point, told.device)


def _mount_links(fact: MountFact) -> list[index.Link]:
    member = (fact.node_name, fact.mount.mount_id)
    links: list[index.Link] = [(index.MOUNTS_OF, index.mount_key(fact.mount), member, None)]
    if fact.mount.is_fuse:
        served_by = index.connection_key(fact.node_name, fact.mount.minor)
        links.append((index.MOUNTS_ON, served_by, member, None))
    return links


def _source(
    state: State, event: TraceEvent, body: SourceUp | SourceDown | SourceGap | ListCompleted
) -> Folded:
    state = fold_source(state, event, body)
    if not (isinstance(body, SourceUp | SourceDown) and body.witness is Witness.DRIVER):
        return state, ()
    if isinstance(body, SourceUp) and body.instance:
        return _abandon_calls(state, event, body)
    return state, {_key_in_flight(state, subject) for _, subject, _ in _in_flight(state, body.scope)}


def _in_flight(state: State, scope: str) -> list[tuple[tuple[str, int], str, Call]]:
    """What a feed has told the beginning of and not the end: (identity, subject, call)."""
    driver, _, node_name = scope.partition("@")
    found = []
    for (instance, call_id), subject in state.in_flight.items():
        for call in state.calls.get(subject, ()):
            if (call.instance, call.call_id) == (instance, call_id):
                if (call.driver, call.node_name) == (driver, node_name):
                    found.append(((instance, call_id), subject, call))
                break
    return found


def _key_in_flight(state: State, subject: str) -> str:
    driver, _, name = subject.partition("/")
    known_by_name = name.startswith("name:")
    return index.subject_key(state, driver, "" if known_by_name else name, name[5:] if known_by_name else "")


def _abandon_calls(state: State, event: TraceEvent, body: SourceUp) -> Folded:
    """A driver that comes up as a new process will never answer the calls its former self had in flight."""
    keys = set()
    for identity, subject, call in _in_flight(state, body.scope):
        keys.add(_key_in_flight(state, subject))
        if call.instance == body.instance:
            continue
        gone = replace(call, abandoned=True, finished_at=event.occurred_at, finished_seq=event.seq)
        kept = tuple(gone if other is call else other for other in state.calls[subject])
        state = replace(
            state, calls=state.calls.set(subject, kept), in_flight=state.in_flight.delete(identity)
        )
    return state, keys


def _heard(state: State, event: TraceEvent, witness: Witness, scope: str, namespace: str = "") -> State:
    """Note that a source spoke. A scope that was never announced is not invented."""
    for candidate in (scope, f"{scope}/{namespace}") if namespace else (scope,):
        source = state.sources.get((witness, candidate))
        if source is not None and source.up:
            fresh = replace(source, last_at=event.observed_at)
            return replace(state, sources=state.sources.set((witness, candidate), fresh))
    return state


def _fuse(state: State, event: TraceEvent, body: FuseCounted | FuseOpSampled | FuseObserved) -> Folded:
    return fold_fuse(_fuse_heard(state, event, body.node_name), event, body), ()


def _fuse_heard(state: State, event: TraceEvent, node_name: str) -> State:
    """Who told a FUSE fact: the node's kernel source looks itself, drivers bring theirs from their own clock."""
    if event.stamp is not Stamp.ORIGIN:
        return _heard(state, event, Witness.KERNEL, node_name)
    feeds = [
        scope for who, scope in state.sources if who is Witness.DRIVER and scope.endswith(f"@{node_name}")
    ]
    return _heard(state, event, Witness.DRIVER, feeds[0]) if len(feeds) == 1 else state


def _marked(state: State, event: TraceEvent, body: Marked) -> Folded:
    return state, ()


_HANDLERS: dict[type, Callable[[State, TraceEvent, Any], Folded]] = {
    ObjectListed: _object_stored,
    ObjectAdded: _object_stored,
    ObjectModified: _object_stored,
    ObjectDeleted: _object_deleted,
    ListCompleted: _source,
    RpcStarted: _rpc_started,
    RpcFinished: _rpc_finished,
    MountAppeared: _mount_appeared,
    MountVanished: _mount_vanished,
    FuseCounted: _fuse,
    FuseOpSampled: _fuse,
    FuseObserved: _fuse,
    SourceUp: _source,
    SourceDown: _source,
    SourceGap: _source,
    Marked: _marked,
    **RECALL,
}
