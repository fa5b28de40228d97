"""Scheduler: binds pods to nodes, and has the claims of WaitForFirstConsumer classes provisioned for the chosen node first.

Messages and order: plugins/volumebinding of kube-scheduler 1.34; its Events come through events.k8s.io.
"""

import asyncio

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import (
    CSI_NODES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)
from csitrace.lab.clock import timestamp
from csitrace.lab.loops.placement import (
    UnschedulableError,
    Wanted,
    choose_node,
    is_for_one_pod,
    place_of,
    refused_before,
    uses,
)
from csitrace.lab.program import Program
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object, StatusError
from csitrace.lab.workqueue import Backoff, WorkQueue

_SCHEDULER_NAME = "default-scheduler"
_FIRST_RETRY_SECONDS = 1.0  # podInitialBackoffSeconds
_MAX_RETRY_SECONDS = 10.0  # podMaxBackoffSeconds


class PreBindError(Exception):
    """A node was chosen, and preparing its volumes failed."""


class Scheduler:
    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._pace = program.pace
        self._events = EventRecorder(program.client, _SCHEDULER_NAME, through_events_api=True)
        self._pods = program.informer(PODS)
        self._claims = program.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = program.informer(PERSISTENT_VOLUMES)
        self._classes = program.informer(STORAGE_CLASSES)
        self._nodes = program.informer(NODES)
        program.informer(CSI_NODES)
        backoff = Backoff(self._pace.scaled(_FIRST_RETRY_SECONDS), self._pace.scaled(_MAX_RETRY_SECONDS))
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(self._schedule, backoff)
        self._known_nodes: dict[str, Object] = {}
        """By name what counts of each node for a pod that found none."""
        self._pods.on_change(self._pod_changed)
        self._claims.on_change(self._claim_changed)
        self._nodes.on_change(self._node_changed)
        program.task(self._queue.run)

    def _pod_changed(self, pod: Object, deleted: bool) -> None:
        self._queue.add(objects.key_of(pod))
        if deleted or objects.is_finished(pod):  # it may have been in the way of others
            self._try_again()

    def _claim_changed(self, claim: Object, deleted: bool) -> None:
        """A pod that waits for this claim may be schedulable now."""
        namespace, name = objects.key_of(claim)
        for pod in self._unscheduled():
            if (
                pod["metadata"]["namespace"] == namespace
                and name in dict(objects.claim_volumes(pod)).values()
            ):
                self._queue.add(objects.key_of(pod))

    def _node_changed(self, node: Object, deleted: bool) -> None:
        """A heartbeat or an attached volume changes nothing for a pod that found no node."""
        name = node["metadata"]["name"]
        spec, labels = node["spec"], node["metadata"].get("labels")
        counts = {"unschedulable": spec.get("unschedulable"), "taints": spec.get("taints"), "labels": labels}
        if self._known_nodes.get(name) != counts:
            self._known_nodes[name] = counts
            self._try_again()

    def _try_again(self) -> None:
        for pod in self._unscheduled():
            self._queue.add(objects.key_of(pod))

    def _unscheduled(self) -> list[Object]:
        return [pod for pod in self._pods.all() if not pod["spec"].get("nodeName")]

    async def _schedule(self, key: tuple[str, str]) -> None:
        pod = self._pods.get(key[1], key[0])
        if pod is None or pod["spec"].get("nodeName") or objects.is_terminating(pod):
            return
        if pod["spec"].get("schedulerName") != _SCHEDULER_NAME:
            return
        try:
            node_name = self._choose_node(pod)
        except UnschedulableError as reason:
            await self._fail(pod, "Unschedulable", str(reason))
            return
        try:
            await self._bind_claims(pod, node_name)
        except PreBindError as reason:
            message = f'running PreBind plugin "VolumeBinding": binding volumes: {reason}'
            await self._fail(pod, "SchedulerError", message)
            self._queue.add_after(key, self._pace.scaled(_FIRST_RETRY_SECONDS))
            return
        await self._client.bind(pod, node_name)
        namespace, name = key
        await self._events.normal(
            pod, "Scheduled", f"Successfully assigned {namespace}/{name} to {node_name}"
        )

    def _choose_node(self, pod: Object) -> str:
        namespace = pod["metadata"]["namespace"]
        claims = self._pod_claims(pod)
        bound = [claim for claim in claims if objects.is_bound(claim)]
        selected = {objects.annotations(c).get(objects.SELECTED_NODE) for c in claims if c not in bound}
        others = [other for other in self._pods.all() if other["metadata"]["uid"] != pod["metadata"]["uid"]]
        wanted = Wanted(
            pod,
            places=tuple(place_of(self._volumes.get(claim["spec"]["volumeName"])) for claim in bound),
            selected=frozenset(name for name in selected if name),
            is_blocked=any(
                uses(other, namespace, claim["metadata"]["name"])
                for claim in filter(is_for_one_pod, claims)
                for other in others
            ),
        )
        return choose_node(wanted, self._nodes.all(), self._pods.all())

    def _pod_claims(self, pod: Object) -> list[Object]:
        """The pod's claims, each of which can be waited for. UnschedulableError for one that cannot."""
        nodes = self._nodes.all()
        ephemeral = {v["name"] for v in pod["spec"].get("volumes") or [] if v.get("ephemeral")}
        claims = []
        for volume_name, claim_name in objects.claim_volumes(pod):
            claim = self._claims.get(claim_name, pod["metadata"]["namespace"])
            if claim is None and volume_name in ephemeral:
                raise refused_before(
                    nodes,
                    f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{claim_name}"',
                )
            if claim is None:
                raise refused_before(nodes, f'persistentvolumeclaim "{claim_name}" not found')
            if objects.is_terminating(claim):
                raise refused_before(nodes, f'persistentvolumeclaim "{claim_name}" is being deleted')
            claims.append(claim)
        for claim in claims:
            storage_class = self._classes.get(claim["spec"].get("storageClassName") or "")
            waits = storage_class is not None and storage_class["volumeBindingMode"] == "WaitForFirstConsumer"
            if not objects.is_bound(claim) and not waits:
                raise refused_before(nodes, "pod has unbound immediate PersistentVolumeClaims")
        return claims

    async def _bind_claims(self, pod: Object, node_name: str) -> None:
        """PreBind: ask for each unbound claim to be provisioned for this node, and wait, silently, until all are bound."""
        namespace = pod["metadata"]["namespace"]
        unbound = [
            claim_name
            for _, claim_name in objects.claim_volumes(pod)
            if (claim := self._claims.get(claim_name, namespace)) and not objects.is_bound(claim)
        ]
        chosen = [await self._choose_for(claim_name, namespace, node_name) for claim_name in unbound]
        try:
            async with asyncio.timeout(self._pace.bind_timeout):
                for claim in chosen:
                    await self._wait_bound(pod, claim)
        except TimeoutError as error:
            raise PreBindError("context deadline exceeded") from error

    async def _choose_for(self, claim_name: str, namespace: str, node_name: str) -> Object:
        """Write the node on the claim; the claim as it is then."""
        claim = await self._client.get(PERSISTENT_VOLUME_CLAIMS, claim_name, namespace)
        if objects.annotations(claim).get(objects.SELECTED_NODE) == node_name:
            return claim
        selected = objects.with_annotations(claim, **{objects.SELECTED_NODE: node_name})
        return await self._client.update(PERSISTENT_VOLUME_CLAIMS, selected)

    async def _wait_bound(self, pod: Object, chosen: Object) -> None:
        """`chosen`: the claim with the node on it. What the cache has from before that tells nothing."""
        namespace, claim_name = objects.key_of(chosen)
        while True:
            claim = self._claims.get(claim_name, namespace)
            if claim is None:
                raise PreBindError(f'persistentvolumeclaim "{claim_name}" not found')
            if _version(claim) >= _version(chosen):
                if objects.is_bound(claim) and claim["status"].get("phase") == "Bound":
                    return
                if objects.SELECTED_NODE not in objects.annotations(claim):
                    raise PreBindError(f'selectedNode annotation reset for PVC "{claim_name}"')
            if self._pods.get(pod["metadata"]["name"], namespace) is None:
                raise PreBindError(f'pod "{pod["metadata"]["name"]}" not found')
            await asyncio.sleep(self._pace.bind_poll)

    async def _fail(self, pod: Object, reason: str, message: str) -> None:
        await self._write_condition(pod, reason, message)
        await self._events.warning(pod, "FailedScheduling", message)

    async def _write_condition(self, pod: Object, reason: str, message: str) -> None:
        known = objects.condition(pod, "PodScheduled") or {}
        if (known.get("reason"), known.get("message")) == (reason, message):
            return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastTransitionTime": timestamp(),
        }
        others = [c for c in pod["status"].get("conditions") or [] if c["type"] != "PodScheduled"]
        try:
            await self._client.patch(PODS, pod, {"status": {"conditions": [*others, condition]}}, "status")
        except StatusError as error:
            if error.reason != "NotFound":
                raise


def _version(obj: Object) -> int:
    """The scheduler, unlike any other client, compares versions; this server's are numbers."""
    return int(obj["metadata"]["resourceVersion"])
