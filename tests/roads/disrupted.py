"""Roads on which parts of the cluster end while volumes are on their way, and come back.

The steps at which each may be called stuck are those that wait for the part: on a slow machine it is away longer than they may
take.
"""

import asyncio
from functools import partial

from csitrace.lifecycle import index
from csitrace.lifecycle.state import State, Volume
from csitrace.model.events import Witness
from csitrace.model.kubernetes import CSINode, CSINodeDriver
from tests.cluster.harness.storage import DRIVER_NAME
from tests.roads.expected import GONE, IN_USE
from tests.roads.manifests import IMMEDIATE, WAITING, WRITING, claim
from tests.roads.moving import deployment, new_pod
from tests.roads.road import CLUSTER_ONLY, EVERYWHERE, Road, road
from tests.roads.traveller import Traveller

_disturbing = partial(road, on=EVERYWHERE, nodes=2, disturbs=True)
_on_cluster = partial(_disturbing, on=CLUSTER_ONLY)


# The lab's kubelet is not made to find again what an earlier one mounted, and its containers end with it.
@_on_cluster(
    "kubelet-restarted", "kubelet dies while a pod comes and another goes", stuck=("15", "16a", "16b", "b2")
)
async def kubelet_restarted(t: Traveller) -> None:
    """What is mounted stays in use; a new pod's volume is attached and then waits for kubelet, as does a pod that is to go; the
    restarted kubelet takes up both."""
    node = t.nodes[1]
    await t.apply(claim("data", WAITING), t.pod("one", ("data",), script=WRITING, node=node))
    await t.moment("in use", done="1-17", waits=IN_USE)
    await t.part("kill", "kubelet-2")
    await t.moment("kubelet dead", done="1-17", waits=IN_USE)
    await t.apply(claim("more", WAITING), t.pod("two", ("more",), node=node))
    await t.moment("comes", of="more", done="1-14", moving="15", waits=("15", "kubelet"))
    await t.delete("pod/one")
    await t.moment("goes", pod="one", done="1-17 b1", moving="b2", na="b10-b13", waits=("b2", "kubelet"))
    await t.part("restart", "kubelet-2")
    await t.moment("came", of="more", done="1-17", waits=IN_USE)
    await t.moment("went", pod="one", done="1-17 b1-b9", na="b10-b13")
    await t.delete("pod/two", "persistentvolumeclaim/more", "persistentvolumeclaim/data")
    await t.moment("gone", of="more", done="1-17 b1-b13", waits=GONE)
    await t.moment("gone", done="1-17 b1-b13", waits=GONE)


@_disturbing("scheduler-restarted", "the scheduler dies before a pod comes", stuck=("2",))
async def scheduler_restarted(t: Traveller) -> None:
    """Claim and pod wait for the scheduler, by name, and for nobody else; its successor moves them on."""
    await t.part("kill", "kube-scheduler")
    await t.apply(claim("data", WAITING), t.pod("pod", ("data",), script=WRITING))
    await t.moment("no scheduler", pod="pod", done="1", waits=("2", "scheduler"))
    await t.part("restart", "kube-scheduler")
    await t.moment("in use", done="1-17", waits=IN_USE)
    await t.delete("pod/pod", "persistentvolumeclaim/data")
    await t.moment("gone", done="1-17 b1-b13", waits=GONE)


@_disturbing(
    "controllers-restarted",
    "kube-controller-manager dies before provisioning, attaching and detaching",
    stuck=("5", "10", "b7"),
)
async def controllers_restarted(t: Traveller) -> None:
    """A claim waits for the PV controller, a scheduled pod and an unmounted volume for the attach/detach controller."""
    controllers = "kube-controller-manager"
    await t.part("kill", controllers)
    await t.apply(claim("data", IMMEDIATE))
    await t.moment("nobody names a provisioner", done="1", moving="5", na="4", waits=("5", "PV controller"))
    await t.part("restart", controllers)
    await t.moment("bound", done="1 5-8", na="4", waits=("2", "scheduler"))
    await t.part("kill", controllers)
    await t.apply(t.pod("pod", ("data",), script=WRITING))
    await t.moment(
        "nobody attaches", done="1-3 5-9", either="15", moving="10", na="4", waits=("10", "attach/detach")
    )
    await t.part("restart", controllers)
    await t.moment("in use", done="1-3 5-17", na="4", waits=IN_USE)
    await t.part("kill", controllers)
    await t.delete("pod/pod")
    await t.moment(
        "nobody detaches",
        pod="pod",
        done="1-3 5-17 b1-b6",
        moving="b7",
        na="4 b10-b13",
        waits=("b7", "attach/detach"),
    )
    await t.part("restart", controllers)
    await t.moment("detached", pod="pod", done="1-3 5-17 b1-b9", na="4 b10-b13")
    await t.delete("persistentvolumeclaim/data")
    await t.moment("gone", done="1-3 5-17 b1-b13", na="4", waits=GONE)


# The lab's API server is the process that all its programs are in: it does not end without them.
@_on_cluster(
    "api-server-restarted", "the API server dies while a volume is staged", stuck=("16a", "16b", "17")
)
async def api_server_restarted(t: Traveller) -> None:
    """What was done stays done; what only the API server could tell is unknown, because it is not heard; driver and kernel go on
    telling theirs; kubelet, which needs the server to publish, says so, and the restarted server lets it go on."""
    await t.apply(claim("data", IMMEDIATE))
    volume = await t.moment("bound", done="1 5-8", na="4", waits=("2", "scheduler"))
    await t.fault("NodeStageVolume", "hang", volume.volume_id)
    await t.apply(t.pod("pod", ("data",), script=WRITING))
    await t.until("kubelet has asked", lambda s: _is_asked(s, volume, "NodeStageVolume"))
    await t.moment("staging hangs", done="1-3 5-15", na="4", moving="16a", waits=("16a", "kubelet"))
    await t.part("kill", "kube-apiserver")
    await t.until("Kubernetes is silent", lambda s: not _is_up(s, Witness.KUBERNETES, "Pod"))
    await t.moment(
        "no API server", done="1-3 5-15", na="4", moving="16a", unknown="17", waits=("16a", "kubelet")
    )
    await t.clear_faults(volume.volume_id)
    await t.moment("staged", done="1-3 5-16a", na="4", either="16b", unknown="17")
    await t.part("restart", "kube-apiserver")
    await t.moment("in use", done="1-3 5-17", na="4", waits=IN_USE)
    await t.delete("pod/pod", "persistentvolumeclaim/data")
    await t.moment("gone", done="1-3 5-17 b1-b13", na="4", waits=GONE)


@_disturbing("driver-restarted", "the driver of the node dies under a mounted volume", stuck=("b3",))
async def driver_restarted(t: Traveller) -> None:
    """The volume goes on being served; a pod that is to go waits for the driver; its successor lets the volume go."""
    await t.apply(claim("data", WAITING), t.pod("pod", ("data",), script=WRITING, node=t.nodes[1]))
    await t.moment("in use", done="1-17", waits=IN_USE)
    await t.part("kill", "driver-2")
    await t.until("the driver is silent", lambda s: not _is_up(s, Witness.DRIVER, _scope(t)))
    await t.moment("driver dead", done="1-17", waits=IN_USE)
    await t.delete("pod/pod")
    await t.moment("goes", pod="pod", done="1-17 b1-b2", moving="b3", na="b10-b13", waits=("b3", "kubelet"))
    await t.part("restart", "driver-2")
    await t.moment("went", pod="pod", done="1-17 b1-b9", na="b10-b13")
    await t.delete("persistentvolumeclaim/data")
    await t.moment("gone", done="1-17 b1-b13", waits=GONE)


# The lab's driver takes no other flags while it runs.
@_on_cluster("driver-upgraded", "the driver of the node is replaced under a mounted volume")
async def driver_upgraded(t: Traveller) -> None:
    """Another program, with another limit of volumes, registers in place of the old one; the volume stays in use all the while,
    and the new driver takes the old one's volume away."""
    await t.apply(claim("data", WAITING), t.pod("pod", ("data",), script=WRITING, node=t.nodes[1]))
    await t.moment("in use", done="1-17", waits=IN_USE)
    old = _heard_since(t.state, t)
    cluster = t.place.cluster
    try:
        await asyncio.to_thread(cluster.replace, "driver-2", "--max-volumes-per-node=8")
        await t.until("a new process is heard", lambda s: _heard_since(s, t) > old)
        await t.until("the new limit is registered", lambda s: _limit(s, t) == 8)
        await t.moment("upgraded", done="1-17", waits=IN_USE)
        await t.delete("pod/pod", "persistentvolumeclaim/data")
        await t.moment("gone", done="1-17 b1-b13", waits=GONE)
    finally:
        await asyncio.to_thread(cluster.replace, "driver-2")
        await t.until(
            "the old limit is registered", lambda s: _registration(s, t) is not None and _limit(s, t) is None
        )


@_disturbing(
    "driver-uninstalled", "the driver of the node is uninstalled under a mounted volume", stuck=("b3",)
)
async def driver_uninstalled(t: Traveller) -> None:
    """The volume goes on being served; a pod that is to go waits for a node plugin that is not registered any more; installed
    again, it lets the volume go."""
    await t.apply(claim("data", WAITING), t.pod("pod", ("data",), script=WRITING, node=t.nodes[1]))
    await t.moment("in use", done="1-17", waits=IN_USE)
    await t.part("kill", "driver-2")
    for socket in t.place.cluster.nodes[1].registration_directory.glob(f"{DRIVER_NAME}*"):
        socket.unlink()
    await t.until("it is not registered", lambda s: _registration(s, t) is None)
    await t.moment("uninstalled", done="1-17", waits=IN_USE)
    await t.delete("pod/pod")
    await t.moment(
        "goes",
        pod="pod",
        done="1-17 b1-b2",
        moving="b3",
        na="b10-b13",
        waits=("b3", f"node plugin on {t.nodes[1]}"),
    )
    await t.part("restart", "driver-2")
    await t.moment("went", pod="pod", done="1-17 b1-b9", na="b10-b13")
    await t.delete("persistentvolumeclaim/data")
    await t.moment("gone", done="1-17 b1-b13", waits=GONE)


# The lab serves no evictions, and no kubectl may speak to it.
@_on_cluster("node-drained", "a node is drained, and its Deployment's volume moves", stuck=("10",))
async def node_drained(t: Traveller) -> None:
    """The evicted pod's node lets go of the volume, which is detached and attached where the new pod is; the drained node keeps
    nothing of it, and takes pods again when it is uncordoned."""
    node = t.nodes[1]
    app = deployment(t, "", {"type": "Recreate"}, affinity=_preferring(node))
    await t.apply(claim("data", WAITING), app)
    first = await new_pod(t)
    await t.moment("on the node", pod=first, done="1-17", waits=IN_USE)
    kubectl = t.place.cluster.kubectl()
    try:
        await asyncio.to_thread(
            kubectl,
            "drain",
            node,
            "--force",
            f"--pod-selector=app={t.namespace}",
            "--timeout=100s",
            timeout_s=110,
        )
        second = await new_pod(t, first)
        await t.moment("left the node", pod=first, done="1-17 b1-b9", na="b10-b13")
        await t.moment("on the other node", pod=second, done="1-17", waits=IN_USE)
    finally:
        await asyncio.to_thread(kubectl, "uncordon", node)
    await t.delete("deployment/app", "persistentvolumeclaim/data")
    await t.moment("gone", pod=second, done="1-17 b1-b13", waits=GONE)


def _preferring(node: str) -> object:
    """An affinity by which the scheduler puts a pod on the node as long as it takes pods."""
    terms = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    preferred = [{"weight": 100, "preference": terms}]
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _is_asked(state: State, volume: Volume, method: str) -> bool:
    return any(call.method == method and call.in_flight for call in state.volumes[volume.key].calls)


def _scope(t: Traveller) -> str:
    return f"{DRIVER_NAME}@{t.nodes[1]}"


def _is_up(state: State, witness: Witness, scope: str) -> bool:
    source = state.sources.get((witness, scope))
    return source is not None and source.up


def _heard_since(state: State, t: Traveller) -> int:
    """Since when the driver of the node is heard, 0 while it is not."""
    source = state.sources.get((Witness.DRIVER, _scope(t)))
    return source.since if source is not None and source.up else 0


def _registration(state: State, t: Traveller) -> CSINodeDriver | None:
    csi_node = index.by_name(state, CSINode, t.nodes[1])
    drivers = csi_node.spec.drivers if csi_node is not None else None
    return next((driver for driver in drivers or () if driver.name == DRIVER_NAME), None)


def _limit(state: State, t: Traveller) -> int | None:
    registration = _registration(state, t)
    return registration.allocatable.count if registration is not None and registration.allocatable else None


DISRUPTED: tuple[Road, ...] = (
    kubelet_restarted,
    scheduler_restarted,
    controllers_restarted,
    api_server_restarted,
    driver_restarted,
    driver_upgraded,
    driver_uninstalled,
    node_drained,
)
