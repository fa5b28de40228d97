"""A volume's story, told fact by fact: builds the events that a cluster, a driver and a kernel would produce.

Times are seconds since `START`; every fact advances the clock by `TICK` unless told `at`.
"""

from dataclasses import dataclass, field
from typing import Any

from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.history import History
from csitrace.lifecycle.ladder import ladder, way_back
from csitrace.lifecycle.paths import staging_digest
from csitrace.lifecycle.state import State, StepStatus, Volume
from csitrace.lifecycle.verdict import verdict
from csitrace.lifecycle.views import Verdict
from csitrace.model import events, kinds
from csitrace.model.events import Body, Stamp, TraceEvent, Witness
from csitrace.model.kubernetes import (
    Annotations,
    AttachedVolume,
    BareMeta,
    Condition,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    CSIDriver,
    CSIDriverSpec,
    CSIPersistentVolumeSource,
    Event,
    KubernetesObject,
    Node,
    NodeStatus,
    ObjectMeta,
    ObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    PersistentVolumeClaimVolumeSource,
    PersistentVolumeSpec,
    PersistentVolumeStatus,
    Pod,
    PodSpec,
    PodStatus,
    StorageClass,
    VolumeAttachment,
    VolumeAttachmentSource,
    VolumeAttachmentSpec,
    VolumeAttachmentStatus,
    VolumeError,
    unique_volume_name,
)
from csitrace.model.kubernetes import Volume as PodVolume
from csitrace.model.mounts import Mount
from csitrace.model.times import MILLISECOND, SECOND, format_rfc3339, parse_rfc3339

START = parse_rfc3339("2026-01-02T10:00:00Z") or 0
TICK = 100 * MILLISECOND

DRIVER = "ref.csitrace.dev"
NODE = "n1"
CLAIM_UID = "11111111-2222-3333-4444-555555555555"
POD_UID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
PV_NAME = f"pvc-{CLAIM_UID}"
HANDLE = "vol-1"
KEY = f"claim/{CLAIM_UID}"
ROOT = "/var/lib/kubelet"
STAGING = f"{ROOT}/plugins/kubernetes.io/csi/{DRIVER}/{staging_digest(HANDLE)}/globalmount"
TARGET = f"{ROOT}/pods/{POD_UID}/volumes/kubernetes.io~csi/{PV_NAME}/mount"
FINALIZER = "external-attacher/ref-csitrace-dev"


@dataclass
class Story:
    """The facts so far, as events and as the state they fold to."""

    state: State = field(default_factory=State)
    events: list[TraceEvent] = field(default_factory=list)
    at: int = START
    call_id: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    history: History | None = None

    def tell(self, body: Body, at: float | None = None, stamp: Stamp = Stamp.OBSERVED) -> TraceEvent:
        """One fact; `at` in seconds since START."""
        self.at = START + int(at * SECOND) if at is not None else self.at + TICK
        event = TraceEvent(
            seq=self.state.seq + 1, observed_at=self.at, occurred_at=self.at, stamp=stamp, body=body
        )
        self.events.append(event)
        self.state = self.history.append(event) if self.history is not None else fold(self.state, event)
        return event

    def hear_everyone(self, node: str = NODE) -> "Story":
        """All witnesses are heard, and their first lists are in."""
        for kind in kinds.KINDS:
            self.tell(events.SourceUp(witness=Witness.KUBERNETES, scope=kind.name))
            self.tell(events.ListCompleted(witness=Witness.KUBERNETES, scope=kind.name))
        self.tell(events.SourceUp(witness=Witness.DRIVER, scope=f"{DRIVER}@{node}", instance="run-1"))
        self.tell(events.SourceUp(witness=Witness.KERNEL, scope=node))
        self.tell(events.ListCompleted(witness=Witness.KERNEL, scope=node))
        return self

    def put(self, obj: KubernetesObject, at: float | None = None) -> "Story":
        """The object, added or changed."""
        known = (obj.kind, obj.uid) in self.state.objects
        self.tell(events.ObjectModified(object=obj) if known else events.ObjectAdded(object=obj), at)
        return self

    def find(self, obj: KubernetesObject, at: float | None = None) -> "Story":
        """The object was there before we looked."""
        self.tell(events.ObjectListed(object=obj), at)
        return self

    def remove(self, obj: KubernetesObject, at: float | None = None) -> "Story":
        self.tell(events.ObjectDeleted(object=obj), at)
        return self

    def call(self, method: str, at: float | None = None, **names: str) -> int:
        """A CSI call begins; the answer is its id."""
        self.call_id += 1
        service = "Node" if method.startswith("Node") else "Controller"
        body = events.RpcStarted(
            driver=DRIVER,
            instance="run-1",
            call_id=self.call_id,
            method=f"/csi.v1.{service}/{method}",
            node_name=NODE,
            **names,
        )
        self.tell(body, at, Stamp.ORIGIN)
        return self.call_id

    def answer(
        self,
        call_id: int,
        method: str,
        code: int = 0,
        message: str = "",
        at: float | None = None,
        **names: str,
    ) -> None:
        service = "Node" if method.startswith("Node") else "Controller"
        body = events.RpcFinished(
            driver=DRIVER, instance="run-1", call_id=call_id, method=f"/csi.v1.{service}/{method}", code=code,
            message=message, duration_ns=MILLISECOND, node_name=NODE, **names,
        )  # fmt: skip
        self.tell(body, at, Stamp.ORIGIN)

    def rpc(self, method: str, code: int = 0, message: str = "", **names: str) -> "Story":
        """A whole CSI call."""
        names.setdefault("volume_id", HANDLE)
        call_id = self.call(method, **names)
        kept = {name: value for name, value in names.items() if name in ("volume_id", "volume_name")}
        self.answer(call_id, method, code, message, **kept)
        return self

    def create_volume(self) -> "Story":
        call_id = self.call("CreateVolume", volume_name=PV_NAME)
        self.answer(call_id, "CreateVolume", volume_id=HANDLE, volume_name=PV_NAME)
        return self

    def mount(
        self, mount_point: str, mount_id: int, fs_type: str = "fuse.csitrace", minor: int = 50
    ) -> "Story":
        self.tell(events.MountAppeared(node_name=NODE, mount=mount(mount_point, mount_id, fs_type, minor)))
        return self

    def unmount(self, mount_point: str, mount_id: int) -> "Story":
        self.tell(events.MountVanished(node_name=NODE, mount=mount(mount_point, mount_id)))
        return self

    @property
    def volume(self) -> Volume:
        return self.state.volumes[KEY]

    def statuses(self) -> dict[str, StepStatus]:
        """Every forward step's status for the newest pod."""
        uses = self.volume.uses
        return {
            view.step_id: view.status for view in ladder(self.state, self.volume, uses[0] if uses else None)
        }

    def back_statuses(self) -> dict[str, StepStatus]:
        uses = self.volume.uses
        return {
            view.step_id: view.status for view in way_back(self.state, self.volume, uses[0] if uses else None)
        }

    def verdict(self, later: float = 0.0) -> Verdict:
        """The verdict, some seconds after the last fact."""
        return verdict(self.state, self.volume, self.at + int(later * SECOND))

    def time(self) -> str:
        return format_rfc3339(self.at)[:19] + "Z"


def mount(mount_point: str, mount_id: int, fs_type: str = "fuse.csitrace", minor: int = 50) -> Mount:
    return Mount(
        mount_id=mount_id,
        parent_id=1,
        major=0,
        minor=minor,
        root="/",
        mount_point=mount_point,
        fs_type=fs_type,
        source="ref",
    )


def meta(name: str, uid: str, namespace: str = "", **more: object) -> BareMeta:
    """Of the kinds whose writers are of no interest."""
    return BareMeta(**_meta(name, uid, namespace) | more)


def tracked(name: str, uid: str, namespace: str = "", **more: object) -> ObjectMeta:
    """Of claims, PVs, attachments and pods, of which it is told who wrote what, when."""
    return ObjectMeta(**_meta(name, uid, namespace) | more)


def _meta(name: str, uid: str, namespace: str) -> dict[str, Any]:
    created = format_rfc3339(START)[:19] + "Z"
    return {
        "name": name,
        "uid": uid,
        "namespace": namespace,
        "resource_version": "1",
        "creation_timestamp": created,
    }


def storage_class(mode: str = "WaitForFirstConsumer") -> StorageClass:
    return StorageClass(metadata=meta("fast", "uid-class"), provisioner=DRIVER, volume_binding_mode=mode)


def csi_driver(attach_required: bool = True) -> CSIDriver:
    return CSIDriver(metadata=meta(DRIVER, "uid-driver"), spec=CSIDriverSpec(attach_required=attach_required))


def claim(
    phase: str = "Pending", volume_name: str = "", deleting: bool = False, **annotations: str
) -> PersistentVolumeClaim:
    return PersistentVolumeClaim(
        metadata=tracked(
            "data", CLAIM_UID, "shop",
            annotations=Annotations(**annotations),
            finalizers=("kubernetes.io/pvc-protection",),
            deletion_timestamp=format_rfc3339(START)[:19] + "Z" if deleting else None,
        ),
        spec=PersistentVolumeClaimSpec(storage_class_name="fast", volume_name=volume_name),
        status=PersistentVolumeClaimStatus(phase=phase),
    )  # fmt: skip


def pv(phase: str = "Bound", **more: object) -> PersistentVolume:
    return PersistentVolume(
        metadata=tracked(PV_NAME, "uid-pv", annotations=Annotations(provisioned_by=DRIVER)),
        spec=PersistentVolumeSpec(
            claim_ref=ObjectReference(
                kind="PersistentVolumeClaim", namespace="shop", name="data", uid=CLAIM_UID
            ),
            csi=CSIPersistentVolumeSource(driver=DRIVER, volume_handle=HANDLE),
            storage_class_name="fast",
            persistent_volume_reclaim_policy="Delete",
        ),
        status=PersistentVolumeStatus(phase=phase),
        **more,  # type: ignore[arg-type]
    )


def pod(
    node: str = "", container: str = "", phase: str = "Pending", started: bool = False, deleting: bool = False,
    name: str = "web-0", uid: str = POD_UID, unschedulable: str = "",
) -> Pod:  # fmt: skip
    """`container`: running, waiting or terminated."""
    stamp = format_rfc3339(START)[:19] + "Z"
    state = {
        "running": ContainerState(running=ContainerStateRunning(started_at=stamp)),
        "waiting": ContainerState(waiting=ContainerStateWaiting(reason="ContainerCreating")),
        "terminated": ContainerState(terminated=ContainerStateTerminated(reason="Completed")),
    }.get(container)
    conditions = []
    if node:
        conditions.append(Condition(type="PodScheduled", status="True", last_transition_time=stamp))
    elif unschedulable:
        conditions.append(
            Condition(type="PodScheduled", status="False", reason="Unschedulable", message=unschedulable)
        )
    return Pod(
        metadata=tracked(name, uid, "shop", deletion_timestamp=stamp if deleting else None),
        spec=PodSpec(
            node_name=node,
            volumes=(
                PodVolume(name="config"),
                PodVolume(
                    name="data", persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name="data")
                ),
            ),
        ),
        status=PodStatus(
            phase=phase,
            start_time=stamp if started else None,
            conditions=tuple(conditions),
            container_statuses=(ContainerStatus(name="main", state=state),) if state is not None else (),
        ),
    )


def attachment(
    attached: bool = False,
    error: str = "",
    finalizer: bool = False,
    detach_error: str = "",
    deleting: bool = False,
) -> VolumeAttachment:
    stamp = format_rfc3339(START)[:19] + "Z"
    return VolumeAttachment(
        metadata=tracked(
            "csi-0123456789", "uid-va",
            finalizers=(FINALIZER,) if finalizer else (),
            annotations=Annotations(csi_node_id=NODE if finalizer else ""),
            deletion_timestamp=stamp if deleting else None,
        ),
        spec=VolumeAttachmentSpec(
            attacher=DRIVER, node_name=NODE, source=VolumeAttachmentSource(persistent_volume_name=PV_NAME)
        ),
        status=VolumeAttachmentStatus(
            attached=attached,
            attach_error=VolumeError(message=error) if error else None,
            detach_error=VolumeError(message=detach_error) if detach_error else None,
        ),
    )  # fmt: skip


def node(in_use: bool = False, attached: bool = False) -> Node:
    name = unique_volume_name(DRIVER, HANDLE)
    return Node(
        metadata=meta(NODE, "uid-node"),
        status=NodeStatus(
            volumes_in_use=(name,) if in_use else (),
            volumes_attached=(AttachedVolume(name=name),) if attached else (),
        ),
    )


def happened(
    reason: str, message: str, about: KubernetesObject, kind: str = "Warning", uid: str = ""
) -> Event:
    return Event(
        metadata=meta(f"{about.name}.{reason}", uid or f"event-{reason}", about.namespace),
        involved_object=ObjectReference(
            kind=about.kind, namespace=about.namespace, name=about.name, uid=about.uid
        ),
        reason=reason,
        message=message,
        type=kind,
        last_timestamp=format_rfc3339(START)[:19] + "Z",
    )


def straight_road(story: Story | None = None, mode: str = "WaitForFirstConsumer") -> list[tuple[str, Story]]:
    """(step that has just been done, the story at that moment): the whole way to running containers."""
    story = story or Story()
    chapters: list[tuple[str, Story]] = []

    def done(step: str) -> None:
        chapters.append((step, Story(story.state, list(story.events), story.at, story.call_id)))

    story.hear_everyone().put(storage_class(mode)).put(csi_driver()).put(node())
    story.put(claim()).put(pod())
    done("1")
    selected = {"selected_node": NODE} if mode == "WaitForFirstConsumer" else {}
    if selected:
        story.put(claim(**selected))
        done("4")
    story.put(claim(**selected, storage_provisioner=DRIVER))
    done("5")
    story.create_volume()
    done("6")
    story.put(pv("Pending"))
    done("7")
    story.put(pv("Bound")).put(claim("Bound", PV_NAME, **selected, storage_provisioner=DRIVER))
    done("8")
    story.put(pod(NODE))
    done("9")
    story.put(attachment())
    done("11")
    story.put(attachment(finalizer=True))
    done("12")
    story.rpc("ControllerPublishVolume", node_id=NODE)
    done("13")
    story.put(attachment(attached=True, finalizer=True))
    done("14")
    story.put(pod(NODE, "waiting", started=True)).put(node(in_use=True, attached=True))
    done("15")
    story.rpc("NodeStageVolume", staging_target_path=STAGING).mount(STAGING, 100)
    done("16a")
    story.rpc("NodePublishVolume", staging_target_path=STAGING, target_path=TARGET).mount(TARGET, 101)
    done("16b")
    story.put(pod(NODE, "running", "Running", started=True))
    done("17")
    return chapters


def story_at(step: str) -> Story:
    """The straight road until `step` is done."""
    return dict(straight_road())[step]


def way_back_road(story: Story) -> Story:
    """From running containers to nothing left."""
    story.put(pod(NODE, "running", "Running", started=True, deleting=True))
    story.put(pod(NODE, "terminated", "Running", started=True, deleting=True))
    story.rpc("NodeUnpublishVolume", target_path=TARGET).unmount(TARGET, 101)
    story.remove(pod(NODE, "terminated", "Succeeded", started=True, deleting=True))
    story.rpc("NodeUnstageVolume", staging_target_path=STAGING).unmount(STAGING, 100)
    story.put(node())
    story.put(attachment(attached=True, finalizer=True, deleting=True))
    story.rpc("ControllerUnpublishVolume", node_id=NODE)
    story.remove(attachment(attached=True, deleting=True))
    bound = claim("Bound", PV_NAME, deleting=True, selected_node=NODE, storage_provisioner=DRIVER)
    story.put(bound).remove(bound)
    story.put(pv("Released"))
    story.rpc("DeleteVolume")
    story.remove(pv("Released"))
    return story
