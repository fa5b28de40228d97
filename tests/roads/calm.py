"""How a claim comes to its volume: made for it, found for it, named by it; kept after it, and given to another."""

from csitrace.lifecycle.state import State, Volume
from csitrace.lifecycle.views import Severity
from tests.roads.expected import GONE, IN_USE
from tests.roads.manifests import DRIVER, IMMEDIATE, WAITING, WRITING, Object, claim
from tests.roads.road import road
from tests.roads.traveller import Traveller


@road("immediate", "A claim of a class that binds immediately")
async def immediate(t: Traveller) -> None:
    """The volume is made and bound before there is a pod; step 4 does not apply; both deleted, nothing is left."""
    await bound(t)
    await t.apply(t.pod("pod", ("data",), script=WRITING))
    await t.moment("in use", done="1-3 5-17", na="4", waits=IN_USE)
    await t.delete("pod/pod", "persistentvolumeclaim/data")
    await t.moment("gone", done="1-3 5-17 b1-b13", na="4", waits=GONE)


@road("wait-for-first-consumer", "A claim of a class that waits for its first consumer")
async def wait_for_first_consumer(t: Traveller) -> None:
    """Without a pod nothing happens, as its class asks, and nobody is called late; the pod's node is noted on the claim first."""
    await t.apply(claim("data", WAITING))
    await t.moment("no pod", done="1", waits=("2", "scheduler"), severity=Severity.WAITING)
    await t.apply(t.pod("pod", ("data",), script=WRITING))
    await t.moment("in use", done="1-17", waits=IN_USE)
    await t.delete("pod/pod")
    await t.moment("at rest", done="1-8", moving="9", waits=("9", "scheduler"), severity=Severity.WAITING)
    await t.delete("persistentvolumeclaim/data")
    await t.moment("gone", done="1-17 b1-b13", waits=GONE)


@road("static", "A PV that an administrator wrote, found for a claim")
async def static(t: Traveller) -> None:
    """Nothing is provisioned: 4 and 5 do not apply. The PV is there before the claim, and is found by class and size."""
    name = f"static-{t.namespace}"
    await t.apply(await written_pv(t, name, storage_class=name))
    await t.apply(claim("data", name))
    await _static_road(t, name)


@road("named-pv", "A claim that names its PV")
async def named_pv(t: Traveller) -> None:
    """The user has chosen the PV by name; it is bound to this claim and to no other."""
    name = f"named-{t.namespace}"
    await t.apply(await written_pv(t, name))
    named = claim("data", "")
    named["spec"]["volumeName"] = name
    await t.apply(named)
    await _static_road(t, name)


async def _static_road(t: Traveller, pv: str) -> None:
    await t.moment("bound, no pod", done="1 6-8", na="4-5", waits=("2", "scheduler"))
    await t.apply(t.pod("pod", ("data",), script=WRITING))
    await t.moment("in use", done="1-3 6-17", na="4-5", waits=IN_USE)
    await t.delete("pod/pod", "persistentvolumeclaim/data")
    await t.moment("released", done="1-3 6-17 b1-b11", na="4-5 b12-b13")
    await t.delete(f"persistentvolume/{pv}")
    await t.moment("gone", done="1-3 6-17 b1-b11 b13", na="4-5 b12", waits=GONE)


async def written_pv(t: Traveller, name: str, storage_class: str = "") -> Object:
    """A PV with a volume behind it that somebody made beforehand, and that stays the administrator's (Retain)."""
    handle = await t.make_volume(name)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "16Mi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": storage_class,
            "csi": {"driver": DRIVER, "volumeHandle": handle},
        },
    }


@road("retain", "Reclaim policy Retain: released, and bound to another claim")
async def retain(t: Traveller) -> None:
    """With its claim the volume is released and stays; its claim reference taken away, another claim gets the same volume with
    what is in it; nothing was provisioned for that one."""
    await bound(t)
    pv = await pv_name(t)
    await t.patch(f"persistentvolume/{pv}", {"spec": {"persistentVolumeReclaimPolicy": "Retain"}})
    await t.apply(t.pod("pod", ("data",), script=WRITING))
    await t.moment("in use", done="1-3 5-17", na="4", waits=IN_USE)
    await t.delete("pod/pod", "persistentvolumeclaim/data")
    await t.moment("released", done="1-3 5-17 b1-b11", na="4 b12-b13")
    await t.patch(f"persistentvolume/{pv}", {"spec": {"claimRef": None}})
    again = claim("again", IMMEDIATE)
    again["spec"]["volumeName"] = pv
    await t.apply(again)
    await t.moment("bound again", of="again", done="1 6-8", na="4-5", waits=("2", "scheduler"))
    await t.apply(t.pod("second", ("again",)))
    await t.moment("in use again", of="again", pod="second", done="1-3 6-17", na="4-5", waits=IN_USE)
    await t.patch(f"persistentvolume/{pv}", {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})
    await t.delete("pod/second", "persistentvolumeclaim/again")
    await t.moment("gone", of="again", done="1-3 6-17 b1-b13", na="4-5", waits=GONE)


@road("expansion", "A claim that grows while its pod runs")
async def expansion(t: Traveller) -> None:
    """The controller makes the volume larger, then the node the file system; the volume is in use all the while."""
    await t.apply(claim("data", WAITING), t.pod("pod", ("data",), script=WRITING))
    await t.moment("in use", done="1-17", waits=IN_USE)
    await t.patch("persistentvolumeclaim/data", {"spec": {"resources": {"requests": {"storage": "32Mi"}}}})
    await t.until(
        "the controller has expanded it", lambda s: _called(t.find("data", s), "ControllerExpandVolume")
    )
    await t.moment("the controller's part done", done="1-17", waits=IN_USE)
    # kubelet looks at its volumes' sizes when it syncs the pod: on a change of the pod, or within 90 s.
    await t.patch("pod/pod", {"metadata": {"annotations": {"sync": "now"}}})
    await t.until("the node has expanded it", lambda s: _called(t.find("data", s), "NodeExpandVolume"))
    await t.until("the claim says so", lambda s: _capacity(t.find("data", s)) == "32Mi")
    await t.moment("larger", done="1-17", waits=IN_USE)
    await t.delete("pod/pod", "persistentvolumeclaim/data")
    await t.moment("gone", done="1-17 b1-b13", waits=GONE)


@road("clone-refused", "A clone of a claim, which the driver cannot make", stuck=("6",))
async def clone_refused(t: Traveller) -> None:
    """The provisioner asks the driver what it can and refuses: step 6 has failed, in its words; the source is untouched."""
    await bound(t)
    copy = claim("copy", IMMEDIATE)
    copy["spec"]["dataSource"] = {"kind": "PersistentVolumeClaim", "name": "data"}
    await t.apply(copy)
    await t.moment(
        "refused",
        of="copy",
        done="1 5",
        na="4",
        failed="6",
        waits=("6", "provisioner"),
        severity=Severity.STUCK,
    )
    await t.moment("the source", done="1 5-8", na="4", waits=("2", "scheduler"))
    await t.delete("persistentvolumeclaim/copy", "persistentvolumeclaim/data")


@road(
    "snapshot-refused",
    "A volume from a snapshot, which the driver cannot make",
    stuck=("6",),
)
async def snapshot_refused(t: Traveller) -> None:
    """As with a clone; deleted, the claim leaves nothing, since nothing was made."""
    restored = claim("data", IMMEDIATE)
    source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "yesterday"}
    restored["spec"]["dataSource"] = source
    await t.apply(restored)
    await t.moment(
        "refused", done="1 5", na="4", failed="6", waits=("6", "provisioner"), severity=Severity.STUCK
    )
    await t.delete("persistentvolumeclaim/data")


async def bound(t: Traveller, name: str = "data", **more: str) -> Volume:
    """Make a claim whose volume is there at once, and wait for that: a pod that comes earlier may be left in the scheduler's
    queue for minutes (Kubernetes 1.34)."""
    await t.apply(claim(name, IMMEDIATE, **more))
    return await t.moment("bound, no pod", of=name, done="1 5-8", na="4", waits=("2", "scheduler"))


async def pv_name(t: Traveller, of: str = "data") -> str:
    """The name of a bound claim's PV; the claim may be heard to be bound before the PV is heard of."""

    def named(state: State) -> str:
        volume = t.find(of, state)
        return volume.pv.name if volume is not None and volume.pv is not None else ""

    return await t.until("its PV is seen", named)


def _called(volume: Volume | None, method: str) -> bool:
    return volume is not None and any(call.method == method and call.code == 0 for call in volume.calls)


def _capacity(volume: Volume | None) -> str:
    return volume.claim.status.capacity.storage if volume is not None and volume.claim is not None else ""


CALM = (
    immediate,
    wait_for_first_consumer,
    static,
    named_pv,
    retain,
    expansion,
    clone_refused,
    snapshot_refused,
)
