"""One volume as one pod uses it, with the cluster around it: what the rows of the step table ask."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from csitrace.lifecycle import index
from csitrace.lifecycle.heard import call_silence, kernel_silence, kind_silence
from csitrace.lifecycle.state import Call, EventFact, MountFact, SourceState, State, Use, Volume
from csitrace.model.events import Stamp, Witness
from csitrace.model.kubernetes import (
    Condition,
    CSIDriver,
    CSINode,
    CSINodeDriver,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    StorageClass,
    VolumeAttachment,
    unique_volume_name,
)

IMMEDIATE = "Immediate"
WAIT_FOR_FIRST_CONSUMER = "WaitForFirstConsumer"

_FOR_A_NODE = ("Node", "ControllerPublish", "ControllerUnpublish")
BLOCK = "Block"
MOUNT_FAILURES = ("FailedMount", "FailedMapVolume")
ATTACH_EVENTS = ("SuccessfulAttachVolume", "FailedAttachVolume")


@dataclass(frozen=True)
class Context:
    """`use` is None for a volume that no pod uses; every question then has the answer of a volume at rest."""

    state: State
    volume: Volume
    use: Use | None = None

    @property
    def claim(self) -> PersistentVolumeClaim | None:
        return self.volume.claim

    @property
    def pv(self) -> PersistentVolume | None:
        return self.volume.pv

    @property
    def pv_name(self) -> str:
        return self.volume.pv_name

    @cached_property
    def pod(self) -> Pod | None:
        return self.use.pod if self.use is not None else None

    @cached_property
    def node_name(self) -> str:
        return self.use.node_name if self.use is not None else ""

    @cached_property
    def is_leaving(self) -> bool:
        """The pod is gone or asked to go: the way forward is history."""
        return self.use is not None and (self.use.ended_at is not None or self.use.pod.is_terminating)

    @cached_property
    def is_followed(self) -> bool:
        """The pod is gone, and another has had the volume on its node since: what is there now may be that one's."""
        use = self.use
        return (
            use is not None
            and use.ended_at is not None
            and use.node_name != ""
            and any(
                other.pod_uid != use.pod_uid
                and other.node_name == use.node_name
                and (other.ended_at is None or other.ended_at > use.ended_at)
                for other in self.volume.uses
            )
        )

    @property
    def is_inline(self) -> bool:
        """An ephemeral volume written into the pod: it has no claim, no PV, and is published only."""
        return self.volume.key.startswith("inline/")

    @cached_property
    def storage_class(self) -> StorageClass | None:
        name = self.claim.spec.storage_class_name if self.claim is not None else None
        if not name and self.pv is not None:
            name = self.pv.spec.storage_class_name
        return index.by_name(self.state, StorageClass, name) if name else None

    @cached_property
    def csi_driver(self) -> CSIDriver | None:
        return index.by_name(self.state, CSIDriver, self.volume.driver)

    @cached_property
    def node(self) -> Node | None:
        return index.by_name(self.state, Node, self.node_name) if self.node_name else None

    @cached_property
    def registration(self) -> CSINodeDriver | None:
        """The driver's entry in the node's CSINode: None where it is not registered, or where that is not known."""
        csi_node = index.by_name(self.state, CSINode, self.node_name) if self.node_name else None
        drivers = csi_node.spec.drivers if csi_node is not None else None
        return next((driver for driver in drivers or () if driver.name == self.volume.driver), None)

    @cached_property
    def binding_mode(self) -> str:
        """The class's; where that cannot be read, what the claim itself shows of it; "" where nothing does."""
        if self.storage_class is not None:
            return self.storage_class.volume_binding_mode
        if self.claim is None:
            return ""
        annotations = self.claim.metadata.annotations
        if annotations.selected_node or self.last_event((WAIT_FOR_FIRST_CONSUMER,)) is not None:
            return WAIT_FOR_FIRST_CONSUMER
        return IMMEDIATE if annotations.storage_provisioner and self.silence("StorageClass") else ""

    @cached_property
    def is_provisioned(self) -> bool:
        """Made for its claim by a provisioner, or going to be; False for a PV that an administrator wrote, or that was made for
        another claim and kept: what is to be provisioned has its provisioner named on the claim, and keeps the name.
        """
        if self.is_inline or (self.pv is not None and not self.pv.metadata.annotations.provisioned_by):
            return False
        if self.claim is None or not self.claim.spec.volume_name:
            return True
        annotations = self.claim.metadata.annotations
        return bool(annotations.storage_provisioner or annotations.storage_provisioner_beta)

    @cached_property
    def attach_required(self) -> bool | None:
        """Kubelet and the attach/detach controller take attach to be required where no CSIDriver object says otherwise.

        None: no such object may be read, and nothing shows that the volume is attached.
        """
        if self.is_inline:
            return False
        if self.csi_driver is not None:
            return self.csi_driver.spec.attach_required
        shows = (
            self.attachment is not None
            or self.is_in_use
            or self.last_event(ATTACH_EVENTS) is not None
            or self.last_call("ControllerPublishVolume", "ControllerUnpublishVolume") is not None
        )
        return True if shows or not self.silence("CSIDriver") else None

    @cached_property
    def attachment(self) -> VolumeAttachment | None:
        """The VolumeAttachment to the pod's node."""
        return next((va for va, _ in self.volume.attachments if va.spec.node_name == self.node_name), None)

    @property
    def attachment_seq(self) -> int:
        return next((seq for va, seq in self.volume.attachments if va.spec.node_name == self.node_name), 0)

    @property
    def attach_is_trivial(self) -> bool:
        """Attached by external-attacher without a call: it leaves neither finalizer nor annotation (trivial handler)."""
        va = self.attachment
        return (
            va is not None
            and va.status.attached
            and not va.metadata.finalizers
            and not va.metadata.annotations.csi_node_id
        )

    @property
    def was_attached_in_sight(self) -> bool:
        """The attach was seen when it happened, and its driver is heard: a call that nobody told of was not made."""
        mark = self.use.marks.get(("14", Witness.KUBERNETES)) if self.use is not None else None
        seen = mark is not None and mark.stamp is Stamp.OBSERVED
        return seen and not self.driver_silence("ControllerPublishVolume")

    @property
    def is_in_use(self) -> bool | None:
        """Whether the node's kubelet lists the volume in `volumesInUse`; None where the node cannot be read, or the volume's
        id there is not known."""
        if self.node is None or not self.volume.volume_id:
            return None
        return (
            unique_volume_name(self.volume.driver, self.volume.volume_id) in self.node.status.volumes_in_use
        )

    @cached_property
    def stages_nothing(self) -> bool | None:
        """The driver has no STAGE_UNSTAGE_VOLUME as far as can be seen: published here, and nobody ever staged.

        None: neither the node's kernel nor the driver's feed there is heard, and nothing else tells.
        """
        if self.is_inline:
            return True
        staged = (
            self.mount("staging") is not None
            or self.last_call("NodeStageVolume") is not None
            or self.was_marked("16a")
            or self.last_event(MOUNT_FAILURES, "MountVolume.MountDevice", "MapVolume.SetUpDevice") is not None
        )
        if staged:
            return False
        published = (
            self.mount("publish") is not None
            or self.last_call("NodePublishVolume", target=True) is not None
            or self.was_marked("16b")
        )
        if not self.driver_silence("NodeStageVolume"):
            return published
        return None if self.kernel_silence or self.is_block else published

    @property
    def is_block(self) -> bool:
        """A raw device (`volumeMode: Block`): drivers need mount nothing to stage it, and publish a device file."""
        return (self.pv is not None and self.pv.spec.volume_mode == BLOCK) or (
            self.claim is not None and self.claim.spec.volume_mode == BLOCK
        )

    def was_marked(self, step_id: str) -> bool:
        """Whether the driver or the kernel showed the step as done for this pod, at any time."""
        marks = self.use.marks if self.use is not None else self.volume.marks
        return (step_id, Witness.DRIVER) in marks or (step_id, Witness.KERNEL) in marks

    @property
    def other_pods_on_node(self) -> bool:
        """Another pod, not ended, uses the volume on the same node: it stays staged and attached for that one."""
        return any(
            use.pod_uid != (self.use.pod_uid if self.use else "")
            and use.node_name == self.node_name
            and use.ended_at is None
            and not use.is_finished
            for use in self.volume.uses
        )

    def condition(self, condition_type: str) -> Condition | None:
        """The pod's condition of that type."""
        conditions = self.pod.status.conditions if self.pod is not None else ()
        return next((condition for condition in conditions if condition.type == condition_type), None)

    @property
    def was_collected(self) -> bool:
        """Whether the pod garbage collector took the pod because its node has no Node object (its condition `DisruptionTarget`,
        since Kubernetes 1.26): nobody on that node had a say in it."""
        told = self.condition("DisruptionTarget")
        return told is not None and told.reason == "DeletionByPodGC"

    def mount(self, role: str) -> MountFact | None:
        """The staging mount on the pod's node, or this pod's publish mount."""
        for fact in self.volume.mounts:
            if fact.role != role or (self.node_name and fact.node_name != self.node_name):
                continue
            if role == "staging" or self.use is None or fact.pod_uid == self.use.pod_uid:
                return fact
        return None

    def last_call(self, *methods: str, target: bool = False) -> Call | None:
        """The newest call of these methods; node calls only to the pod's node, with `target` only for this pod's path."""
        return next(
            (call for call in reversed(self.volume.calls) if self._concerns(call, methods, target)), None
        )

    def calls(self, *methods: str, target: bool = False) -> list[Call]:
        return [call for call in self.volume.calls if self._concerns(call, methods, target)]

    def last_event(self, reasons: Iterable[str], *prefixes: str) -> EventFact | None:
        """The newest Event with one of these reasons whose message begins with one of the prefixes (any, when none given)."""
        wanted = frozenset(reasons)
        for fact in reversed(self.volume.events):
            event = fact.event
            if event.reason not in wanted or (prefixes and not event.message.startswith(prefixes)):
                continue
            if event.involved_object.kind == "Pod" and not self._says_of_this(fact):
                continue
            return fact
        return None

    def source(self, witness: Witness, scope: str) -> SourceState | None:
        return self.state.sources.get((witness, scope))

    def silence(self, kind: str) -> str:
        """Why objects of a kind cannot be seen now; "" when they can (or when one namespace at least is heard)."""
        return kind_silence(self.state, kind, self.volume.namespace)

    @cached_property
    def kernel_silence(self) -> str:
        """Why the pod's node's mounts cannot be seen, or not be told apart; "" when they can."""
        if not self.node_name:
            return "no node is chosen yet"
        return kernel_silence(self.state, self.node_name) or self._anonymous

    def driver_silence(self, method: str) -> str:
        """Why the driver's word on a call would not be heard now; "" when it would."""
        return call_silence(self.state, self.volume.driver, method, self.node_name) or self._anonymous

    @property
    def _anonymous(self) -> str:
        """Why what kernel and driver tell cannot be known to be of this volume: they call it by what only its PV says."""
        if self.is_inline or self.pv is not None or self.volume.volume_id or not self.pv_name:
            return ""
        silence = self.silence("PersistentVolume")
        return f"{silence}, by which its mounts and calls are known" if silence else ""

    def _concerns(self, call: Call, methods: tuple[str, ...], target: bool) -> bool:
        if call.method not in methods:
            return False
        if target and self.use is not None and self.use.pod_uid not in call.target_path:
            return False
        if not self.node_name:  # a pod without a node: what was done for nodes was done for others
            return self.use is None or not call.method.startswith(_FOR_A_NODE)
        if call.method.startswith("Controller"):
            return call.node_id in self._node_ids
        return not call.method.startswith("Node") or call.node_name in ("", self.node_name)

    @cached_property
    def _node_ids(self) -> tuple[str, ...]:
        """What the driver may call the pod's node: by CSINode, by external-attacher's note, or else the node's name."""
        va = self.attachment
        told = (
            self.registration.node_id if self.registration is not None else "",
            va.metadata.annotations.csi_node_id if va is not None else "",
        )
        return ("", self.node_name, *told)

    def _says_of_this(self, fact: EventFact) -> bool:
        """A pod's Events speak of all its volumes: keep those of this pod that name this volume, or name none. Without a pod,
        what was said to pods before is of no account."""
        event = fact.event
        if self.use is None or event.involved_object.uid != self.use.pod_uid:
            return False
        names = [self.volume.volume_id, self.pv_name, self.use.volume_name]
        return 'volume "' not in event.message or any(f'"{name}"' in event.message for name in names if name)
