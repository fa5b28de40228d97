"""Roads on which nothing is killed: how a volume comes to a pod, stays, and goes."""

from csitrace.lifecycle.views import Severity
from tests.roads.expected import GONE, IN_USE
from tests.roads.manifests import IMMEDIATE, WAITING, WRITING, claim
from tests.roads.road import road
from tests.roads.traveller import Traveller


@road("immediate", "A claim of a class that binds immediately")
async def immediate(t: Traveller) -> None:
    """The volume is made and bound before there is a pod; step 4 does not apply; both deleted, nothing is left."""
    await t.apply(claim("data", IMMEDIATE))
    await t.moment("bound, no pod", done="1 5-8", na="4", waits=("2", "scheduler"))
    await t.apply(t.pod("pod", ("data",), script=WRITING))
    await t.moment("in use", done="1-3 5-17", na="4", waits=IN_USE)
    await t.delete("pod/pod", "persistentvolumeclaim/data")
    await t.moment("gone", done="1-3 5-17 b1-b13", na="4", waits=GONE)


@road("wait-for-first-consumer", "A claim of a class that waits for its first consumer")
async def wait_for_first_consumer(t: Traveller) -> None:
    """Without a pod nothing happens, as its class asks, and nobody is called late; the pod's node is noted on the claim first."""
    await t.apply(claim("data", WAITING))
    await t.moment("no pod", done="1", waits=("2", "scheduler"))
    await t.apply(t.pod("pod", ("data",), script=WRITING))
    await t.moment("in use", done="1-17", waits=IN_USE)
    await t.delete("pod/pod")
    await t.moment("at rest", done="1-8", moving="9", waits=("9", "scheduler"), severity=Severity.WAITING)
    await t.delete("persistentvolumeclaim/data")
    await t.moment("gone", done="1-17 b1-b13", waits=GONE)


CALM = (immediate, wait_for_first_consumer)
