"""Who belongs to whom: the correlation indexes of a State, kept up to date one object at a time.

A relation is a one-to-many map, `state.links[relation, key] -> {member: detail}`. What links an object makes is a table
(`_LINKS`); replacing an object removes the old version's links and adds the new one's, so no index can go stale.

The keys are those the cluster itself goes by: `PV.spec.claimRef.uid`, `PV.spec.csi.volumeHandle` = the RPCs' `volume_id`,
`VolumeAttachment.spec.source.persistentVolumeName`, `Pod.spec.volumes`, `Event.involvedObject.uid`, and kubelet's paths.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Any, TypeVar

from immutables import Map
from msgspec.structs import replace

from csitrace.lifecycle.driver_pods import looks_like_driver
from csitrace.lifecycle.paths import MapPath, PublishPath, StagingPath, SubPath, parse_path, staging_digest
from csitrace.lifecycle.state import EMPTY, State, Stored
from csitrace.model.kubernetes import (
    CSIDriver,
    CSINode,
    Event,
    KubernetesObject,
    Lease,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    StorageClass,
    VolumeAttachment,
)
from csitrace.model.kubernetes import Volume as PodVolume
from csitrace.model.mounts import Mount

PV_OF_CLAIM = "pv of claim"  # claim uid -> PV uids
PV_OF_HANDLE = "pv of handle"  # subject -> PV uids (two of them: a finding)
PV_OF_STAGING = "pv of staging"  # staging key -> PV uids
ATTACHMENTS_OF_PV = "attachments of pv"  # PV name -> VolumeAttachment uids
PODS_OF_CLAIM = "pods of claim"  # "namespace/claim" -> {pod uid: name in pod.spec.volumes}
INLINE_OF_POD = "inline of pod"  # pod uid -> names in pod.spec.volumes
CLAIMS_OF_PV = "claims of pv"  # PV name -> uids of the claims that name it
CLAIMS_OF_CLASS = "claims of class"  # class name -> claim uids
EVENTS_OF = "events of"  # involved object's uid -> Event uids
MOUNTS_OF = "mounts of"  # staging key or publish key -> (node name, mount id)
MOUNTS_ON = "mounts on"  # "node/connection" -> (node name, mount id) of the FUSE mounts it serves
HOLDERS_OF = "holders of"  # "node/mount id" -> keys of the volumes that show the mount
SUBJECTS_OF = "subjects of"  # volume key -> {subject: driver}, those that calls were about
KEY_OF_SUBJECT = "key of subject"  # subject -> key of the volume that was last known by it
OF_KIND = "of kind"  # kind -> uids, for the kinds that describe the cluster rather than one volume
DRIVER_PODS = "driver pods"  # "" -> uids of the pods that look like a part of a CSI driver
FEEDS_OF = "feeds of"  # driver -> {scope of a feed: whether it has told calls of the Controller service}
FUSE_PODS_OF = "fuse pods of"  # subject -> uids of the pods that say they run the volume's FUSE daemon
PLAIN_PODS = "plain pods"  # "" -> uids of the pods that have neither a claim nor an inline CSI volume
LEASES_NAMED = "leases named"  # name -> uids, in whatever namespaces
FUSE_OF = "fuse of"  # volume id -> (node name, connection)

Link = tuple[str, str, Any, Any]  # relation, key, member, detail
ObjectT = TypeVar("ObjectT", bound=KubernetesObject)

FUSE_DAEMON = "fuse-daemon"
"""The component (`csitrace.dev/component`) that a FUSE daemon's own pod says it is."""

_UUID_TAIL = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$")


def subject(driver: str, volume_id: str) -> str:
    """One volume as a driver knows it."""
    return f"{driver}/{volume_id}"


def named_subject(driver: str, volume_name: str) -> str:
    """A volume that has only a name yet (CreateVolume is under way)."""
    return f"{driver}/name:{volume_name}"


def fuse_subject(pod: Pod) -> str:
    """The volume whose FUSE daemon the pod says it runs, as a subject; "" for any other pod."""
    told = pod.metadata.annotations
    is_daemon = pod.metadata.labels.component == FUSE_DAEMON and told.fuse_driver and told.fuse_volume_handle
    return subject(told.fuse_driver, told.fuse_volume_handle) if is_daemon else ""


def claim_uid_of_name(volume_name: str) -> str:
    """The claim's uid in the name external-provisioner gives a volume (`<prefix>-<claim uid>`), or ""."""
    match = _UUID_TAIL.search(volume_name)
    return match[0] if match else ""


def inline_handle(pod_uid: str, volume_name: str) -> str:
    """The `volume_id` that kubelet makes up for an inline volume (pkg/volume/csi, makeVolumeHandle)."""
    return f"csi-{sha256(f'{pod_uid}{volume_name}'.encode()).hexdigest()}"


def staging_key(driver: str, volume_handle: str) -> str:
    return f"staging/{driver}/{staging_digest(volume_handle)}"


def publish_key(pod_uid: str, spec_name: str) -> str:
    return f"publish/{pod_uid}/{spec_name}"


def mount_key(mount: Mount) -> str:
    """The key under which `MOUNTS_OF` keeps a mount; "" for one that is no CSI volume's."""
    match parse_path(mount.mount_point):
        case PublishPath(pod_uid, spec_name) | SubPath(pod_uid, spec_name) | MapPath(pod_uid, spec_name):
            return publish_key(pod_uid, spec_name)
        case StagingPath(driver, digest, pv_name):
            return f"staging/{driver}/{digest}" if digest else f"staging-pv/{pv_name}"
    return ""


def connection_key(node_name: str, minor: int) -> str:
    """The key under which `MOUNTS_ON` keeps the mounts of a FUSE connection."""
    return f"{node_name}/{minor}"


def claim_name(pod: Pod, volume: PodVolume) -> str:
    """The claim behind one entry of `pod.spec.volumes`, "" where there is none."""
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    return f"{pod.name}-{volume.name}" if volume.ephemeral is not None else ""


def pv_key(pv: PersistentVolume) -> str:
    """The key of the volume a PV is part of: its claim's, once it has been claimed."""
    claim_ref = pv.spec.claim_ref
    return f"claim/{claim_ref.uid}" if claim_ref is not None and claim_ref.uid else f"pv/{pv.uid}"


def members(state: State, relation: str, key: str) -> Map[Any, Any]:
    """`{member: detail}` of one relation; empty when nothing is linked."""
    return state.links.get((relation, key), EMPTY)


def find(state: State, object_type: type[ObjectT], uid: str) -> Stored | None:
    return state.objects.get((object_type.__name__, uid))


def get(state: State, object_type: type[ObjectT], uid: str) -> ObjectT | None:
    """The stored object of that type and uid."""
    stored = state.objects.get((object_type.__name__, uid))
    return stored.object if stored is not None and isinstance(stored.object, object_type) else None


def by_name(state: State, object_type: type[ObjectT], name: str, namespace: str = "") -> ObjectT | None:
    uid = state.names.get((object_type.__name__, namespace, name))
    return get(state, object_type, uid) if uid is not None else None


def of_kind(state: State, object_type: type[ObjectT]) -> Iterator[ObjectT]:
    """Every object of one of the kinds that describe the cluster (drivers, nodes, classes, leases)."""
    for uid in members(state, OF_KIND, object_type.__name__):
        obj = get(state, object_type, uid)
        if obj is not None:
            yield obj


def store(state: State, obj: KubernetesObject, seq: int, at: int) -> State:
    """`state` with `obj` as the newest version of itself."""
    identity = (obj.kind, obj.uid)
    old = state.objects.get(identity)
    links = relink(state.links, _links(old.object) if old else (), _links(obj))
    return replace(
        state,
        objects=state.objects.set(identity, Stored(obj, seq, at)),
        names=state.names.set((obj.kind, obj.namespace, obj.name), obj.uid),
        links=links,
    )


def forget(state: State, obj: KubernetesObject) -> State:
    """`state` without `obj`; a newer object of the same name stays."""
    identity = (obj.kind, obj.uid)
    old = state.objects.get(identity)
    if old is None:
        return state
    name = (obj.kind, obj.namespace, obj.name)
    return replace(
        state,
        objects=state.objects.delete(identity),
        names=state.names.delete(name) if state.names.get(name) == obj.uid else state.names,
        links=relink(state.links, _links(old.object), ()),
    )


def relink(
    links: Map[tuple[str, str], Map[Any, Any]], old: Iterable[Link], new: Iterable[Link]
) -> Map[tuple[str, str], Map[Any, Any]]:
    """`links` without those of `old` that are not in `new`, and with all of `new`."""
    before, after = set(old), set(new)
    for relation, key, member, _ in before - after:
        group = links.get((relation, key), EMPTY)
        if member in group:
            group = group.delete(member)
            links = links.set((relation, key), group) if group else links.delete((relation, key))
    for relation, key, member, detail in after - before:
        links = links.set((relation, key), links.get((relation, key), EMPTY).set(member, detail))
    return links


def volume_keys(state: State, obj: KubernetesObject) -> set[str]:
    """The keys of the volumes that a change of `obj` may change."""
    resolve = _KEYS.get(type(obj))
    return set(resolve(state, obj)) if resolve is not None else set()


def subject_key(state: State, driver: str, volume_id: str, volume_name: str = "") -> str:
    """The key of the volume a driver's call is about, as well as it can be told now."""
    for uid in members(state, PV_OF_HANDLE, subject(driver, volume_id)) if volume_id else ():
        pv = get(state, PersistentVolume, uid)
        if pv is not None:
            return pv_key(pv)
    if claim_uid := claim_uid_of_name(volume_name):
        return f"claim/{claim_uid}"
    known_by = [subject(driver, volume_id)] if volume_id else []
    known_by += [named_subject(driver, volume_name)] if volume_name else []
    for each in known_by:
        for key in members(state, KEY_OF_SUBJECT, each):
            return str(key)
    return f"handle/{driver}/{volume_id or 'name:' + volume_name}"


def with_key_of_subject(state: State, known_by: str, key: str) -> State:
    """The state in which calls about a subject are about the volume `key`, and no other any more."""
    others = [(KEY_OF_SUBJECT, known_by, k, None) for k in members(state, KEY_OF_SUBJECT, known_by)]
    links = relink(state.links, others, [(KEY_OF_SUBJECT, known_by, key, None)])
    return state if links is state.links else replace(state, links=links)


def is_known(state: State, driver: str, volume_id: str) -> bool:
    """Whether any volume goes by that id."""
    return bool(members(state, KEY_OF_SUBJECT, subject(driver, volume_id)))


def mount_volume_keys(state: State, mount: Mount) -> set[str]:
    """The keys of the volumes a mount belongs to; empty for what is no CSI volume's or not known yet."""
    match parse_path(mount.mount_point):
        case PublishPath(pod_uid, _) | SubPath(pod_uid, _) | MapPath(pod_uid, _):
            pod = get(state, Pod, pod_uid)
            return set(_pod_keys(state, pod)) if pod is not None else set()
        case StagingPath(driver, digest, pv_name):
            uids = (
                members(state, PV_OF_STAGING, f"staging/{driver}/{digest}")
                if digest
                else [state.names.get(("PersistentVolume", "", pv_name), "")]
            )
            found = (get(state, PersistentVolume, uid) for uid in uids)
            return {pv_key(pv) for pv in found if pv is not None}
    return set()


def _links(obj: KubernetesObject) -> Iterable[Link]:
    make = _LINKS.get(type(obj))
    return make(obj) if make is not None else ()


def _claim_links(claim: PersistentVolumeClaim) -> Iterator[Link]:
    if claim.spec.storage_class_name:
        yield CLAIMS_OF_CLASS, claim.spec.storage_class_name, claim.uid, None
    if claim.spec.volume_name:
        yield CLAIMS_OF_PV, claim.spec.volume_name, claim.uid, None


def _pv_links(pv: PersistentVolume) -> Iterator[Link]:
    if pv.spec.claim_ref is not None and pv.spec.claim_ref.uid:
        yield PV_OF_CLAIM, pv.spec.claim_ref.uid, pv.uid, None
    if pv.spec.csi is not None:
        csi = pv.spec.csi
        yield PV_OF_HANDLE, subject(csi.driver, csi.volume_handle), pv.uid, None
        yield PV_OF_STAGING, staging_key(csi.driver, csi.volume_handle), pv.uid, None


def _attachment_links(attachment: VolumeAttachment) -> Iterator[Link]:
    if attachment.spec.source.persistent_volume_name:
        yield ATTACHMENTS_OF_PV, attachment.spec.source.persistent_volume_name, attachment.uid, None


def _kind_link(obj: KubernetesObject) -> Iterator[Link]:
    yield OF_KIND, obj.kind, obj.uid, None


def _lease_links(lease: Lease) -> Iterator[Link]:
    yield from _kind_link(lease)
    yield LEASES_NAMED, lease.name, lease.uid, None


def _pod_links(pod: Pod) -> Iterator[Link]:
    if looks_like_driver(pod):
        yield DRIVER_PODS, "", pod.uid, None
    if served := fuse_subject(pod):
        yield FUSE_PODS_OF, served, pod.uid, None
    if not any(claim_name(pod, volume) or volume.csi is not None for volume in pod.spec.volumes):
        yield PLAIN_PODS, "", pod.uid, None
    for volume in pod.spec.volumes:
        if name := claim_name(pod, volume):
            yield PODS_OF_CLAIM, f"{pod.namespace}/{name}", pod.uid, volume.name
        elif volume.csi is not None:
            yield INLINE_OF_POD, pod.uid, volume.name, None


def _event_links(event: Event) -> Iterator[Link]:
    if event.involved_object.uid:
        yield EVENTS_OF, event.involved_object.uid, event.uid, None


def _pod_keys(state: State, pod: Pod) -> Iterator[str]:
    if fuse_subject(pod):
        told = pod.metadata.annotations
        yield from members(state, KEY_OF_SUBJECT, subject(told.fuse_driver, told.fuse_volume_handle))
    for volume in pod.spec.volumes:
        if name := claim_name(pod, volume):
            uid = state.names.get(("PersistentVolumeClaim", pod.namespace, name))
            if uid is not None:
                yield f"claim/{uid}"
        elif volume.csi is not None:
            yield f"inline/{pod.uid}/{volume.name}"


def _attachment_keys(state: State, attachment: VolumeAttachment) -> Iterator[str]:
    name = attachment.spec.source.persistent_volume_name or ""
    pv = by_name(state, PersistentVolume, name)
    if pv is not None:
        yield pv_key(pv)
        return
    for uid in members(state, CLAIMS_OF_PV, name):
        yield f"claim/{uid}"


def _event_keys(state: State, event: Event) -> Iterator[str]:
    stored = state.objects.get((event.involved_object.kind, event.involved_object.uid))
    if stored is not None and not isinstance(stored.object, Event):
        yield from volume_keys(state, stored.object)


_LINKS: dict[type, Callable[[Any], Iterable[Link]]] = {
    PersistentVolumeClaim: _claim_links,
    PersistentVolume: _pv_links,
    VolumeAttachment: _attachment_links,
    Pod: _pod_links,
    Event: _event_links,
    **dict.fromkeys((CSIDriver, CSINode, StorageClass, Node), _kind_link),
    Lease: _lease_links,
}

_KEYS: dict[type, Callable[[State, Any], Iterable[str]]] = {
    PersistentVolumeClaim: lambda state, claim: (f"claim/{claim.uid}",),
    PersistentVolume: lambda state, pv: (pv_key(pv),),
    VolumeAttachment: _attachment_keys,
    Pod: _pod_keys,
    Event: _event_keys,
}
