"""Nodes that fall silent: the node lifecycle controller, the taint eviction controller, and the pod garbage collector.

kube-controller-manager 1.34, pkg/controller/{nodelifecycle,tainteviction,podgc}: a kubelet that renews its Lease no more is
Unknown after ten looks, its node is tainted, its pods are told to go, and leave for good only when somebody confirms it.
"""

import asyncio
from collections import Counter

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import LEASES, NODES, PODS
from csitrace.lab.clock import timestamp
from csitrace.lab.loops.placement import tolerates
from csitrace.lab.program import Program
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object, StatusError

_LEASE_NAMESPACE = "kube-node-lease"
_LOOKS = 10
"""As many looks without a heartbeat make the grace period of 50 s. Looks, not seconds: a lab that is held up misses both."""
_UNREACHABLE = "node.kubernetes.io/unreachable"
_NOT_READY = "node.kubernetes.io/not-ready"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OWN_TAINTS = frozenset({_UNREACHABLE, _NOT_READY, _UNSCHEDULABLE})


class NodeLifecycle:
    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._pace = program.pace
        self._events = EventRecorder(program.client, "node-controller")
        self._nodes = program.informer(NODES)
        self._pods = program.informer(PODS)
        self._leases = program.informer(LEASES)
        self._heard: dict[str, tuple[str, str]] = {}
        self._silent: Counter[str] = Counter()
        """Looks in a row without a sign of life, by node."""
        program.task(self._watch)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._pace.heartbeat)
            for node in self._nodes.all():
                try:
                    await self._look_at(node)
                except StatusError as error:
                    if error.reason not in ("Conflict", "NotFound"):  # the next look is at what it is then
                        raise

    async def _look_at(self, node: Object) -> None:
        name = node["metadata"]["name"]
        lease = self._leases.get(name, _LEASE_NAMESPACE)
        ready = objects.condition(node, "Ready")
        if ready is None:
            return  # it has only just been made
        life = (lease["spec"].get("renewTime", "") if lease else "", ready.get("lastHeartbeatTime", ""))
        self._silent[name] = self._silent[name] + 1 if self._heard.get(name) == life else 0
        self._heard[name] = life
        if self._silent[name] > _LOOKS and ready["status"] != "Unknown":
            node = await self._give_up(node, was_ready=ready["status"] == "True")
        await self._write_taints(node)

    async def _give_up(self, node: Object, was_ready: bool) -> Object:
        change = {
            "status": "Unknown",
            "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastTransitionTime": timestamp(),
        }
        conditions = [condition | change for condition in node["status"]["conditions"]]
        node = await self._client.update(
            NODES, node | {"status": node["status"] | {"conditions": conditions}}, "status"
        )
        if not was_ready:
            return node
        name = node["metadata"]["name"]
        await self._events.normal(node, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        for pod in self._pods.all():
            if pod["spec"].get("nodeName") == name:
                await self._mark_not_ready(pod)
        return node

    async def _mark_not_ready(self, pod: Object) -> None:
        ready = objects.condition(pod, "Ready")
        if ready is None or ready["status"] != "True":
            return
        changed = ready | {"status": "False", "lastTransitionTime": timestamp()}
        conditions = [changed if entry is ready else entry for entry in pod["status"]["conditions"]]
        await self._client.patch(PODS, pod, {"status": {"conditions": conditions}}, "status")
        await self._events.warning(pod, "NodeNotReady", "Node is not ready")

    async def _write_taints(self, node: Object) -> None:
        """What the node's condition and its being cordoned ask for; everybody else's taints stay as they are."""
        status = (objects.condition(node, "Ready") or {}).get("status", "True")
        key = {"False": _NOT_READY, "Unknown": _UNREACHABLE}.get(status, "")
        wanted = [(key, "NoSchedule"), (key, "NoExecute")] if key else []
        if node["spec"].get("unschedulable"):
            wanted.append((_UNSCHEDULABLE, "NoSchedule"))
        taints = node["spec"].get("taints") or []
        own = {(taint["key"], taint["effect"]) for taint in taints if taint["key"] in _OWN_TAINTS}
        if own == set(wanted):
            return
        kept = [
            taint
            for taint in taints
            if taint["key"] not in _OWN_TAINTS or (taint["key"], taint["effect"]) in wanted
        ]
        new = [
            {"key": key, "effect": effect, "timeAdded": timestamp()}
            for key, effect in wanted
            if (key, effect) not in own
        ]
        spec = {name: value for name, value in node["spec"].items() if name != "taints"}
        await self._client.update(
            NODES, node | {"spec": spec | ({"taints": kept + new} if kept or new else {})}
        )


class TaintEviction:
    """Tells pods to go from nodes whose NoExecute taints they do not tolerate, or tolerate no longer."""

    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._pace = program.pace
        self._events = EventRecorder(program.client, "taint-eviction-controller")
        self._nodes = program.informer(NODES)
        self._pods = program.informer(PODS)
        self._since: dict[tuple[str, str], float] = {}
        """(pod's uid, taint's key) -> since when, on the loop's clock, the taint is there for the pod."""
        program.task(self._watch)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._pace.heartbeat)
            for pod in self._pods.all():
                node = self._nodes.get(pod["spec"].get("nodeName") or "")
                if node is not None and not objects.is_terminating(pod) and self._has_to_go(pod, node):
                    await self._evict(pod)

    def _has_to_go(self, pod: Object, node: Object) -> bool:
        now = asyncio.get_running_loop().time()
        taints = [taint for taint in node["spec"].get("taints") or [] if taint["effect"] == "NoExecute"]
        uid, keys = pod["metadata"]["uid"], {taint["key"] for taint in taints}
        for known in [known for known in self._since if known[0] == uid and known[1] not in keys]:
            del self._since[known]
        for taint in taints:
            since = self._since.setdefault((uid, taint["key"]), now)
            tolerations = [t for t in pod["spec"].get("tolerations") or [] if tolerates(t, taint)]
            limits = [t["tolerationSeconds"] for t in tolerations if "tolerationSeconds" in t]
            if not tolerations or (limits and now - since >= self._pace.scaled(min(limits))):
                return True
        return False

    async def _evict(self, pod: Object) -> None:
        namespace, name = objects.key_of(pod)
        await self._events.normal(pod, "TaintManagerEviction", f"Marking for deletion Pod {namespace}/{name}")
        disruption = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": timestamp(),
        }
        conditions = [*(pod["status"].get("conditions") or []), disruption]
        try:
            await self._client.patch(PODS, pod, {"status": {"conditions": conditions}}, "status")
        except StatusError as error:
            if error.reason != "NotFound":
                raise
        await self._client.delete(PODS, pod)


class PodGarbage:
    """Ends pods that no kubelet can end: on nodes that are gone, and leaving ones on nodes that are out of service."""

    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._pace = program.pace
        self._nodes = program.informer(NODES)
        self._pods = program.informer(PODS)
        program.task(self._collect)

    async def _collect(self) -> None:
        orphans: set[str] = set()
        while True:
            await asyncio.sleep(self._pace.garbage)
            found = {pod["metadata"]["uid"] for pod in self._pods.all() if self._is_orphan(pod)}
            for pod in self._pods.all():
                # One that looks like an orphan is looked at twice: its node may be on its way into the cache.
                if pod["metadata"]["uid"] in found & orphans or self._is_out_of_service(pod):
                    await self._client.delete(PODS, pod, grace_seconds=0)
            orphans = found

    def _is_orphan(self, pod: Object) -> bool:
        name = pod["spec"].get("nodeName")
        return bool(name) and self._nodes.get(name) is None

    def _is_out_of_service(self, pod: Object) -> bool:
        node = self._nodes.get(pod["spec"].get("nodeName") or "")
        return (
            node is not None
            and objects.is_terminating(pod)
            and not objects.is_ready(node)
            and objects.has_taint(node, objects.OUT_OF_SERVICE, "NoExecute")
        )
