"""What pods make of volumes: several of one, one for several, parts of one, and pods and claims that go at odd moments."""

from csitrace.lifecycle.state import State
from csitrace.lifecycle.views import Severity
from csitrace.model.kubernetes import PersistentVolume, PersistentVolumeClaim
from tests.roads.calm import bound
from tests.roads.expected import GONE, IN_USE
from tests.roads.manifests import IMMEDIATE, WAITING, WRITING, Object, claim
from tests.roads.road import road
from tests.roads.traveller import Traveller


@road("read-write-once-pod", "ReadWriteOncePod, and the second pod that waits", stuck=("3",))
async def read_write_once_pod(t: Traveller) -> None:
    """While one pod has it the scheduler refuses the other, in its own words; when the first goes, the second comes."""
    await bound(t, mode="ReadWriteOncePod")
    await t.apply(t.pod("one", ("data",)))
    await t.moment("in use", pod="one", done="1-3 5-17", na="4", waits=IN_USE)
    await t.apply(t.pod("two", ("data",)))
    await t.moment("in use", pod="one", done="1-3 5-17", na="4")
    await t.moment(
        "refused",
        pod="two",
        done="1-2 5-8",
        na="4",
        failed="3",
        waits=("3", "pod one"),
        severity=Severity.STUCK,
    )
    await t.delete("pod/one")
    await t.moment("in use", pod="two", done="1-3 5-17", na="4", waits=IN_USE)
    await t.delete("pod/two", "persistentvolumeclaim/data")
    await t.moment("gone", pod="two", done="1-3 5-17 b1-b13", na="4", waits=GONE)


@road("three-volumes", "One pod with three volumes")
async def three_volumes(t: Traveller) -> None:
    """Each has its own ladder, and each its own way back."""
    names = ("a", "b", "c")
    await t.apply(*(claim(name, WAITING) for name in names))
    await t.apply(t.pod("pod", names))
    for name in names:
        await t.moment("in use", of=name, done="1-17", waits=IN_USE)
    await t.delete("pod/pod", *(f"persistentvolumeclaim/{name}" for name in names))
    for name in names:
        await t.moment("gone", of=name, done="1-17 b1-b13", waits=GONE)


@road("sub-path", "Two directories of one volume, by subPath")
async def sub_path(t: Traveller) -> None:
    """kubelet binds the directories from the pod's mount, which is still one: staged once, published once."""
    pod = t.pod("pod", ("data",))
    pod["spec"]["containers"][0]["volumeMounts"] = [
        {"name": "data", "mountPath": f"/{name}", "subPath": name} for name in ("left", "right")
    ]
    await t.apply(claim("data", WAITING), pod)
    await t.moment("in use", done="1-17", waits=IN_USE)
    roles = sorted(fact.role for fact in t.volume().mounts)
    assert roles == ["publish", "staging", "subpath", "subpath"], (
        f"not the pod's mount and two parts of it: {roles}"
    )
    await t.delete("pod/pod", "persistentvolumeclaim/data")
    await t.moment("gone", done="1-17 b1-b13", waits=GONE)


@road("read-only", "A volume that its pod may only read")
async def read_only(t: Traveller) -> None:
    """Published read-only, as the kernel shows; staged as ever."""
    pod = t.pod("pod", ("data",))
    pod["spec"]["volumes"][0]["persistentVolumeClaim"]["readOnly"] = True
    await t.apply(claim("data", WAITING), pod)
    await t.moment("in use", done="1-17", waits=IN_USE)
    modes = {fact.role: fact.mount.read_only for fact in t.volume().mounts}
    assert modes == {"staging": False, "publish": True}
    await t.delete("pod/pod", "persistentvolumeclaim/data")
    await t.moment("gone", done="1-17 b1-b13", waits=GONE)


@road("generic-ephemeral", "A generic ephemeral volume")
async def generic_ephemeral(t: Traveller) -> None:
    """Its claim is made for the pod and goes with it."""
    pod = t.pod("pod", ("data",))
    template = {"spec": claim("", WAITING)["spec"]}
    pod["spec"]["volumes"] = [{"name": "data", "ephemeral": {"volumeClaimTemplate": template}}]
    await t.apply(pod)
    await t.moment("in use", of="pod-data", done="1-17", waits=IN_USE)
    await t.delete("pod/pod")
    await t.moment("gone", of="pod-data", done="1-17 b1-b13", waits=GONE)


@road("stateful-set", "A StatefulSet with claim templates, scaled down and up")
async def stateful_set(t: Traveller) -> None:
    """Scaled down, the pod goes and its claim stays; scaled up, the new pod of the same name gets the same volume."""
    await t.apply(_stateful_set(t, 2))
    await t.moment("in use", of="data-set-0", done="1-17", waits=IN_USE)
    await t.moment("in use", of="data-set-1", done="1-17", waits=IN_USE)
    handle = t.volume("data-set-1").volume_id
    await t.patch("statefulset/set", {"spec": {"replicas": 1}})
    await t.moment("scaled down", of="data-set-1", done="1-8", moving="9", waits=("9", "scheduler"))
    await t.moment("stays", of="data-set-0", done="1-17", waits=IN_USE)
    await t.patch("statefulset/set", {"spec": {"replicas": 2}})
    await t.moment("scaled up", of="data-set-1", done="1-17", waits=IN_USE)
    assert t.volume("data-set-1").volume_id == handle
    await t.delete("statefulset/set", "persistentvolumeclaim/data-set-0", "persistentvolumeclaim/data-set-1")
    await t.moment("gone", of="data-set-0", done="1-17 b1-b13", waits=GONE)
    await t.moment("gone", of="data-set-1", done="1-17 b1-b13", waits=GONE)


def _stateful_set(t: Traveller, replicas: int) -> Object:
    pod = t.pod("set", ("data",), script=WRITING, restartPolicy="Always")
    del pod["spec"]["volumes"]
    labels = {"app": "set"}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "set"},
        "spec": {
            "replicas": replicas,
            "serviceName": "set",
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod["spec"]},
            "volumeClaimTemplates": [
                {"metadata": {"name": "data"}, "spec": claim("data", WAITING)["spec"]},
            ],
        },
    }


@road("deleted-while-staging", "A pod deleted while its volume is being staged")
async def deleted_while_staging(t: Traveller) -> None:
    """The call goes on for a pod that nobody wants any more; once it is answered, what it did is undone."""
    volume = await bound(t)
    await t.fault("NodeStageVolume", "hang", volume.volume_id)
    await t.apply(t.pod("pod", ("data",)))
    await t.moment("being staged", done="1-3 5-15", na="4", moving="16a", waits=("16a", "kubelet"))
    await t.delete("pod/pod", "persistentvolumeclaim/data")
    await t.until("the pod is gone, or asked to go", lambda s: _is_going(t, s))
    await t.clear_faults(volume.volume_id)
    await t.moment("gone", done="1-3 5-16a b1-b13", na="4", either="16b 17", waits=GONE)


def _is_going(t: Traveller, state: State) -> bool:
    volume = t.find("data", state)
    return volume is not None and all(use.ended_at or use.pod.is_terminating for use in volume.uses)


@road("claim-deleted-while-used", "A claim deleted while a pod uses it")
async def claim_deleted_while_used(t: Traveller) -> None:
    """It is held, and the volume goes on to be in use; the pod gone, everything goes."""
    await t.apply(claim("data", WAITING), t.pod("pod", ("data",), script=WRITING))
    await t.moment("in use", done="1-17", waits=IN_USE)
    await t.delete("persistentvolumeclaim/data")
    await t.until("the claim is to be deleted", lambda s: _claim(t, s).is_terminating)
    await t.moment("in use, its claim to be deleted", done="1-17", waits=IN_USE)
    await t.delete("pod/pod")
    await t.moment("gone", done="1-17 b1-b13", waits=GONE)


def _claim(t: Traveller, state: State) -> PersistentVolumeClaim:
    claim = t.volume("data", state).claim
    assert claim is not None
    return claim


@road("namespace-deleted", "A namespace deleted with all that is in it", stuck=("b10",))
async def namespace_deleted(t: Traveller) -> None:
    """Pods and claims are deleted at once, in no order, and a claim may be held for half a minute though no pod uses it; nothing
    of the volumes is left."""
    await t.apply(claim("a", WAITING), claim("b", IMMEDIATE))
    await t.moment("bound, no pod", of="b", done="1 5-8", na="4")
    await t.apply(t.pod("pod", ("a",)))
    await t.moment("in use", of="a", done="1-17", waits=IN_USE)
    await t.delete(f"namespace/{t.namespace}")
    await t.moment("gone", of="a", done="1-17 b1-b13", waits=GONE)


@road("left-out", "Volumes that are no CSI driver's")
async def left_out(t: Traveller) -> None:
    """A pod without volumes, one with an emptyDir, a claim on a hostPath PV and one on an in-tree PV that migrates: none is a
    row, and claims and PVs are counted."""
    host, disk = f"host-{t.namespace}", f"disk-{t.namespace}"
    await t.apply(
        _pv(host, {"hostPath": {"path": "/tmp", "type": ""}}),
        _pv(disk, {"gcePersistentDisk": {"pdName": disk}}, migrated_to="pd.csi.storage.gke.io"),
        t.pod("bare"),
        t.pod("empty")
        | {"spec": t.pod("empty")["spec"] | {"volumes": [{"name": "scratch", "emptyDir": {}}]}},
    )
    for pv in (host, disk):
        named = claim(f"on-{pv.split('-')[0]}", pv)
        named["spec"]["volumeName"] = pv
        await t.apply(named)
    wanted = [f"persistentvolume/{host}", f"persistentvolume/{disk}"]
    await t.until("both are bound", lambda s: [c.status.phase for c in _claims(t, s)] == ["Bound", "Bound"])
    await t.until("both are left out", lambda s: len(_left_out(t, s)) == 2)
    shown = [volume.display_name for volume in t.state.volumes.values() if t.judge.concerns(volume)]
    assert not shown, f"shown as volumes: {shown}"
    t.remark("all there", "2 left out, no row")
    await t.delete("pod/bare", "pod/empty", "persistentvolumeclaim/on-host", "persistentvolumeclaim/on-disk")
    await t.delete(*wanted)
    await t.until("they are not counted any more", lambda s: not _claims(t, s) and not _left_out(t, s))
    t.remark("all gone", "none left out")


def _claims(t: Traveller, state: State) -> list[PersistentVolumeClaim]:
    objects = (stored.object for stored in state.objects.values())
    return [obj for obj in objects if isinstance(obj, PersistentVolumeClaim) and obj.namespace == t.namespace]


def _left_out(t: Traveller, state: State) -> set[str]:
    """Keys of what is counted as left out: the claims of this road, and its PVs as long as they are not a claim's."""
    ours = {f"claim/{claim.uid}" for claim in _claims(t, state)}
    for stored in state.objects.values():
        if isinstance(stored.object, PersistentVolume) and stored.object.name.endswith(t.namespace):
            ours.add(f"pv/{stored.object.uid}")
    return ours & set(state.others)


def _pv(name: str, source: Object, migrated_to: str = "") -> Object:
    annotations = {"pv.kubernetes.io/migrated-to": migrated_to} if migrated_to else {}
    spec = {
        "capacity": {"storage": "16Mi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": name,
        **source,
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": annotations},
        "spec": spec,
    }


PODS = (
    read_write_once_pod,
    three_volumes,
    sub_path,
    read_only,
    generic_ephemeral,
    stateful_set,
    deleted_while_staging,
    claim_deleted_while_used,
    namespace_deleted,
    left_out,
)
