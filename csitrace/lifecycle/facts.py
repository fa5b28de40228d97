"""Facts in words: one line for each recorded event, and which volumes it is about."""

from collections.abc import Callable
from typing import Any

from csitrace.lifecycle import index
from csitrace.lifecycle.fuse import requests_wait
from csitrace.lifecycle.state import State, Volume
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
    RecallCompleted,
    RecordingGap,
    RpcFinished,
    RpcStarted,
    SourceDown,
    SourceGap,
    SourceRecalled,
    SourceUp,
    TraceEvent,
    Unrecognised,
    VolumeRecalled,
    Witness,
)
from csitrace.model.kubernetes import (
    Event,
    KubernetesObject,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    VolumeAttachment,
)
from csitrace.model.rpc import code_name, short_method
from csitrace.model.times import format_duration

Fact = tuple[Witness | None, str]


def describe(event: TraceEvent) -> Fact:
    """Who says it, and the fact in one line. None: nobody's word but ours (a mark)."""
    describe_body = _WORDS.get(type(event.body))
    return describe_body(event.body) if describe_body is not None else (None, type(event.body).__name__)


def concerns(state: State, volume: Volume, event: TraceEvent) -> bool:
    """Whether a recorded event is about the volume, by the volume's identities as they are in `state`."""
    match event.body:
        case (
            ObjectListed(object=obj)
            | ObjectAdded(object=obj)
            | ObjectModified(object=obj)
            | ObjectDeleted(object=obj)
        ):
            return _object_concerns(state, volume, obj)
        case RpcStarted() | RpcFinished() as call:
            if call.driver != volume.driver:
                return False
            named = (
                call.volume_name and index.claim_uid_of_name(call.volume_name) == volume.key.partition("/")[2]
            )
            return bool(named) or (bool(call.volume_id) and call.volume_id == volume.volume_id)
        case MountAppeared(mount=mount) | MountVanished(mount=mount):
            return index.mount_key(mount) in _mount_keys(volume)
        case FuseCounted(volume_id=volume_id) | FuseOpSampled(volume_id=volume_id):
            return bool(volume_id) and volume_id == volume.volume_id
        case FuseObserved() as seen:
            return (bool(seen.volume_id) and seen.volume_id == volume.volume_id) or any(
                fact.node_name == seen.node_name
                and fact.mount.is_fuse
                and fact.mount.minor == seen.connection
                for fact in volume.mounts
            )
        case VolumeRecalled(key=key):
            return key == volume.key
        case Marked() | RecordingGap():
            return True
    return False


def _object_concerns(state: State, volume: Volume, obj: KubernetesObject) -> bool:
    uids = {o.uid for o in (volume.claim, volume.pv, *(use.pod for use in volume.uses)) if o is not None}
    uids.update(attachment.uid for attachment, _ in volume.attachments)
    if isinstance(obj, Event):
        return obj.involved_object.uid in uids
    if isinstance(obj, VolumeAttachment) and volume.pv is not None:
        return obj.spec.source.persistent_volume_name == volume.pv.name
    return obj.uid in uids


def _mount_keys(volume: Volume) -> set[str]:
    keys = {index.staging_key(volume.driver, volume.volume_id)}
    name = volume.pv.name if volume.pv is not None else ""
    keys.update(index.publish_key(use.pod_uid, name or use.volume_name) for use in volume.uses)
    return keys


def _claim_words(claim: PersistentVolumeClaim) -> str:
    bound = f" to {claim.spec.volume_name}" if claim.spec.volume_name else ""
    selected = claim.metadata.annotations.selected_node
    return f"{claim.status.phase or 'new'}{bound}" + (f", selected node {selected}" if selected else "")


def _pv_words(pv: PersistentVolume) -> str:
    return f"{pv.status.phase or 'new'}" + (
        f", {pv.spec.csi.volume_handle}" if pv.spec.csi is not None else ""
    )


def _attachment_words(va: VolumeAttachment) -> str:
    error = va.status.attach_error or va.status.detach_error
    state = "attached" if va.status.attached else "not attached"
    return f"{state} to {va.spec.node_name}" + (f": {error.message}" if error is not None else "")


def _pod_words(pod: Pod) -> str:
    waiting = [s.state.waiting.reason for s in pod.status.container_statuses if s.state.waiting is not None]
    node = f" on {pod.spec.node_name}" if pod.spec.node_name else ""
    return f"{pod.status.phase or 'new'}{node}" + (f", {waiting[0]}" if waiting else "")


_STATUS_WORDS: dict[type, Callable[[Any], str]] = {
    PersistentVolumeClaim: _claim_words,
    PersistentVolume: _pv_words,
    VolumeAttachment: _attachment_words,
    Pod: _pod_words,
}


def _object(verb: str) -> Callable[[Any], Fact]:
    def words(body: Any) -> Fact:
        obj: KubernetesObject = body.object
        if isinstance(obj, Event):
            times = f" ({obj.times_seen}x)" if obj.times_seen > 1 else ""
            return Witness.KUBERNETES, f"Event {obj.reason}{times} by {obj.component}: {obj.message.strip()}"
        status = _STATUS_WORDS.get(type(obj))
        going = ", to be deleted" if obj.is_terminating and verb != "deleted" else ""
        told = f": {status(obj)}" if status is not None and verb != "deleted" else ""
        return Witness.KUBERNETES, f"{obj.kind} {obj.full_name} {verb}{told}{going}"

    return words


def _started(body: RpcStarted) -> Fact:
    again = f", try {body.attempt}" if body.attempt > 1 else ""
    return Witness.DRIVER, f"{short_method(body.method)} called{again}"


def _finished(body: RpcFinished) -> Fact:
    said = f": {body.message}" if body.message else ""
    took = format_duration(body.duration_ns)
    return Witness.DRIVER, f"{short_method(body.method)} {code_name(body.code)} in {took}{said}"


def _mount(verb: str) -> Callable[[Any], Fact]:
    def words(body: Any) -> Fact:
        return Witness.KERNEL, f"{body.mount.fs_type} {verb} {body.mount.mount_point}"

    return words


def _counted(body: FuseCounted) -> Fact:
    ops = ", ".join(f"{name} {count.count}" for name, count in sorted(body.ops.items()))
    return Witness.DRIVER, f"in {format_duration(body.interval_ns)}: {ops or 'no operations'}"


def _sampled(body: FuseOpSampled) -> Fact:
    error = f" {body.errno}" if body.errno else ""
    return Witness.DRIVER, f"{body.op}{error} took {format_duration(body.duration_ns)} (inode {body.inode})"


def _observed(body: FuseObserved) -> Fact:
    words = []
    if body.daemon is not None and body.daemon.exited:
        words.append(f"daemon {body.daemon.pid} {body.daemon.exited}")
    elif body.daemon is not None:
        words.append(f"daemon {body.daemon.pid} {body.daemon.state}".rstrip())
    if body.init_answered is not None:
        words.append("INIT answered" if body.init_answered else "INIT not answered")
    if body.waiting is not None:
        words.append(requests_wait(body.waiting))
    if body.aborted:
        words.append("aborted")
    return Witness.KERNEL, f"FUSE connection {body.connection}: {', '.join(words) or 'seen'}"


_WORDS: dict[type, Callable[[Any], Fact]] = {
    ObjectListed: _object("found"),
    ObjectAdded: _object("added"),
    ObjectModified: _object("changed"),
    ObjectDeleted: _object("deleted"),
    ListCompleted: lambda body: (body.witness, f"{body.scope}: all {body.count} known"),
    RpcStarted: _started,
    RpcFinished: _finished,
    MountAppeared: _mount("mounted at"),
    MountVanished: _mount("unmounted from"),
    FuseCounted: _counted,
    FuseOpSampled: _sampled,
    FuseObserved: _observed,
    SourceUp: lambda body: (
        body.witness,
        f"{body.scope} is heard" + (f" ({body.detail})" if body.detail else ""),
    ),
    SourceDown: lambda body: (body.witness, f"{body.scope} fell silent: {body.reason}"),
    SourceGap: lambda body: (
        body.witness,
        f"{body.scope}: {body.lost if body.lost is not None else 'some'} facts lost: {body.reason}",
    ),
    Marked: lambda body: (None, f"mark: {body.text}"),
    RecordingGap: lambda body: (
        None,
        f"{body.lost if body.lost is not None else 'some'} facts are missing from the recording: {body.reason}",
    ),
    VolumeRecalled: lambda body: (None, f"known before the recording: {body.key}"),
    SourceRecalled: lambda body: (
        body.witness,
        f"{body.scope} {'was heard' if body.up else f'was silent: {body.reason}'} before the recording",
    ),
    RecallCompleted: lambda body: (None, "the recording begins: all that was known is told"),
    Unrecognised: lambda body: (None, f"of an unknown kind: {body.told.get('type', '?')}"),
}
