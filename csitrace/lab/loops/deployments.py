"""Deployments and their ReplicaSets: enough to roll a pod over while its claim moves.

kube-controller-manager 1.34, pkg/controller/{deployment,replicaset}: a new pod before an old one goes (RollingUpdate, one at a
time), or after all old ones are gone (Recreate).
"""

import hashlib

import msgspec

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from csitrace.lab.program import Program
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object
from csitrace.lab.workqueue import WorkQueue

_HASH_LABEL = "pod-template-hash"


class ReplicaSets:
    """Keeps as many pods as are asked for."""

    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._events = EventRecorder(program.client, "replicaset-controller")
        self._sets = program.informer(REPLICA_SETS)
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(self._sync)
        self._sets.on_change(lambda found, deleted: self._queue.add(objects.key_of(found)))
        program.informer(PODS).on_change(self._pod_changed)
        program.task(self._queue.run)

    def _pod_changed(self, pod: Object, deleted: bool) -> None:
        owner = objects.owner_of(pod)
        if owner is not None and owner["kind"] == "ReplicaSet":
            self._queue.add((pod["metadata"]["namespace"], owner["name"]))

    async def _sync(self, key: tuple[str, str]) -> None:
        owner = self._sets.get(key[1], key[0])
        if owner is None or objects.is_terminating(owner):
            return
        found = (await self._client.list_page(PODS, key[0]))["items"]
        pods = [pod for pod in found if objects.is_owned(pod, owner)]
        alive = [pod for pod in pods if not objects.is_terminating(pod) and not objects.is_finished(pod)]
        missing = owner["spec"]["replicas"] - len(alive)
        for _ in range(missing):
            alive.append(await self._make(owner))
        # Those that are not ready go first.
        for pod in sorted(alive, key=objects.is_ready)[: max(0, -missing)]:
            await self._client.delete(PODS, pod)
            await self._events.normal(owner, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
        ready = sum(map(objects.is_ready, alive))
        status = {"replicas": len(alive), "readyReplicas": ready, "availableReplicas": ready}
        if any(owner["status"].get(name) != value for name, value in status.items()):
            await self._client.patch(REPLICA_SETS, owner, {"status": status}, "status")

    async def _make(self, owner: Object) -> Object:
        template = owner["spec"]["template"]
        pod = {
            "metadata": {
                "generateName": f"{owner['metadata']['name']}-",
                "namespace": owner["metadata"]["namespace"],
                "labels": (template.get("metadata") or {}).get("labels") or {},
                "ownerReferences": [objects.owned_by(owner)],
            },
            "spec": template["spec"],
        }
        made = await self._client.create(PODS, pod)
        await self._events.normal(owner, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")
        return made


class Deployments:
    """One ReplicaSet for each template; the newest grows while the others shrink."""

    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._events = EventRecorder(program.client, "deployment-controller")
        self._deployments = program.informer(DEPLOYMENTS)
        self._pods = program.informer(PODS)
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(self._sync)
        self._deployments.on_change(lambda found, deleted: self._queue.add(objects.key_of(found)))
        program.informer(REPLICA_SETS).on_change(self._set_changed)
        self._pods.on_change(lambda pod, deleted: self._pod_changed(pod) if deleted else None)
        program.task(self._queue.run)

    def _set_changed(self, replica_set: Object, deleted: bool) -> None:
        if owner := objects.owner_of(replica_set):
            self._queue.add((replica_set["metadata"]["namespace"], owner["name"]))

    def _pod_changed(self, pod: Object) -> None:
        """Recreate waits for old pods to be gone, not only to be leaving."""
        for deployment in self._deployments.all():
            self._queue.add(objects.key_of(deployment))

    async def _sync(self, key: tuple[str, str]) -> None:
        deployment = self._deployments.get(key[1], key[0])
        if deployment is None or objects.is_terminating(deployment):
            return
        found = (await self._client.list_page(REPLICA_SETS, key[0]))["items"]
        sets = [found_set for found_set in found if objects.is_owned(found_set, deployment)]
        name = f"{key[1]}-{_template_hash(deployment)}"
        newest = next((found_set for found_set in sets if found_set["metadata"]["name"] == name), None)
        old = [found_set for found_set in sets if found_set is not newest and found_set["spec"]["replicas"]]
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            for found_set in old:
                await self._scale(deployment, found_set, 0)
            if newest is None and (old or await self._has_pods(sets)):
                return
        wanted = deployment["spec"]["replicas"]
        if newest is None:
            newest = await self._make(deployment, name)
        if newest["spec"]["replicas"] != wanted:
            await self._scale(deployment, newest, wanted)
        elif newest["status"].get("readyReplicas", 0) >= wanted:
            for found_set in old:
                await self._scale(deployment, found_set, 0)

    async def _has_pods(self, sets: list[Object]) -> bool:
        if not sets:
            return False
        pods = (await self._client.list_page(PODS, sets[0]["metadata"]["namespace"]))["items"]
        return any(objects.is_owned(pod, found_set) for pod in pods for found_set in sets)

    async def _make(self, deployment: Object, name: str) -> Object:
        template = deployment["spec"]["template"]
        hashed = {_HASH_LABEL: _template_hash(deployment)}
        labels = ((template.get("metadata") or {}).get("labels") or {}) | hashed
        made = {
            "metadata": {
                "name": name,
                "namespace": deployment["metadata"]["namespace"],
                "labels": labels,
                "ownerReferences": [objects.owned_by(deployment)],
            },
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": template | {"metadata": {"labels": labels}},
            },
        }
        return await self._client.ensure(REPLICA_SETS, made)

    async def _scale(self, deployment: Object, replica_set: Object, replicas: int) -> None:
        before, name = replica_set["spec"]["replicas"], replica_set["metadata"]["name"]
        await self._client.patch(REPLICA_SETS, replica_set, {"spec": {"replicas": replicas}})
        direction = "up" if replicas > before else "down"
        message = f"Scaled {direction} replica set {name} from {before} to {replicas}"
        await self._events.normal(deployment, "ScalingReplicaSet", message)


def _template_hash(deployment: Object) -> str:
    template = msgspec.json.encode(deployment["spec"]["template"], order="deterministic")
    return hashlib.sha256(template).hexdigest()[:10]
