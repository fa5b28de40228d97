"""The lives that lab and real cluster are compared by: short, leaving nothing, and asking nothing of the order of a race."""

from collections.abc import Awaitable, Callable

from csitrace.model.events import RpcStarted
from csitrace.model.kubernetes import Event, PersistentVolume, PersistentVolumeClaim, Pod
from csitrace.model.rpc import short_method
from tests.integration.lab.sequence import Recording
from tests.integration.lab.walker import Walker
from tests.roads.manifests import DRIVER, IMMEDIATE, WAITING, Object, claim


async def straight(t: Walker, storage_class: str) -> None:
    await t.apply(claim("data", storage_class))
    # A pod that comes before its claim is bound is refused a number of times that is chance.
    await (t.bound("data") if storage_class == IMMEDIATE else t.told("data", "WaitForFirstConsumer"))
    await t.apply(t.pod("pod", "data"))
    await t.running("pod")
    await t.delete("pod/pod", "pvc/data")


async def immediate(t: Walker) -> None:
    await straight(t, IMMEDIATE)


async def wait_for_first_consumer(t: Walker) -> None:
    await straight(t, WAITING)


async def shared(t: Walker) -> None:
    """ReadWriteMany on two nodes, one after the other: a driver may refuse a second call on a volume while one is under way."""
    await t.apply(claim("data", IMMEDIATE, mode="ReadWriteMany"))
    await t.bound("data")
    await t.apply(t.pod("one", "data"))
    await t.running("one")
    await t.apply(t.pod("two", "data", node=t.second))
    await t.running("two")
    await t.delete("pod/one")
    await t.detached(t.first)
    await t.delete("pod/two", "pvc/data")


async def moved(t: Walker) -> None:
    """ReadWriteOnce is wanted on a second node while the first one has it."""
    await t.apply(claim("data", IMMEDIATE))
    await t.bound("data")
    await t.apply(t.pod("one", "data"))
    await t.running("one")
    await t.apply(t.pod("two", "data", node=t.second))
    await t.told("two", "FailedAttachVolume")
    await t.delete("pod/one")
    await t.running("two")
    await t.delete("pod/two", "pvc/data")


async def one_pod(t: Walker) -> None:
    """ReadWriteOncePod: the second pod is not scheduled while the first one has the claim."""
    await t.apply(claim("data", IMMEDIATE, mode="ReadWriteOncePod"))
    await t.bound("data")
    await t.apply(t.pod("one", "data"))
    await t.running("one")
    await t.apply(t.pod("two", "data", node=t.second))
    await t.told("two", "FailedScheduling")
    await t.delete("pod/one")
    await t.running("two")
    await t.delete("pod/two", "pvc/data")


async def expanded(t: Walker) -> None:
    """It grows while a pod runs on it."""
    await t.apply(claim("data", IMMEDIATE))
    await t.bound("data")
    await t.apply(t.pod("pod", "data"))
    await t.running("pod")
    await t.patch("pvc/data", {"spec": {"resources": {"requests": {"storage": "32Mi"}}}})
    await t.told("pod", "FileSystemResizeSuccessful")
    await t.told("data", "FileSystemResizeSuccessful")
    await t.until(PersistentVolumeClaim, "data", lambda c: c.status.capacity.storage == "32Mi")
    await t.delete("pod/pod", "pvc/data")


async def ephemeral(t: Walker) -> None:
    """A generic ephemeral volume comes and goes with its pod."""
    template = {"spec": claim("x", WAITING)["spec"]}
    pod = t.pod("pod", volumes=[{"name": "data", "ephemeral": {"volumeClaimTemplate": template}}])
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    await t.apply(pod)
    await t.running("pod")
    await t.delete("pod/pod")


async def three_volumes(t: Walker) -> None:
    """Whole, in part, and to be read only."""
    names = ("whole", "part", "readonly")
    await t.apply(*(claim(name, IMMEDIATE) for name in names))
    for name in names:
        await t.bound(name)
    pod = t.pod("pod", *names)
    pod["spec"]["containers"][0]["volumeMounts"][1]["subPath"] = "inner"
    pod["spec"]["volumes"][2]["persistentVolumeClaim"]["readOnly"] = True
    await t.apply(pod)
    await t.running("pod")
    await t.delete("pod/pod", *(f"pvc/{name}" for name in names))


async def refused_sources(t: Walker) -> None:
    """A clone, and a restored snapshot, of a driver that makes neither."""
    clone, restored = claim("clone", IMMEDIATE), claim("restored", IMMEDIATE)
    clone["spec"]["dataSource"] = {"kind": "PersistentVolumeClaim", "name": "other"}
    restored["spec"]["dataSource"] = {
        "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "then",
    }  # fmt: skip
    await t.apply(clone, restored)
    await t.told("clone", "ProvisioningFailed")
    await t.told("restored", "ProvisioningFailed")
    await t.delete("pvc/clone", "pvc/restored")


async def inline_refused(t: Walker) -> None:
    """An inline volume of a driver whose CSIDriver does not offer it."""
    pod = t.pod("pod", volumes=[{"name": "data", "csi": {"driver": DRIVER}}])
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    await t.apply(pod)
    await t.told("pod", "FailedMount")
    await t.delete("pod/pod")


async def static(t: Walker) -> None:
    """A PV that an administrator wrote is found for a claim by its class, used, released and deleted; the volume stays."""
    await _static(t, storage_class=t.namespace, wanted=claim("data", t.namespace))


async def named(t: Walker) -> None:
    """A claim that names its PV."""
    wanted = claim("data", "")
    wanted["spec"]["volumeName"] = _written(t)
    await _static(t, storage_class="", wanted=wanted)


async def reserved(t: Walker) -> None:
    """A PV that names its claim, before there is one."""
    reference = {"namespace": t.namespace, "name": "data"}
    await _static(t, storage_class=t.namespace, wanted=claim("data", t.namespace), claimRef=reference)


async def _static(t: Walker, storage_class: str, wanted: Object, **more: object) -> None:
    """There and back on a PV that was written beforehand; `more` of its spec."""
    name = _written(t)
    handle = await t.place.make_volume(name)
    csi = {"driver": DRIVER, "volumeHandle": handle}
    await t.apply(_pv(name, storage_class, csi=csi, **more))
    await t.until(PersistentVolume, name, lambda v: v.status.phase == "Available")
    await t.apply(wanted)
    await t.bound("data")
    await t.apply(t.pod("pod", "data"))
    await t.running("pod")
    await t.delete("pod/pod")
    await t.detached(t.first)
    await t.delete("pvc/data")
    await t.until(PersistentVolume, name, lambda v: v.status.phase == "Released")
    await t.delete(f"pv/{name}")
    await t.gone(PersistentVolume, name)
    await t.place.unmake_volume(handle)


async def named_refused(t: Walker) -> None:
    """Claims that name a PV which is too small, and one which is another's; neither is bound."""
    await t.apply(claim("data", IMMEDIATE))
    taken = (await t.bound("data")).spec.volume_name
    small = _written(t)
    # Of a class of its own, or any claim that waits would be bound to it.
    await t.apply(_pv(small, t.namespace, hostPath={"path": "/usr"}))
    await t.until(PersistentVolume, small, lambda v: v.status.phase == "Available")
    much, second = claim("much", t.namespace, size="32Mi"), claim("second", IMMEDIATE)
    much["spec"]["volumeName"], second["spec"]["volumeName"] = small, taken
    await t.apply(much, second)
    await t.told("much", "VolumeMismatch")
    await t.told("second", "FailedBinding")
    await t.delete("pvc/much", "pvc/second")
    await t.gone(PersistentVolumeClaim, "much", "second")
    await t.delete(f"pv/{small}", "pvc/data")
    await t.gone(PersistentVolume, small)


def _written(t: Walker) -> str:
    """The name of this life's PV that is not a provisioner's."""
    return f"{t.namespace}-written"


def _pv(name: str, storage_class: str, **more: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "16Mi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": storage_class,
            **more,
        },
    }


async def rebound(t: Walker) -> None:
    """Retained, released, made available again, bound to a claim that names it, and then deleted."""
    await t.apply(claim("data", IMMEDIATE))
    volume = (await t.bound("data")).spec.volume_name
    await t.reclaim(volume, "Retain")
    await t.delete("pvc/data")
    await t.until(PersistentVolume, volume, lambda v: v.status.phase == "Released")
    await t.patch(f"pv/{volume}", {"spec": {"claimRef": None}})
    await t.until(PersistentVolume, volume, lambda v: v.status.phase == "Available")
    second = claim("again", IMMEDIATE)
    second["spec"]["volumeName"] = volume
    await t.apply(second)
    await t.bound("again")
    await t.apply(t.pod("pod", "again"))
    await t.running("pod")
    await t.reclaim(volume, "Delete")
    await t.delete("pod/pod", "pvc/again")


async def used_claim_deleted(t: Walker) -> None:
    """The claim is held until its pod is gone."""
    await t.apply(claim("data", IMMEDIATE))
    await t.bound("data")
    await t.apply(t.pod("pod", "data"))
    await t.running("pod")
    await t.delete("pvc/data")
    await t.until(PersistentVolumeClaim, "data", lambda c: c.is_terminating)
    await t.delete("pod/pod")


async def deleted_while_staging(t: Walker) -> None:
    """The pod goes, and is gone, while NodeStageVolume is under way."""
    await t.apply(claim("data", IMMEDIATE))
    volume = (await t.bound("data")).spec.volume_name
    handle = t.recording.find(PersistentVolume, "", volume).spec.csi.volume_handle
    await t.place.fault("NodeStageVolume", "hang", handle)
    await t.apply(t.pod("pod", "data"))
    await t.recording.until("staging has begun", lambda seen: _is_staging(seen, handle))
    pod = t.recording.find(Pod, t.namespace, "pod")
    await t.delete("pod/pod")
    await t.gone(Pod, "pod")
    # Every two seconds kubelet removes directories of pods that are gone, also one that it has just made to publish in, and then
    # the FailedMount is another one. Right after it has done so there is time.
    await t.cleared_away(pod.uid)
    await t.place.clear_faults(handle)
    await t.told("pod", "FailedMount")
    await t.delete("pvc/data")


def _is_staging(seen: Recording, handle: str) -> bool:
    return any(
        isinstance(o.body, RpcStarted)
        and short_method(o.body.method) == "NodeStageVolume"
        and o.body.volume_id == handle
        for o in seen.observations
    )


async def stateful_set(t: Walker) -> None:
    """Two pods with claims of their own, down to one and up again; the claims stay, until they are deleted."""
    template = t.pod("x")["spec"]
    template["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    made = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "serviceName": "web",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": template | {"restartPolicy": "Always"}},
            "volumeClaimTemplates": [
                {"metadata": {"name": "data"}, "spec": claim("x", WAITING)["spec"]}
            ],
        },
    }  # fmt: skip
    await t.apply(made)
    await t.running("web-1")
    await t.patch("statefulset/web", {"spec": {"replicas": 1}})
    await t.gone(Pod, "web-1")
    await t.detached(t.first, "data-web-1")
    await t.patch("statefulset/web", {"spec": {"replicas": 2}})
    await t.running("web-1")
    await t.delete("statefulset/web")
    await t.gone(Pod, "web-0", "web-1")
    for name in ("data-web-0", "data-web-1"):
        await t.detached(t.first, name)
    await t.delete("pvc/data-web-0", "pvc/data-web-1")


async def rolled_over(t: Walker) -> None:
    """A Deployment is moved to another node: its old pod goes, then the new one comes."""
    await _roll_over(t, {"type": "Recreate"})
    await t.recording.until("the second pod runs", lambda seen: t.second in _running_on(seen, t.namespace))
    await t.delete("deployment/web", "pvc/data")


async def rolled_over_blocked(t: Walker) -> None:
    """The old pod is kept until the new one is ready, which waits for the old one's volume, until the old one may go first."""
    await _roll_over(t, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}})
    await t.recording.until("the second pod is refused", lambda seen: _is_refused(seen, t.namespace))
    await t.patch("deployment/web", {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}})
    await t.recording.until("the second pod runs", lambda seen: t.second in _running_on(seen, t.namespace))
    await t.delete("deployment/web", "pvc/data")


async def _roll_over(t: Walker, strategy: Object) -> None:
    """A Deployment's pod runs on the first node, and is then wanted on the second."""
    made = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "strategy": strategy,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": t.pod("x", "data")["spec"] | {"restartPolicy": "Always"},
            },
        },
    }
    await t.apply(claim("data", IMMEDIATE))
    await t.bound("data")
    await t.apply(made)
    await t.recording.until("the first pod runs", lambda seen: t.first in _running_on(seen, t.namespace))
    where = {"nodeSelector": {"kubernetes.io/hostname": t.second}}
    await t.patch("deployment/web", {"spec": {"template": {"spec": where}}})


def _running_on(seen: Recording, namespace: str) -> set[str]:
    return {
        obj.spec.node_name
        for obj in seen.objects.values()
        if isinstance(obj, Pod) and obj.namespace == namespace and obj.status.phase == "Running"
    }


def _is_refused(seen: Recording, namespace: str) -> bool:
    """A pod was told that its volume is elsewhere."""
    return any(
        isinstance(obj, Event)
        and obj.reason == "FailedAttachVolume"
        and obj.involved_object.namespace == namespace
        for obj in seen.objects.values()
    )


async def namespace_deleted(t: Walker) -> None:
    """Everything goes with its namespace."""
    await t.apply(claim("data", IMMEDIATE))
    await t.bound("data")
    await t.apply(t.pod("pod", "data"))
    await t.running("pod")
    await t.delete(f"namespace/{t.namespace}")


async def not_csi(t: Walker) -> None:
    """A volume of another kind: bound, used and left as it is, and nothing is asked of any driver."""
    name = _written(t)
    wanted = claim("data", "")
    wanted["spec"]["volumeName"] = name
    await t.apply(_pv(name, "", hostPath={"path": "/usr"}))
    await t.until(PersistentVolume, name, lambda v: v.status.phase == "Available")
    await t.apply(wanted)
    await t.bound("data")
    await t.apply(t.pod("pod", "data"))
    await t.running("pod")
    await t.delete("pod/pod")
    await t.gone(Pod, "pod")
    await t.delete("pvc/data")
    await t.until(PersistentVolume, name, lambda v: v.status.phase == "Released")
    await t.delete(f"pv/{name}")
    await t.gone(PersistentVolume, name)


Life = Callable[[Walker], Awaitable[None]]

LIVES: tuple[Life, ...] = (
    immediate,
    wait_for_first_consumer,
    shared,
    moved,
    one_pod,
    expanded,
    ephemeral,
    three_volumes,
    refused_sources,
    inline_refused,
    static,
    named,
    reserved,
    named_refused,
    rebound,
    used_claim_deleted,
    deleted_while_staging,
    stateful_set,
    rolled_over,
    rolled_over_blocked,
    namespace_deleted,
    not_csi,
)
