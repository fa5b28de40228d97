"""Roads without an attacher: a driver that is never attached, and inline volumes, of which only kubelet and the driver know."""

from csitrace.lifecycle.views import Severity
from tests.roads.expected import GONE, IN_USE
from tests.roads.manifests import WRITING, Object, claim
from tests.roads.road import road
from tests.roads.traveller import Traveller


@road("never-attached", "A driver that says `attachRequired: false`", unattached=True)
async def never_attached(t: Traveller) -> None:
    """No VolumeAttachment, no call to attach or detach, nothing in the node's `volumesInUse`: 10 to 14 and b6 to b9 do not
    apply, and nobody waits for them."""
    await t.apply(claim("data", t.place.unattached_class))
    await t.moment("no pod", done="1", na="10-14", waits=("2", "scheduler"), severity=Severity.WAITING)
    await t.apply(t.pod("pod", ("data",), script=WRITING))
    await t.moment("in use", done="1-9 15-17", na="10-14", waits=IN_USE)
    await t.delete("pod/pod", "persistentvolumeclaim/data")
    await t.moment("gone", done="1-9 15-17 b1-b5 b10-b13", na="10-14 b6-b9", waits=GONE)


@road("inline", "An inline ephemeral volume", unattached=True)
async def inline(t: Traveller) -> None:
    """The pod names the driver itself: there is no claim and no PV, nothing is provisioned, attached or staged. It is published,
    and with the pod all of it goes."""
    await t.apply(_inline(t, "16Mi"))
    await t.moment("in use", of="pod:data", done="1-3 9 15 16b 17", na="4-8 10-14 16a", waits=IN_USE)
    await t.delete("pod/pod")
    await t.moment(
        "gone",
        of="pod:data",
        done="1-3 9 15 16b 17 b1-b4",
        na="4-8 10-14 16a b5-b13",
        waits=GONE,
    )


@road(
    "inline-refused",
    "An inline volume whose attributes the driver refuses",
    unattached=True,
    stuck=("16b",),
)
async def inline_refused(t: Traveller) -> None:
    """The driver says which word is wrong; the pod waits at 16b, and deleted it leaves nothing."""
    await t.apply(_inline(t, "much"))
    await t.moment(
        "refused",
        of="pod:data",
        done="1-3 9 15",
        na="4-8 10-14 16a",
        failed="16b",
        waits=("16b", "kubelet"),
        severity=Severity.STUCK,
    )
    await t.delete("pod/pod")


def _inline(t: Traveller, size: str) -> Object:
    pod = t.pod("pod", script=WRITING)
    source = {"driver": t.place.unattached_driver, "volumeAttributes": {"size": size}}
    pod["spec"]["volumes"] = [{"name": "data", "csi": source}]
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    return pod


EPHEMERAL = (never_attached, inline, inline_refused)
