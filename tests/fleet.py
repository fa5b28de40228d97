"""A small cluster, told like a story: three nodes, a driver with its sidecars and pods, volumes here and there.

n1  Ready, all is well
n2  Ready, at the driver's limit of two volumes
n3  does not report any more; its kernel is silent
"""

from csitrace.model import events
from csitrace.model.events import Witness
from csitrace.model.fuse import DaemonStatus
from csitrace.model.kubernetes import (
    AttachedVolume,
    Condition,
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateWaiting,
    ContainerStatus,
    CSIDriver,
    CSIDriverSpec,
    CSINode,
    CSINodeDriver,
    CSINodeSpec,
    CSIPersistentVolumeSource,
    HostPathVolumeSource,
    Lease,
    LeaseSpec,
    Node,
    NodeSpec,
    NodeStatus,
    NodeSystemInfo,
    ObjectReference,
    OwnerReference,
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
    Taint,
    VolumeAttachment,
    VolumeAttachmentSource,
    VolumeAttachmentSpec,
    VolumeAttachmentStatus,
    VolumeNodeResources,
    unique_volume_name,
)
from csitrace.model.kubernetes import Volume as PodVolume
from csitrace.model.times import SECOND, format_rfc3339
from tests import story
from tests.story import DRIVER, START, Story, meta, mount, storage_class, tracked

DASHES = DRIVER.replace(".", "-")
ATTACHER_LEASE = f"external-attacher-leader-{DASHES}"
HOME = "csi-ref"
NODES = ("n1", "n2", "n3")


def ago(at: int, seconds: float) -> str:
    return format_rfc3339(at - int(seconds * SECOND))


def node(name: str, ready: str = "True", *, at: int = START, cordoned: bool = False, taints: tuple[Taint, ...] = (),
         in_use: tuple[str, ...] = ()) -> Node:  # fmt: skip
    told = "kubelet is posting ready status" if ready == "True" else "Kubelet stopped posting node status."
    return Node(
        metadata=meta(name, f"uid-{name}"),
        spec=NodeSpec(unschedulable=cordoned, taints=taints),
        status=NodeStatus(
            conditions=(
                Condition(type="Ready", status=ready, message=told, last_transition_time=ago(at, 300)),
            ),
            volumes_in_use=tuple(unique_volume_name(DRIVER, handle) for handle in in_use),
            volumes_attached=tuple(
                AttachedVolume(name=unique_volume_name(DRIVER, handle)) for handle in in_use
            ),
            node_info=NodeSystemInfo(kubelet_version="v1.33.1", kernel_version="6.8.0"),
        ),
    )


def csi_node(name: str, limit: int | None = 2, driver: str = DRIVER) -> CSINode:
    allocatable = VolumeNodeResources(count=limit) if limit is not None else None
    drivers = (CSINodeDriver(name=driver, node_id=f"id-{name}", allocatable=allocatable),) if driver else ()
    return CSINode(metadata=meta(name, f"uid-csinode-{name}"), spec=CSINodeSpec(drivers=drivers))


def lease(
    name: str, holder: str, at: int, silent: float = 2, namespace: str = HOME, seconds: int = 15
) -> Lease:
    return Lease(
        metadata=meta(name, f"uid-lease-{namespace}-{name}", namespace),
        spec=LeaseSpec(
            holder_identity=holder, lease_duration_seconds=seconds, renew_time=ago(at, silent), acquire_time=ago(at, 900)
        ),
    )  # fmt: skip


def kubelet_lease(name: str, at: int, silent: float = 4) -> Lease:
    return lease(name, name, at, silent, "kube-node-lease", 40)


def driver_pod(name: str, node_name: str, *containers: str, directory: str = "", waiting: str = "",
               namespace: str = HOME, owner: str = "", restarts: int = 0) -> Pod:  # fmt: skip
    """`directory`: its own under kubelet's `plugins`; `waiting`: why its first container does not run."""
    volumes = (
        PodVolume(name="socket", host_path=HostPathVolumeSource(path=f"{story.ROOT}/plugins/{directory}/")),
    )
    owners = (
        (OwnerReference(kind="ReplicaSet", name=owner, uid=f"uid-{owner}", controller=True),) if owner else ()
    )
    state = (
        ContainerState(waiting=ContainerStateWaiting(reason=waiting))
        if waiting
        else ContainerState(running=ContainerStateRunning(started_at=ago(START, 600)))
    )
    return Pod(
        metadata=tracked(name, f"uid-pod-{namespace}-{name}", namespace, owner_references=owners),
        spec=PodSpec(
            node_name=node_name,
            containers=tuple(Container(name=each, image=f"registry.k8s.io/sig-storage/{each}:v5") for each in containers),
            volumes=volumes if directory else (),
        ),
        status=PodStatus(
            phase="Running",
            conditions=(Condition(type="Ready", status="False" if waiting else "True"),),
            container_statuses=(ContainerStatus(name=(*containers, "main")[0], restart_count=restarts, state=state),),
        ),
    )  # fmt: skip


def volume(told: Story, name: str, *node_names: str, minor: int = 0, mode: str = "ReadWriteOnce") -> None:
    """A claim `shop/<name>`, bound, and on each node a running pod `<name>-<number>` that uses it; `minor`: mounted by FUSE."""
    claim_uid = f"uid-claim-{name}"
    pv_name, handle = f"pvc-{name}", f"vol-{name}"
    told.put(PersistentVolumeClaim(
        metadata=tracked(name, claim_uid, "shop"),
        spec=PersistentVolumeClaimSpec(access_modes=(mode,), storage_class_name="fast", volume_name=pv_name),
        status=PersistentVolumeClaimStatus(phase="Bound"),
    ))  # fmt: skip
    told.put(PersistentVolume(
        metadata=tracked(pv_name, f"uid-{pv_name}"),
        spec=PersistentVolumeSpec(
            claim_ref=ObjectReference(kind="PersistentVolumeClaim", namespace="shop", name=name, uid=claim_uid),
            csi=CSIPersistentVolumeSource(driver=DRIVER, volume_handle=handle),
            storage_class_name="fast",
            persistent_volume_reclaim_policy="Delete",
        ),
        status=PersistentVolumeStatus(phase="Bound"),
    ))  # fmt: skip
    for number, node_name in enumerate(node_names):
        told.put(VolumeAttachment(
            metadata=tracked(f"csi-{name}-{number}", f"uid-va-{name}-{number}", finalizers=(story.FINALIZER,)),
            spec=VolumeAttachmentSpec(
                attacher=DRIVER, node_name=node_name, source=VolumeAttachmentSource(persistent_volume_name=pv_name)
            ),
            status=VolumeAttachmentStatus(attached=True),
        ))  # fmt: skip
        told.put(user_pod(f"{name}-{number}", name, node_name))
        if minor:
            target = f"{story.ROOT}/pods/uid-pod-{name}-{number}/volumes/kubernetes.io~csi/{pv_name}/mount"
            told.tell(
                events.MountAppeared(node_name=node_name, mount=mount(target, 100 + minor, minor=minor))
            )
            daemon = DaemonStatus(pid=4000 + minor, name="driver_ref.fs", state="S")
            told.tell(events.FuseObserved(
                node_name=node_name, connection=minor, volume_id=handle, waiting=0, init_answered=True, daemon=daemon,
            ))  # fmt: skip


def user_pod(name: str, claim_name: str, node_name: str, running: bool = True) -> Pod:
    """A pod `shop/<name>` on the node, that uses the claim; not `running`: its containers are not started yet."""
    state = (
        ContainerState(running=ContainerStateRunning(started_at=ago(START, 0)))
        if running
        else ContainerState(waiting=ContainerStateWaiting(reason="ContainerCreating"))
    )
    claim = PersistentVolumeClaimVolumeSource(claim_name=claim_name)
    return Pod(
        metadata=tracked(name, f"uid-pod-{name}", "shop"),
        spec=PodSpec(node_name=node_name, volumes=(PodVolume(name="data", persistent_volume_claim=claim),)),
        status=PodStatus(
            phase="Running" if running else "Pending",
            start_time=ago(START, 0),
            conditions=(Condition(type="PodScheduled", status="True", last_transition_time=ago(START, 0)),),
            container_statuses=(ContainerStatus(name="main", state=state),),
        ),
    )


def fleet() -> Story:
    """The cluster as in the module's text, all of it heard but n3."""
    told = Story().hear_everyone("n1")
    told.tell(events.SourceUp(witness=Witness.DRIVER, scope=f"{DRIVER}@n2", instance="run-2"))
    for name in ("n2", "n3"):
        told.tell(events.SourceUp(witness=Witness.KERNEL, scope=name))
        told.tell(events.ListCompleted(witness=Witness.KERNEL, scope=name))
    told.put(storage_class())
    told.put(
        CSIDriver(
            metadata=meta(DRIVER, "uid-driver"),
            spec=CSIDriverSpec(fs_group_policy="File", se_linux_mount=False),
        )
    )
    told.put(node("n1", in_use=("vol-orders",))).put(node("n2", in_use=("vol-cart", "vol-users")))
    told.put(node("n3", "Unknown", taints=(Taint(key="node.kubernetes.io/unreachable", effect="NoExecute"),)))
    for name in NODES:
        told.put(csi_node(name))
        told.put(driver_pod(f"node-{name}", name, "node-driver-registrar", directory=DRIVER))
        told.put(kubelet_lease(name, told.at, 4 if name != "n3" else 340))
    for replica, where in (("0", "n1"), ("1", "n2")):
        told.put(
            driver_pod(f"controller-{replica}", where, "csi-provisioner", "csi-attacher", owner="controller")
        )
    told.put(lease(ATTACHER_LEASE, "controller-0", told.at)).put(lease(DASHES, "controller-1", told.at))
    volume(told, "orders", "n1", minor=41)
    volume(told, "cart", "n2", minor=42)
    volume(told, "users", "n2", minor=43)
    volume(told, "archive", "n3", minor=44)
    told.tell(events.SourceDown(witness=Witness.KERNEL, scope="n3", reason="agent: no answer for 40s"))
    return told
