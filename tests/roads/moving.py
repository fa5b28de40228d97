"""Roads between two nodes on which nothing is killed: a volume shared by both, and one that moves with its pod."""

from csitrace.lifecycle.state import State
from csitrace.lifecycle.views import Severity
from tests.roads.expected import GONE, IN_USE
from tests.roads.manifests import WAITING, WRITING, Object, claim
from tests.roads.road import road
from tests.roads.traveller import Traveller


@road("shared-by-two-nodes", "ReadWriteMany in two pods on two nodes", nodes=2)
async def shared_by_two_nodes(t: Traveller) -> None:
    """Each node has an attachment, a staging and a publish mount of its own; one pod gone, its node lets go of the volume, and
    the other goes on using it."""
    await t.apply(claim("data", WAITING, mode="ReadWriteMany"))
    await t.apply(t.pod("one", ("data",), script=WRITING, node=t.nodes[0]))
    await t.moment("one node", pod="one", done="1-17", waits=IN_USE)
    await t.apply(t.pod("two", ("data",), script=WRITING, node=t.nodes[1]))
    await t.moment("both nodes", pod="two", done="1-17", waits=IN_USE)
    await t.moment("both nodes", pod="one", done="1-17", waits=IN_USE)
    await t.delete("pod/one")
    await t.moment("one node again", pod="one", done="1-17 b1-b9", na="b10-b13", waits=IN_USE)
    await t.moment("one node again", pod="two", done="1-17", waits=IN_USE)
    await t.delete("pod/two", "persistentvolumeclaim/data")
    await t.moment("gone", pod="two", done="1-17 b1-b13", waits=GONE)


@road("deployment-moves", "A Deployment rolled over to another node, old pod first", nodes=2)
async def deployment_moves(t: Traveller) -> None:
    """With strategy Recreate the old pod goes first: its node lets go of the volume, which is detached, and only then attached to
    the node of the new pod."""
    await t.apply(claim("data", WAITING), deployment(t, t.nodes[0], {"type": "Recreate"}))
    first = await new_pod(t)
    await t.moment("on the first node", pod=first, done="1-17", waits=IN_USE)
    await t.patch("deployment/app", _to(t.nodes[1]))
    second = await new_pod(t, first)
    await t.moment("left the first node", pod=first, done="1-17 b1-b9", na="b10-b13")
    await t.moment("on the second node", pod=second, done="1-17", waits=IN_USE)
    await t.delete("deployment/app", "persistentvolumeclaim/data")
    await t.moment("gone", pod=second, done="1-17 b1-b13", waits=GONE)


@road(
    "deployment-blocked",
    "A Deployment rolled over to another node, new pod first",
    nodes=2,
    stuck=("10",),
)
async def deployment_blocked(t: Traveller) -> None:
    """A rolling update that keeps the old pod until the new one is ready never ends with a ReadWriteOnce volume: the new pod
    waits for an attachment that is refused while the old one has it. Told to let the old pod go first, it moves."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await t.apply(claim("data", WAITING), deployment(t, t.nodes[0], strategy))
    first = await new_pod(t)
    await t.moment("on the first node", pod=first, done="1-17", waits=IN_USE)
    await t.patch("deployment/app", _to(t.nodes[1]))
    second = await new_pod(t, first)
    await t.moment(
        "refused",
        pod=second,
        done="1-9 15",
        failed="10",
        waits=("10", f"pod {first}"),
        severity=Severity.STUCK,
    )
    await t.moment("refused", pod=first, done="1-17")
    await t.patch("deployment/app", {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}})
    await t.moment("on the second node", pod=second, done="1-17", waits=IN_USE)
    await t.delete("deployment/app", "persistentvolumeclaim/data")
    await t.moment("gone", pod=second, done="1-17 b1-b13", waits=GONE)


def deployment(t: Traveller, node: str, strategy: Object, **spec: object) -> Object:
    """One replica, on a node, that writes to the claim `data` all the while."""
    template = t.pod("app", ("data",), script=WRITING, node=node, restartPolicy="Always", **spec)
    labels = {"app": t.namespace}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app"},
        "spec": {
            "replicas": 1,
            "strategy": strategy,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        },
    }


def _to(node: str) -> Object:
    """The change of a Deployment by which its pods are put on another node."""
    return {"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": node}}}}}


async def new_pod(t: Traveller, *old: str) -> str:
    """The name of a pod of the volume that is not one of the old ones."""

    def found(state: State) -> str:
        volume = t.find("data", state)
        names = [use.pod.name for use in volume.uses if use.ended_at is None] if volume is not None else []
        return next((name for name in names if name not in old), "")

    return await t.until("there is a new pod", found)


MOVING = (shared_by_two_nodes, deployment_moves, deployment_blocked)
