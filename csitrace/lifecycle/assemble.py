"""Joining: from everything the state holds, one Volume value, with the marks of when each step was first seen done."""

from immutables import Map
from msgspec.structs import replace

from csitrace.lifecycle import index
from csitrace.lifecycle.context import Context
from csitrace.lifecycle.heard import call_silence, node_is_gone
from csitrace.lifecycle.retention import CALLS_KEPT
from csitrace.lifecycle.state import (
    EMPTY,
    Call,
    EventFact,
    Expansion,
    Mark,
    MountFact,
    State,
    StepStatus,
    Use,
    Volume,
)
from csitrace.lifecycle.steps import BACKWARD, EXPANSION, FORWARD, Step
from csitrace.lifecycle.views import Testimony
from csitrace.lifecycle.witnessed import Attest
from csitrace.model.events import (
    MountAppeared,
    MountVanished,
    ObjectAdded,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    RpcFinished,
    RpcStarted,
    Stamp,
    TraceEvent,
    Witness,
)
from csitrace.model.kubernetes import (
    Event,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    StorageClass,
    VolumeAttachment,
)
from csitrace.model.quantity import size_of
from csitrace.model.times import SECOND, parse_rfc3339

EVENTS_KEPT = 48
ENDED_USES_KEPT = 4
LATE_NS = 2 * SECOND
"""A server's time older than this against our own sight means we saw it late (after an outage), so the server's is better."""

Marks = Map[tuple[str, Witness], Mark]
Attests = tuple[tuple[str, Witness, Attest], ...]


def assemble(state: State, key: str, event: TraceEvent) -> Volume | None:
    """The volume `key` as the state has it now; None where nothing speaks of it, or no CSI driver has a part in it."""
    previous = state.volumes.get(key)
    volume = _identified(state, key, previous, event)
    if volume is None:
        return None
    volume = replace(
        volume,
        attachments=_attachments(state, volume),
        uses=_uses(state, volume, previous.uses if previous else (), event),
    )
    volume = replace(
        volume,
        calls=_calls(state, volume),
        mounts=_mounts(state, volume),
        events=_events(state, volume),
        changed_seq=event.seq,
    )
    volume = _with_marks(state, replace(volume, expansion=_expansion(volume, event)), previous, event)
    if _anything_left(state, volume):
        return replace(volume, gone_at=None)
    # What is told last need not have happened last: a driver may be heard late.
    ends = (event.occurred_at, volume.claim_gone_at or 0, volume.pv_gone_at or 0)
    return replace(volume, gone_at=volume.gone_at or max(ends))


def _identified(state: State, key: str, previous: Volume | None, event: TraceEvent) -> Volume | None:
    volume = previous or Volume(key=key, first_seen_at=event.occurred_at)
    space, _, rest = key.partition("/")
    match space:
        case "claim":
            volume = _with_pv(state, _with_claim(state, volume, rest, event), event)
        case "pv":
            stored = index.find(state, PersistentVolume, rest)
            if (
                stored is not None
                and isinstance(stored.object, PersistentVolume)
                and index.pv_key(stored.object) != key
            ):
                return None  # claimed since: it lives on under its claim's key
            volume = _with_pv(state, volume, event)
        case "handle":
            driver, _, volume_id = rest.partition("/")
            name = volume_id.removeprefix("name:")
            known_by = ("", name) if name != volume_id else (volume_id, "")
            if index.subject_key(state, driver, *known_by) != key:
                return None  # its claim or its pod is known since: it lives on under that key
            volume = replace(volume, driver=driver, volume_id=name)
    volume = replace(volume, driver=_driver(state, volume))
    volume = replace(volume, volume_id=_volume_id(state, volume))
    known = (
        volume.claim
        or volume.pv
        or space in ("inline", "handle")
        or index.members(state, index.PV_OF_CLAIM, rest)
    )
    return volume if known or previous is not None or _subject_calls(state, volume) else None


def _with_claim(state: State, volume: Volume, uid: str, event: TraceEvent) -> Volume:
    stored = index.find(state, PersistentVolumeClaim, uid)
    if stored is not None and isinstance(stored.object, PersistentVolumeClaim):
        return replace(volume, claim=stored.object, claim_seq=stored.seq, claim_gone_at=None)
    if volume.claim is not None and volume.claim_gone_at is None:
        return replace(volume, claim_gone_at=event.occurred_at, claim_seq=event.seq)
    return volume


def _with_pv(state: State, volume: Volume, event: TraceEvent) -> Volume:
    space, _, uid = volume.key.partition("/")
    uids = [uid] if space == "pv" else list(index.members(state, index.PV_OF_CLAIM, uid))
    found = [stored for uid in uids if (stored := index.find(state, PersistentVolume, uid)) is not None]
    wanted = volume.claim.spec.volume_name if volume.claim is not None else ""
    found.sort(key=lambda stored: (stored.object.name != wanted, stored.object.name))
    if not found and wanted and volume.claim_gone_at is None:  # bound by name before the PV points back
        pv = index.by_name(state, PersistentVolume, wanted)
        stored = index.find(state, PersistentVolume, pv.uid) if pv is not None else None
        unclaimed = pv is not None and index.pv_key(pv) == f"pv/{pv.uid}"
        found = [stored] if stored is not None and unclaimed else []
    if found and isinstance(found[0].object, PersistentVolume):
        return replace(volume, pv=found[0].object, pv_seq=found[0].seq, pv_gone_at=None, pv_kept=False)
    if volume.pv is not None and volume.pv_gone_at is None:
        kept = index.find(state, PersistentVolume, volume.pv.uid) is not None
        return replace(volume, pv_gone_at=event.occurred_at, pv_seq=event.seq, pv_kept=kept)
    return volume


def _driver(state: State, volume: Volume) -> str:
    if volume.pv is not None and volume.pv.spec.csi is not None:
        return volume.pv.spec.csi.driver
    if volume.pv is not None and volume.pv.metadata.annotations.migrated_to:
        return volume.pv.metadata.annotations.migrated_to
    if volume.key.startswith("inline/"):
        _, pod_uid, name = volume.key.split("/", 2)
        pod = index.get(state, Pod, pod_uid)
        entries = pod.spec.volumes if pod is not None else ()
        return next((v.csi.driver for v in entries if v.name == name and v.csi is not None), volume.driver)
    if volume.claim is not None:
        annotations = volume.claim.metadata.annotations
        storage_class = index.by_name(state, StorageClass, volume.claim.spec.storage_class_name or "")
        return annotations.storage_provisioner or (
            storage_class.provisioner if storage_class else volume.driver
        )
    return volume.driver


def _volume_id(state: State, volume: Volume) -> str:
    """The PV's handle, kubelet's for an inline volume, or what the driver answered to CreateVolume before there was a PV."""
    if volume.pv is not None and volume.pv.spec.csi is not None:
        return volume.pv.spec.csi.volume_handle
    if volume.volume_id:
        return volume.volume_id
    if volume.key.startswith("inline/"):
        return index.inline_handle(*volume.key.split("/", 2)[1:])
    return next((call.volume_id for call in reversed(_subject_calls(state, volume)) if call.volume_id), "")


def _attachments(state: State, volume: Volume) -> tuple[tuple[VolumeAttachment, int], ...]:
    if not volume.pv_name or volume.pv_kept:
        return ()
    found = []
    for uid in index.members(state, index.ATTACHMENTS_OF_PV, volume.pv_name):
        stored = index.find(state, VolumeAttachment, uid)
        if stored is not None and isinstance(stored.object, VolumeAttachment):
            found.append((stored.object, stored.seq))
    return tuple(sorted(found, key=lambda pair: pair[0].spec.node_name))


def _uses(state: State, volume: Volume, previous: tuple[Use, ...], event: TraceEvent) -> tuple[Use, ...]:
    before = {use.pod_uid: use for use in previous}
    living = []
    for pod_uid, volume_name in _pods(state, volume):
        stored = index.find(state, Pod, pod_uid)
        if stored is None or not isinstance(stored.object, Pod):
            continue
        old = before.pop(pod_uid, None)
        pod = stored.object
        marks = old.marks if old is not None else EMPTY
        living.append(Use(pod, volume_name, pod.spec.node_name, stored.seq, marks))
    living.sort(key=lambda use: (use.pod.metadata.creation_timestamp, use.pod.name), reverse=True)
    ended = [
        use if use.ended_at is not None else replace(use, ended_at=event.occurred_at, ended_seq=event.seq)
        for use in before.values()
    ]
    ended.sort(key=lambda use: use.ended_at or 0, reverse=True)
    return tuple(living + ended[:ENDED_USES_KEPT])


def _pods(state: State, volume: Volume) -> list[tuple[str, str]]:
    space, _, rest = volume.key.partition("/")
    if space == "inline":
        pod_uid, _, name = rest.partition("/")
        return [(pod_uid, name)]
    if volume.claim is not None and volume.claim_gone_at is None:
        claim = volume.claim
        return list(index.members(state, index.PODS_OF_CLAIM, f"{claim.namespace}/{claim.name}").items())
    return []


def _subject_calls(state: State, volume: Volume) -> tuple[Call, ...]:
    subjects = dict.fromkeys(index.members(state, index.SUBJECTS_OF, volume.key))
    if volume.volume_id:
        subjects[index.subject(volume.driver, volume.volume_id)] = None
    return tuple(call for subject in subjects for call in state.calls.get(subject, ()))


def _calls(state: State, volume: Volume) -> tuple[Call, ...]:
    return tuple(sorted(_subject_calls(state, volume), key=lambda call: call.seq)[-CALLS_KEPT:])


def _mounts(state: State, volume: Volume) -> tuple[MountFact, ...]:
    keys = []
    if volume.volume_id and not volume.pv_kept:
        keys.append(index.staging_key(volume.driver, volume.volume_id))
    if volume.pv_name and not volume.pv_kept:
        keys.append(f"staging-pv/{volume.pv_name}")
    keys += [index.publish_key(use.pod_uid, volume.pv_name or use.volume_name) for use in volume.uses]
    found = [
        fact
        for key in keys
        for member in index.members(state, index.MOUNTS_OF, key)
        if (fact := state.mounts.get(member)) is not None
    ]
    return tuple(sorted(found, key=lambda fact: fact.seq))


def _events(state: State, volume: Volume) -> tuple[EventFact, ...]:
    uids = [
        obj.uid for obj in (volume.claim, volume.pv, *(use.pod for use in volume.uses)) if obj is not None
    ]
    found = []
    for uid in uids:
        for event_uid in index.members(state, index.EVENTS_OF, uid):
            stored = index.find(state, Event, event_uid)
            if stored is not None and isinstance(stored.object, Event):
                at = parse_rfc3339(stored.object.last_time) or stored.at
                found.append(EventFact(stored.object, at, stored.seq))
    found.sort(key=lambda fact: (fact.at, fact.seq))
    return tuple(found[-EVENTS_KEPT:])


def _expansion(volume: Volume, event: TraceEvent) -> Expansion | None:
    """What is asked for now and not there yet; a request that was taken back is none any more."""
    claim, known = volume.claim, volume.expansion
    if claim is None or volume.claim_gone_at is not None:
        return known
    wanted, has = claim.spec.resources.requests.storage, claim.status.capacity.storage
    if wanted == has and known is None:
        return None
    size, asked = size_of(has) or 0, size_of(wanted) or 0
    if size and asked > size:
        if known is not None and known.wanted == wanted:
            return known
        seen = volume.claim_seq == event.seq and not isinstance(event.body, ObjectListed)
        return Expansion(wanted, has, event.occurred_at if seen else None, event.seq)
    return None if known is not None and (size_of(known.wanted) or 0) > size else known


def _with_marks(state: State, volume: Volume, previous: Volume | None, event: TraceEvent) -> Volume:
    """Only the witness that speaks is asked: no fact of one changes what another has shown. But all are where what they have told
    turns out only now to be of this volume, or of this pod: its id, or the pod's node, may be known later than they told.
    """
    speaker = _speaker(event)
    known = {use.pod_uid: use.node_name for use in previous.uses} if previous is not None else {}
    is_new = previous is None or _is_known_by(volume) != _is_known_by(previous)
    living = [use for use in volume.uses if use.ended_at is None]
    uses = tuple(
        replace(
            use,
            marks=_marks(
                Context(state, volume, use),
                use.marks,
                event,
                None if is_new or known.get(use.pod_uid) != use.node_name else speaker,
            ),
        )
        for use in volume.uses
    )
    volume = replace(volume, uses=uses)
    if volume.expansion is not None:
        ctx = Context(state, volume, living[0] if living else None)
        marks = _marks_of(_EXPANSION[speaker], ctx, volume.expansion.marks, event)
        volume = replace(volume, expansion=replace(volume.expansion, marks=marks))
    if living:
        return volume
    return replace(volume, marks=_marks(Context(state, volume), volume.marks, event, speaker))


def _is_known_by(volume: Volume) -> tuple[str, str, str]:
    return volume.driver, volume.volume_id, volume.pv_name


def _marks(ctx: Context, marks: Marks, event: TraceEvent, speaker: Witness | None) -> Marks:
    """`marks` with what has become done, and without what is no longer so while the pod stays."""
    table = _BACKWARD if ctx.is_leaving or ctx.use is None else _FORWARD
    return _marks_of(table[speaker], ctx, marks, event)


def _marks_of(attests: Attests, ctx: Context, marks: Marks, event: TraceEvent) -> Marks:
    for step_id, witness, attest in attests:
        testimony = attest(ctx)
        done = testimony is not None and testimony.status is StepStatus.DONE
        known = marks.get((step_id, witness))
        better = known is not None and testimony is not None and _is_better(testimony, known)
        if done == (known is not None) and not (done and better):
            continue
        if done and testimony is not None:
            marks = marks.set((step_id, witness), _mark(testimony, event, is_known=better))
        elif ctx.is_followed:
            continue  # what was taken away after this pod is there again for another
        elif testimony is not None and testimony.status is not StepStatus.UNKNOWN:
            marks = marks.delete((step_id, witness))
    return marks


def _is_better(testimony: Testimony, known: Mark) -> bool:
    """It tells of a time where none was known, or draws a bound closer: which object comes first is chance."""
    if testimony.at is None:
        return False
    if known.at is None:
        return True
    if not known.at_latest or testimony.stamp is not Stamp.SERVER:
        return False
    return testimony.at < known.at or (testimony.at == known.at and not testimony.at_latest)


def _speaker(event: TraceEvent) -> Witness | None:
    """Whose fact it is; None for one that may change what any of them is taken to say."""
    return _SPEAKERS.get(type(event.body))


def _attests(steps: tuple[Step, ...]) -> dict[Witness | None, Attests]:
    everything = tuple(
        (step.id, witness, attest) for step in steps for witness, attest in step.attests.items()
    )
    speakers: tuple[Witness | None, ...] = (*Witness, None)
    return {who: tuple(row for row in everything if who in (row[1], None)) for who in speakers}


_FORWARD, _BACKWARD, _EXPANSION = _attests(FORWARD), _attests(BACKWARD), _attests(EXPANSION)

_SPEAKERS: dict[type, Witness] = {
    **dict.fromkeys((ObjectListed, ObjectAdded, ObjectModified, ObjectDeleted), Witness.KUBERNETES),
    **dict.fromkeys((RpcStarted, RpcFinished), Witness.DRIVER),
    **dict.fromkeys((MountAppeared, MountVanished), Witness.KERNEL),
}


def _mark(testimony: Testimony, event: TraceEvent, *, is_known: bool) -> Mark:
    """What we saw happen is finer than the server's whole seconds; what we saw late, or only found, is not. `is_known`: it was
    done when we came, and only now a field tells since when."""
    seen, found = event.occurred_at, is_known or isinstance(event.body, ObjectListed)
    if testimony.at is None:
        return Mark(None, Stamp.INFERRED, event.seq) if found else Mark(seen, Stamp.OBSERVED, event.seq)
    if testimony.stamp is not Stamp.SERVER or found or seen - testimony.at > LATE_NS:
        at, seq = testimony.at, testimony.seq or event.seq
        if testimony.stamp is Stamp.SERVER:
            at = min(at, event.observed_at)  # its clock may be ahead of ours, which no fact is
        return Mark(at, testimony.stamp, seq, testimony.source, testimony.at_latest)
    return Mark(seen, Stamp.OBSERVED, event.seq)


def _anything_left(state: State, volume: Volume) -> bool:
    inline = volume.key.startswith("inline/")
    if (
        volume.claim is None and volume.pv is None and volume.calls and not inline
    ):  # a driver alone knows of it
        last = next((c for c in reversed(volume.calls) if c.method in ("CreateVolume", "DeleteVolume")), None)
        return last is None or last.method != "DeleteVolume" or last.code != 0
    living_pod = any(use.ended_at is None for use in volume.uses)
    claim_stays = volume.claim is not None and volume.claim_gone_at is None
    pv_stays = volume.pv is not None and volume.pv_gone_at is None
    busy = any(
        call.in_flight
        and not volume.pv_kept
        and not call_silence(state, call.driver, call.method, call.node_name)
        for call in volume.calls
    )  # what nobody will ever tell the end of, such as the calls of a driver that was uninstalled, holds nothing
    mounted = any(not node_is_gone(state, fact.node_name) for fact in volume.mounts)
    unknown_yet = volume.claim is None and volume.pv is None and not inline
    return bool(claim_stays or pv_stays or living_pod or volume.attachments or mounted or busy or unknown_yet)
