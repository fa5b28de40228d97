"""Kubernetes objects, reduced to the fields csitrace uses.

The types are an allow-list: bytes from the API server are decoded straight into them, so a field that is not named here
(a Secret reference's content, `last-applied-configuration`, environment variables) never enters the process's state,
a trace or a screen. Field meanings are those of the Kubernetes API reference, v1; defaults are the API's own.

Times stay as the server's RFC 3339 strings (`times.parse_rfc3339` reads them); quantities stay as strings.
`kind` is the class name, and the tag by which a mixed sequence of objects is told apart.
"""

from enum import StrEnum
from typing import Any

import msgspec


class _Struct(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel", omit_defaults=True):
    """Common settings: immutable, untracked by the cyclic GC (the values hold no cycles), the API's field names."""


class Annotations(_Struct, frozen=True, kw_only=True):
    """The annotations that drive the volume's lifecycle; all others are dropped when decoding."""

    selected_node: str = msgspec.field(name="volume.kubernetes.io/selected-node", default="")
    storage_provisioner: str = msgspec.field(name="volume.kubernetes.io/storage-provisioner", default="")
    storage_provisioner_beta: str = msgspec.field(
        name="volume.beta.kubernetes.io/storage-provisioner", default=""
    )
    storage_resizer: str = msgspec.field(name="volume.kubernetes.io/storage-resizer", default="")
    bind_completed: str = msgspec.field(name="pv.kubernetes.io/bind-completed", default="")
    bound_by_controller: str = msgspec.field(name="pv.kubernetes.io/bound-by-controller", default="")
    provisioned_by: str = msgspec.field(name="pv.kubernetes.io/provisioned-by", default="")
    migrated_to: str = msgspec.field(name="pv.kubernetes.io/migrated-to", default="")
    csi_node_id: str = msgspec.field(name="csi.alpha.kubernetes.io/node-id", default="")
    pre_resize_capacity: str = msgspec.field(
        name="volume.alpha.kubernetes.io/pre-resize-capacity", default=""
    )
    fuse_driver: str = msgspec.field(name="csitrace.dev/driver", default="")
    fuse_volume_handle: str = msgspec.field(name="csitrace.dev/volume-handle", default="")
    is_default_class: str = msgspec.field(name="storageclass.kubernetes.io/is-default-class", default="")


class Labels(_Struct, frozen=True, kw_only=True):
    """The labels that tell what a pod is for; all others are dropped when decoding."""

    component: str = msgspec.field(name="csitrace.dev/component", default="")


class OwnerReference(_Struct, frozen=True, kw_only=True):
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Manager(StrEnum):
    """Who writes what we ask the time of: the programs of Kubernetes and the CSI sidecars, by the names they have by default.

    Any other name is OTHER when decoding: people choose them, and no step is told by them.
    """

    CONTROLLER_MANAGER = "kube-controller-manager"
    SCHEDULER = "kube-scheduler"
    KUBELET = "kubelet"
    PROVISIONER = "csi-provisioner"
    ATTACHER = "csi-attacher"
    RESIZER = "csi-resizer"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> "Manager":
        return cls.OTHER


class ManagedFields(_Struct, frozen=True, kw_only=True):
    """That a manager wrote an object or one of its subresources (`status`), and when it last changed anything there. Which fields
    (`fieldsV1`) stays out: it is most of the object, and names annotations and labels that we drop."""

    manager: Manager = Manager.OTHER
    subresource: str = ""
    time: str | None = None


class BareMeta(_Struct, frozen=True, kw_only=True):
    """`deletion_timestamp` lies `deletion_grace_period_seconds` after the request: pods are given time."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    annotations: Annotations = Annotations()
    labels: Labels = Labels()
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()


class ObjectMeta(BareMeta, frozen=True, kw_only=True):
    """Of the kinds whose writers tell when a step was done; of all others nobody asks."""

    managed_fields: tuple[ManagedFields, ...] = ()


class ObjectReference(_Struct, frozen=True, kw_only=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Condition(_Struct, frozen=True, kw_only=True):
    """One entry of `status.conditions`, of any kind of object that has them."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class _Object(_Struct, frozen=True, kw_only=True, tag_field="kind", tag=str):
    """What every top-level object has."""

    metadata: BareMeta = BareMeta()

    @property
    def kind(self) -> str:
        """The API's kind, e.g. `PersistentVolumeClaim`."""
        return type(self).__name__

    @property
    def uid(self) -> str:
        return self.metadata.uid

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Empty for cluster-scoped objects."""
        return self.metadata.namespace

    @property
    def full_name(self) -> str:
        """`namespace/name`, or `name` for cluster-scoped objects."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def is_terminating(self) -> bool:
        return self.metadata.deletion_timestamp is not None


class StorageQuantity(_Struct, frozen=True, kw_only=True):
    storage: str = ""


class ResourceRequirements(_Struct, frozen=True, kw_only=True):
    requests: StorageQuantity = StorageQuantity()


class TypedReference(_Struct, frozen=True, kw_only=True):
    kind: str = ""
    name: str = ""
    namespace: str = ""


class PersistentVolumeClaimSpec(_Struct, frozen=True, kw_only=True):
    access_modes: tuple[str, ...] = ()
    storage_class_name: str | None = None  # None: the default class may still be filled in; "": none wanted
    volume_name: str = ""
    volume_mode: str = "Filesystem"
    resources: ResourceRequirements = ResourceRequirements()
    data_source: TypedReference | None = None
    data_source_ref: TypedReference | None = None


class PersistentVolumeClaimStatus(_Struct, frozen=True, kw_only=True):
    phase: str = ""
    access_modes: tuple[str, ...] = ()
    capacity: StorageQuantity = StorageQuantity()
    conditions: tuple[Condition, ...] = ()
    allocated_resources: StorageQuantity = StorageQuantity()
    allocated_resource_statuses: StorageQuantity = (
        StorageQuantity()
    )  # e.g. NodeResizePending, in place of a quantity


class PersistentVolumeClaim(_Object, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PersistentVolumeClaimSpec = PersistentVolumeClaimSpec()
    status: PersistentVolumeClaimStatus = PersistentVolumeClaimStatus()


class CSIPersistentVolumeSource(_Struct, frozen=True, kw_only=True):
    driver: str = ""
    volume_handle: str = ""
    read_only: bool = False
    fs_type: str = ""


class PersistentVolumeSpec(_Struct, frozen=True, kw_only=True):
    capacity: StorageQuantity = StorageQuantity()
    access_modes: tuple[str, ...] = ()
    claim_ref: ObjectReference | None = None
    csi: CSIPersistentVolumeSource | None = None  # None: an in-tree or non-CSI volume
    storage_class_name: str = ""
    persistent_volume_reclaim_policy: str = ""
    volume_mode: str = "Filesystem"


class PersistentVolumeStatus(_Struct, frozen=True, kw_only=True):
    phase: str = ""
    reason: str = ""
    message: str = ""
    last_phase_transition_time: str | None = None


class PersistentVolume(_Object, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PersistentVolumeSpec = PersistentVolumeSpec()
    status: PersistentVolumeStatus = PersistentVolumeStatus()


class VolumeAttachmentSource(_Struct, frozen=True, kw_only=True):
    persistent_volume_name: str | None = None


class VolumeAttachmentSpec(_Struct, frozen=True, kw_only=True):
    attacher: str = ""
    node_name: str = ""
    source: VolumeAttachmentSource = VolumeAttachmentSource()


class VolumeError(_Struct, frozen=True, kw_only=True):
    """`attachError` or `detachError`; `error_code` is the gRPC code, stored from Kubernetes 1.33 (gated) on."""

    time: str | None = None
    message: str = ""
    error_code: int | None = None


class VolumeAttachmentStatus(_Struct, frozen=True, kw_only=True):
    attached: bool = False
    attach_error: VolumeError | None = None
    detach_error: VolumeError | None = None


class VolumeAttachment(_Object, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: VolumeAttachmentSpec = VolumeAttachmentSpec()
    status: VolumeAttachmentStatus = VolumeAttachmentStatus()


class PersistentVolumeClaimVolumeSource(_Struct, frozen=True, kw_only=True):
    claim_name: str = ""
    read_only: bool = False


class EphemeralVolumeSource(_Struct, frozen=True, kw_only=True):
    """Presence is the fact: the claim is named `<pod>-<volume>`; its template is the claim itself."""


class CSIVolumeSource(_Struct, frozen=True, kw_only=True):
    """An inline ephemeral CSI volume: no claim, no PV, only NodePublish."""

    driver: str = ""
    read_only: bool = False


class HostPathVolumeSource(_Struct, frozen=True, kw_only=True):
    """A directory of the node: where a driver's pod has its socket (`plugins/<driver>`) and kubelet's."""

    path: str = ""


class Volume(_Struct, frozen=True, kw_only=True):
    """One entry of `pod.spec.volumes`; the three sources but `host_path` None: a volume that CSI has no part in."""

    name: str = ""
    host_path: HostPathVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    csi: CSIVolumeSource | None = None


class Container(_Struct, frozen=True, kw_only=True):
    """What a container is called and made from; its command and environment may hold secrets, and stay out."""

    name: str = ""
    image: str = ""


class PodSpec(_Struct, frozen=True, kw_only=True):
    node_name: str = ""
    containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()


class ContainerStateWaiting(_Struct, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class ContainerStateRunning(_Struct, frozen=True, kw_only=True):
    started_at: str | None = None


class ContainerStateTerminated(_Struct, frozen=True, kw_only=True):
    reason: str = ""
    exit_code: int = 0
    signal: int = 0
    started_at: str | None = None
    finished_at: str | None = None


class ContainerState(_Struct, frozen=True, kw_only=True):
    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(_Struct, frozen=True, kw_only=True):
    name: str = ""
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodStatus(_Struct, frozen=True, kw_only=True):
    phase: str = ""
    reason: str = ""
    message: str = ""
    start_time: str | None = None
    conditions: tuple[Condition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(_Object, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class EventSource(_Struct, frozen=True, kw_only=True):
    component: str = ""
    host: str = ""


class EventSeries(_Struct, frozen=True, kw_only=True):
    count: int = 0
    last_observed_time: str | None = None


class Event(_Object, frozen=True, kw_only=True):
    """A core/v1 Event. The scheduler writes through events.k8s.io: `first_timestamp` is then None and `event_time` set."""

    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    type: str = ""
    source: EventSource = EventSource()
    reporting_component: str = ""
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None
    count: int | None = None
    series: EventSeries | None = None

    @property
    def component(self) -> str:
        """Who says it: the legacy `source.component`, or the newer `reportingComponent`."""
        return self.source.component or self.reporting_component

    @property
    def last_time(self) -> str:
        """When it was last said; the one order that is right for legacy and events.k8s.io recorders alike."""
        series = self.series.last_observed_time if self.series else None
        return series or self.last_timestamp or self.event_time or self.metadata.creation_timestamp

    @property
    def first_time(self) -> str:
        """When it was first said, as far as the recorder still counts it as the same."""
        return self.first_timestamp or self.event_time or self.metadata.creation_timestamp

    @property
    def times_seen(self) -> int:
        return (self.series.count if self.series else None) or self.count or 1


class TokenRequest(_Struct, frozen=True, kw_only=True):
    """For whom kubelet asks service account tokens, which the driver then gets with NodePublishVolume."""

    audience: str = ""


class CSIDriverSpec(_Struct, frozen=True, kw_only=True):
    attach_required: bool = True
    pod_info_on_mount: bool = False
    volume_lifecycle_modes: tuple[str, ...] = ("Persistent",)
    fs_group_policy: str = ""
    storage_capacity: bool = False
    requires_republish: bool = False
    token_requests: tuple[TokenRequest, ...] = ()
    se_linux_mount: bool | None = None  # None: the server does not know the field


class CSIDriver(_Object, frozen=True, kw_only=True):
    spec: CSIDriverSpec = CSIDriverSpec()


class VolumeNodeResources(_Struct, frozen=True, kw_only=True):
    count: int | None = None


class CSINodeDriver(_Struct, frozen=True, kw_only=True):
    name: str = ""
    node_id: str = msgspec.field(name="nodeID", default="")
    topology_keys: tuple[str, ...] | None = None
    allocatable: VolumeNodeResources | None = None


class CSINodeSpec(_Struct, frozen=True, kw_only=True):
    drivers: tuple[CSINodeDriver, ...] | None = ()


class CSINode(_Object, frozen=True, kw_only=True):
    spec: CSINodeSpec = CSINodeSpec()


class StorageClass(_Object, frozen=True, kw_only=True):
    """`parameters` are dropped: they may name backends and accounts, and no rule needs them."""

    provisioner: str = ""
    reclaim_policy: str = "Delete"
    volume_binding_mode: str = "Immediate"
    allow_volume_expansion: bool = False


class Taint(_Struct, frozen=True, kw_only=True):
    key: str = ""
    effect: str = ""
    time_added: str | None = None  # told of taints with the effect NoExecute


class NodeSpec(_Struct, frozen=True, kw_only=True):
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


class AttachedVolume(_Struct, frozen=True, kw_only=True):
    """`name` is `kubernetes.io/csi/<driver>^<volumeHandle>`."""

    name: str = ""


class NodeSystemInfo(_Struct, frozen=True, kw_only=True):
    kubelet_version: str = ""
    kernel_version: str = ""


class NodeStatus(_Struct, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()
    volumes_in_use: tuple[str, ...] = ()
    volumes_attached: tuple[AttachedVolume, ...] = ()
    node_info: NodeSystemInfo = NodeSystemInfo()


class Node(_Object, frozen=True, kw_only=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class LeaseSpec(_Struct, frozen=True, kw_only=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(_Object, frozen=True, kw_only=True):
    spec: LeaseSpec = LeaseSpec()


KubernetesObject = (
    PersistentVolumeClaim
    | PersistentVolume
    | VolumeAttachment
    | Pod
    | Event
    | CSIDriver
    | CSINode
    | StorageClass
    | Node
    | Lease
)
"""Any object csitrace watches. `msgspec.json.decode(raw, type=Pod)` reads one; unknown fields are dropped."""


def unique_volume_name(driver: str, volume_handle: str) -> str:
    """The volume's name in `node.status.volumesInUse` and `volumesAttached` (kubelet, `GetUniqueVolumeName`)."""
    return f"kubernetes.io/csi/{driver}^{volume_handle}"


def to_builtins(obj: KubernetesObject) -> dict[str, Any]:
    """The kept fields of `obj` as plain JSON-like values under the API's own names."""
    builtins: dict[str, Any] = msgspec.to_builtins(obj)
    return builtins
