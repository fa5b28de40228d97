"""What the witnesses have said so far, kept apart from csitrace's own state: what a step that is shown as done is proved by.

Nothing here knows how csitrace concludes anything; it takes the facts as they come in and keeps what is so by the last of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from csitrace.lifecycle.paths import PublishPath, StagingPath, parse_path, staging_digest
from csitrace.lifecycle.state import Use, Volume
from csitrace.model.events import (
    Body,
    MountAppeared,
    MountVanished,
    ObjectAdded,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    RpcFinished,
    RpcStarted,
    SourceUp,
    Witness,
)
from csitrace.model.kubernetes import (
    Event,
    KubernetesObject,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    StorageClass,
    VolumeAttachment,
    unique_volume_name,
)
from csitrace.model.rpc import short_method

_PV_CONTROLLER = "persistentvolume-controller"

_UNDOES = {
    "DeleteVolume": "CreateVolume",
    "ControllerUnpublishVolume": "ControllerPublishVolume",
    "NodeUnstageVolume": "NodeStageVolume",
    "NodeUnpublishVolume": "NodePublishVolume",
}

IMPLIES: dict[str, tuple[str, ...]] = {
    "17": ("16b",),
    "16b": ("16a", "15"),
    "16a": ("14", "15"),
    "15": ("9",),
    "14": ("13",),
    "13": ("12",),
    "12": ("11",),
    "11": ("10",),
    "10": ("9",),
    "9": ("3",),
    "8": ("7", "1"),
    "7": ("6",),
    "6": ("5",),
    "4": ("3",),
    "3": ("2",),
    "2": ("1",),
}
"""What cannot have been without what; what tells of the earlier step may come in after what tells of the later one."""


@dataclass
class Seen:
    """Objects by uid, mounts by (node, id), answered calls by what they are about; `undone` calls are taken out again."""

    objects: dict[str, KubernetesObject] = field(default_factory=dict)
    mounts: dict[tuple[str, int], str] = field(default_factory=dict)
    calls: set[tuple[str, str, str, str]] = field(default_factory=set)  # (method, volume, node, target path)
    deleted: set[str] = field(default_factory=set)
    _ids: dict[str, str] = field(
        default_factory=dict
    )  # of volumes, by the name that CreateVolume was asked for
    _started: dict[tuple[str, int], RpcStarted] = field(default_factory=dict)

    def take(self, body: Body) -> None:
        match body:
            case ObjectListed(object=obj) | ObjectAdded(object=obj) | ObjectModified(object=obj):
                self.objects[obj.uid] = obj
            case ObjectDeleted(object=obj):
                self.objects.pop(obj.uid, None)
            case MountAppeared(node_name=node, mount=mount):
                self.mounts[node, mount.mount_id] = mount.mount_point
            case MountVanished(node_name=node, mount=mount):
                self.mounts.pop((node, mount.mount_id), None)
            case SourceUp(witness=Witness.KERNEL, scope=node):  # it tells all anew
                self.mounts = {name: path for name, path in self.mounts.items() if name[0] != node}
            case RpcStarted():
                self._started[body.instance, body.call_id] = body
            case RpcFinished():
                self._answered(body)
            case _:
                pass

    def _answered(self, body: RpcFinished) -> None:
        asked = self._started.pop((body.instance, body.call_id), None)
        if body.code or asked is None:
            return
        method = short_method(body.method)
        done = _UNDOES.get(method, method)
        node = asked.node_name if done.startswith("Node") else asked.node_id
        volume = body.volume_id or asked.volume_id
        if method == "CreateVolume":
            self._ids[asked.volume_name] = volume
        if method == "DeleteVolume":
            self.deleted.add(volume)  # which tells that its PV was released, and its claim gone
        if method == done:
            self.calls.add((done, volume, node, asked.target_path))
            return
        self.calls = {
            call
            for call in self.calls
            if call[:2] != (done, volume)
            or node not in ("", call[2])
            or asked.target_path not in ("", call[3])
        }

    def called(self, method: str, volume: str, node: str = "", part: str = "") -> bool:
        """Whether such a call was answered OK and not undone. `volume`: its id, or the name it was asked for by; `part`: of the
        target path."""
        volume = self._ids.get(volume, volume)
        return any(
            call[:2] == (method, volume) and volume and node in ("", call[2]) and part in call[3]
            for call in self.calls
        )

    def find(self, uid: str) -> KubernetesObject | None:
        return self.objects.get(uid)

    def attachments(self, volume: Volume, node: str) -> Iterator[VolumeAttachment]:
        name = volume.pv.name if volume.pv is not None else ""
        for obj in self.objects.values():
            if not isinstance(obj, VolumeAttachment) or obj.spec.node_name != node:
                continue
            if name and obj.spec.source.persistent_volume_name == name:
                yield obj

    def is_mounted(self, volume: Volume, use: Use, role: str) -> bool:
        """Whether the kernel of the pod's node has told of the staging mount, or of the pod's own, and not of its end."""
        for (node, _), path in self.mounts.items():
            match parse_path(path):
                case StagingPath(digest=digest) if role == "staging" and node == use.node_name:
                    if digest == staging_digest(volume.volume_id):
                        return True
                case PublishPath(pod_uid=uid, spec_name=name) if role == "publish" and uid == use.pod_uid:
                    if name in (
                        use.volume_name,
                        volume.pv.name if volume.pv is not None else "",
                        _made_for(volume),
                    ):
                        return True
                case _:
                    pass
        return False

    def proved(self, volume: Volume, use: Use | None) -> set[str]:
        """The steps forward that the facts prove at this moment, each with those it implies. Without a pod, what a driver did for
        any node counts."""
        found = set(self._volume_steps(volume))
        found |= set(self._calls(volume, use))
        if use is not None:
            found |= set(self._pod_steps(volume, use))
        if found & {"6", "7", "8"} and self._waits_for_consumer(volume):
            found.add("4")
        for step in tuple(IMPLIES):  # in falling order: what is implied is looked at after what implies it
            if step in found:
                found |= set(IMPLIES[step])
        return found

    def _waits_for_consumer(self, volume: Volume) -> bool:
        told = volume.claim or volume.pv  # the PV may be heard of first
        name = told.spec.storage_class_name if told is not None else ""
        return any(
            isinstance(obj, StorageClass)
            and obj.name == name
            and obj.volume_binding_mode == "WaitForFirstConsumer"
            for obj in self.objects.values()
        )

    def _events(self, uid: str) -> Iterator[Event]:
        """What Events say of an object."""
        for obj in self.objects.values():
            if isinstance(obj, Event) and uid and obj.involved_object.uid == uid:
                yield obj

    def _volume_steps(self, volume: Volume) -> Iterator[str]:
        pv = self.find(volume.pv.uid) if volume.pv is not None else None
        claim = self.find(volume.claim.uid) if volume.claim is not None else None
        name = _made_for(volume)
        if self.called("CreateVolume", volume.volume_id) or self.called("CreateVolume", name):
            yield "6"
        for event in self._events(volume.claim.uid if volume.claim is not None else ""):
            if event.reason == "ProvisioningSucceeded":
                yield "6"
            if event.reason == "ProvisioningFailed" and event.component != _PV_CONTROLLER:
                yield "5"  # external-provisioner acts on no claim that does not name it; the claim may be heard of later
        if isinstance(pv, PersistentVolume):
            yield from ("1", "7")
            if claim is None and pv.status.phase in ("Bound", "Released"):
                yield "8"
        if isinstance(claim, PersistentVolumeClaim):
            yield "1"
            marks = claim.metadata.annotations
            if marks.selected_node:
                yield "4"
            if marks.storage_provisioner or marks.storage_provisioner_beta:
                yield "5"
            if claim.spec.volume_name and marks.storage_provisioner:
                yield "7"  # the PV controller writes it there, and takes it from the PV
            if claim.status.phase == "Bound":
                yield "8"

    def _pod_steps(self, volume: Volume, use: Use) -> Iterator[str]:
        pod = self.find(use.pod_uid)
        if isinstance(pod, Pod):
            yield "1"
            told = {condition.type: condition.status for condition in pod.status.conditions}
            if "PodScheduled" in told:
                yield "2"
            if pod.spec.node_name:
                yield "9"
            if pod.status.start_time:
                yield "15"
            if told.get("PodReadyToStartContainers") == "True":
                yield "16b"
            statuses = pod.status.container_statuses
            if any(s.state.running or s.state.terminated or s.restart_count for s in statuses):
                yield "17"
            if any(status.state.running for status in pod.status.init_container_statuses):
                yield "16b"
        for attachment in self.attachments(volume, use.node_name):
            yield "11"
            if attachment.metadata.finalizers or attachment.status.attach_error:
                yield "12"
            if attachment.status.attached:
                yield "14"
        if self.is_mounted(volume, use, "staging"):
            yield "16a"
        if self.is_mounted(volume, use, "publish"):
            yield "16b"

    def _calls(self, volume: Volume, use: Use | None) -> Iterator[str]:
        handle, node = volume.volume_id, use.node_name if use is not None else ""
        if use is not None and not node:
            return
        if self.called("ControllerPublishVolume", handle, node):
            yield "13"
        if self.called("NodeStageVolume", handle, node):
            yield "16a"
        if self.called("NodePublishVolume", handle, node, use.pod_uid if use is not None else ""):
            yield "16b"
        # Its PV, and so its handle, may be heard of later; the path tells the pod and the PV's name.
        if use is not None and _made_for(volume):
            target = f"/{use.pod_uid}/volumes/kubernetes.io~csi/{_made_for(volume)}/"
            if any(call[0] == "NodePublishVolume" and target in call[3] for call in self.calls):
                yield "16b"

    def still(self, volume: Volume, use: Use | None) -> set[str]:
        """The steps back that cannot be done at this moment, by the facts: what they take away is there, and nothing that
        comes after them has been told of."""
        found: set[str] = set()
        pv = self.find(volume.pv.uid) if volume.pv is not None else None
        claim = self.find(volume.claim.uid) if volume.claim is not None else None
        is_its_own = isinstance(pv, PersistentVolume) and _is_of(pv, volume)
        phase = pv.status.phase if isinstance(pv, PersistentVolume) else ""
        released = not is_its_own or phase in ("Released", "Failed")
        if claim is not None and not released and volume.volume_id not in self.deleted:
            found |= {"b10", "b11"}
        if isinstance(pv, PersistentVolume):
            found.add("b13")
            if self.called("CreateVolume", volume.volume_id):
                found.add("b12")
        if use is None:
            return found
        pod = self.find(use.pod_uid)
        attachment = next(self.attachments(volume, use.node_name), None)
        staged = self.is_mounted(volume, use, "staging")
        published = self.is_mounted(volume, use, "publish")
        if isinstance(pod, Pod):
            if claim is not None or volume.claim is None:  # a claim goes only after all its pods
                found.add("b4")
            if not pod.is_terminating and pod.status.phase not in ("Succeeded", "Failed"):
                found.add("b1")
            if published:
                found.add("b3")
                if any(status.state.running for status in pod.status.container_statuses):
                    found.add("b2")
        if attachment is not None:
            found.add("b9")
            if self.called("ControllerPublishVolume", volume.volume_id, node=use.node_name):
                found.add("b8")
            if not attachment.is_terminating:
                found.add("b7")
                if staged:
                    found.add("b5")
                if self._lists(volume, use.node_name):
                    found.add("b6")
        return found

    def _lists(self, volume: Volume, node_name: str) -> bool:
        name = unique_volume_name(volume.driver, volume.volume_id)
        return any(
            isinstance(obj, Node) and obj.name == node_name and name in obj.status.volumes_in_use
            for obj in self.objects.values()
        )


def _is_of(pv: PersistentVolume, volume: Volume) -> bool:
    """Not so for a PV that was kept, and is no longer this claim's."""
    ref = pv.spec.claim_ref
    return volume.claim is None or (ref is not None and ref.uid in ("", volume.claim.uid))


def _made_for(volume: Volume) -> str:
    """The name that external-provisioner gives to the PV of a claim; "" without one."""
    return f"pvc-{volume.claim.uid}" if volume.claim is not None else ""
