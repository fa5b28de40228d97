"""Which names a recording holds: everything that somebody chose, or that tells where it was, gathered before any is replaced."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from csitrace.lifecycle.driver_pods import looks_like_driver
from csitrace.lifecycle.paths import MapPath, PublishPath, StagingPath, SubPath, parse_path
from csitrace.model.events import (
    FuseCounted,
    FuseObserved,
    FuseOpSampled,
    ListCompleted,
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
    TraceEvent,
    Witness,
)
from csitrace.model.kubernetes import (
    CSIDriver,
    CSINode,
    Event,
    KubernetesObject,
    Lease,
    Node,
    ObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    StorageClass,
    VolumeAttachment,
)

EVERYBODYS = frozenset({"", "default", "kube-system", "kube-public", "kube-node-lease", "*", "/"})
"""What every cluster has, and tells of none."""

_NODE_LEASES = "kube-node-lease"
_SHARE = re.compile(r"(?://)?([A-Za-z0-9][A-Za-z0-9._-]*):?(/.*)")


@dataclass(slots=True)
class Names:
    """`chosen`: names and uids; `handles`: a driver's volume ids, which paths hold as digests; `inline`, `generated`: (pod's uid
    or name, name in pod.spec.volumes) of which kubelet makes ids and claims; `words`: drivers and classes, which are kept."""

    chosen: set[str] = field(default_factory=set)
    handles: set[str] = field(default_factory=set)
    inline: set[tuple[str, str]] = field(default_factory=set)
    generated: set[tuple[str, str]] = field(default_factory=set)
    words: set[str] = field(default_factory=set)


def names_of(events: Iterable[TraceEvent]) -> Names:
    """All of a recording's."""
    found = Names()
    for event in events:
        found.chosen.update(_of_body(event.body, found))
    found.chosen |= found.handles
    found.chosen -= EVERYBODYS | found.words
    found.handles -= EVERYBODYS
    return found


def _of_body(body: object, found: Names) -> Iterator[str]:
    match body:
        case (
            ObjectListed(object=obj)
            | ObjectAdded(object=obj)
            | ObjectModified(object=obj)
            | ObjectDeleted(object=obj)
        ):
            yield from _of_object(obj, found)
        case RpcStarted() as call:
            found.words.add(call.driver)
            found.handles.add(call.volume_id)
            yield from (call.node_name, call.volume_name, call.node_id)
            yield from _of_paths(call.staging_target_path, call.target_path)
        case RpcFinished() as call:
            found.words.add(call.driver)
            found.handles.add(call.volume_id)
            yield from (call.node_name, call.volume_name)
        case MountAppeared(node_name=node, mount=mount) | MountVanished(node_name=node, mount=mount):
            yield node
            yield from _of_paths(mount.mount_point)
            if share := _SHARE.fullmatch(mount.source):
                yield from (share[1], share[2])
        case FuseCounted() | FuseOpSampled() | FuseObserved():
            found.handles.add(body.volume_id)
            yield body.node_name
            if isinstance(body, FuseObserved) and body.daemon is not None:
                yield body.daemon.pod_uid
        case SourceUp() | SourceDown() | SourceGap() | ListCompleted():
            yield from _of_scope(body.witness, body.scope, found)


def _of_scope(witness: Witness, scope: str, found: Names) -> Iterator[str]:
    if witness is Witness.KUBERNETES:
        yield scope.partition("/")[2]
    elif witness is Witness.KERNEL:
        yield scope
    elif "@" in scope:
        found.words.add(scope.partition("@")[0])
        yield scope.partition("@")[2]
    elif "://" not in scope:  # a feed's host:port
        yield scope.rpartition(":")[0]


def _of_paths(*paths: str) -> Iterator[str]:
    for path in paths:
        match parse_path(path):
            case PublishPath(pod_uid, spec_name) | SubPath(pod_uid, spec_name) | MapPath(pod_uid, spec_name):
                yield from (pod_uid, spec_name)
            case StagingPath(_, _, pv_name):
                yield pv_name


def _of_object(obj: KubernetesObject, found: Names) -> Iterator[str]:
    meta = obj.metadata
    yield from (meta.namespace, meta.uid)
    for owner in meta.owner_references:
        yield from (owner.name, owner.uid)
    yield from (meta.annotations.selected_node, meta.annotations.csi_node_id)
    found.handles.add(meta.annotations.fuse_volume_handle)
    match obj:
        case StorageClass():
            found.words.update((obj.name, obj.provisioner))
        case CSIDriver():
            found.words.add(obj.name)
        case Lease():
            if obj.namespace == _NODE_LEASES:
                yield obj.name
            yield obj.spec.holder_identity or ""
        case PersistentVolumeClaim():
            found.words.add(obj.spec.storage_class_name or "")
            yield from (obj.name, obj.spec.volume_name)
            for source in (obj.spec.data_source, obj.spec.data_source_ref):
                if source is not None:
                    yield from (source.name, source.namespace)
        case PersistentVolume():
            yield obj.name
            found.words.add(obj.spec.storage_class_name)
            if obj.spec.csi is not None:
                found.words.add(obj.spec.csi.driver)
                found.handles.add(obj.spec.csi.volume_handle)
            if obj.spec.claim_ref is not None:
                yield from _of_reference(obj.spec.claim_ref)
        case VolumeAttachment():
            found.words.add(obj.spec.attacher)
            yield from (obj.name, obj.spec.node_name, obj.spec.source.persistent_volume_name or "")
        case Pod():
            yield from _of_pod(obj, found)
        case Event():
            yield from (obj.name, obj.source.host)
            if obj.involved_object.kind not in ("StorageClass", "CSIDriver"):
                yield from _of_reference(obj.involved_object)
        case Node():
            yield obj.name
            attached = (volume.name for volume in obj.status.volumes_attached)
            for name in (*obj.status.volumes_in_use, *attached):
                found.handles.add(name.partition("^")[2])
        case CSINode():
            yield obj.name
            for driver in obj.spec.drivers or ():
                found.words.add(driver.name)
                yield driver.node_id


def _of_pod(pod: Pod, found: Names) -> Iterator[str]:
    yield from (pod.name, pod.spec.node_name)
    if not looks_like_driver(pod):  # whose containers are called as the Kubernetes project calls them
        yield from (container.name for container in pod.spec.containers)
        yield from (s.name for s in (*pod.status.container_statuses, *pod.status.init_container_statuses))
    for volume in pod.spec.volumes:
        if volume.host_path is None:
            yield volume.name
        if volume.persistent_volume_claim is not None:
            yield volume.persistent_volume_claim.claim_name
        if volume.ephemeral is not None:
            found.generated.add((pod.name, volume.name))
        if volume.csi is not None:
            found.words.add(volume.csi.driver)
            found.inline.add((pod.uid, volume.name))


def _of_reference(reference: ObjectReference) -> tuple[str, ...]:
    return reference.namespace, reference.name, reference.uid
