"""StatefulSets: pods with a number and claims of their own, made and taken away one after the other.

kube-controller-manager 1.34, pkg/controller/statefulset: OrderedReady alone, and claims that stay.
"""

import copy

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from csitrace.lab.program import Program
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object
from csitrace.lab.workqueue import WorkQueue


class StatefulSets:
    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._events = EventRecorder(program.client, "statefulset-controller")
        self._sets = program.informer(STATEFUL_SETS)
        self._pods = program.informer(PODS)
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(self._sync)
        self._sets.on_change(lambda found, deleted: self._queue.add(objects.key_of(found)))
        self._pods.on_change(self._pod_changed)
        program.task(self._queue.run)

    def _pod_changed(self, pod: Object, deleted: bool) -> None:
        owner = objects.owner_of(pod)
        if owner is not None and owner["kind"] == "StatefulSet":
            self._queue.add((pod["metadata"]["namespace"], owner["name"]))

    async def _sync(self, key: tuple[str, str]) -> None:
        owner = self._sets.get(key[1], key[0])
        if owner is None or objects.is_terminating(owner):
            return
        # Of what the cache has it may be behind: a pod that was just made is there for the server.
        found = (await self._client.list_page(PODS, key[0]))["items"]
        pods = {pod["metadata"]["name"]: pod for pod in found if objects.is_owned(pod, owner)}
        await self._step(owner, pods)
        ready = sum(objects.is_ready(pod) for pod in pods.values())
        status = {"replicas": len(pods), "readyReplicas": ready, "availableReplicas": ready}
        if any(owner["status"].get(name) != value for name, value in status.items()):
            await self._client.patch(STATEFUL_SETS, owner, {"status": status}, "status")

    async def _step(self, owner: Object, pods: dict[str, Object]) -> None:
        """One move at most: the lowest pod that is missing, else the highest that is too many; each waits for those before it."""
        replicas = owner["spec"]["replicas"]
        for number in range(replicas):
            name = f"{owner['metadata']['name']}-{number}"
            pod = pods.get(name)
            if pod is None:
                await self._make(owner, name, number)
                return
            if objects.is_terminating(pod) or not objects.is_ready(pod):
                return
        surplus = sorted((_number(name), name) for name in pods if _number(name) >= replicas)
        if surplus and not any(objects.is_terminating(pod) for pod in pods.values()):
            name = surplus[-1][1]
            await self._client.delete(PODS, pods[name])
            message = f"delete Pod {name} in StatefulSet {owner['metadata']['name']} successful"
            await self._events.normal(owner, "SuccessfulDelete", message)

    async def _make(self, owner: Object, name: str, number: int) -> None:
        """The pod's claims first, then the pod."""
        namespace, set_name = objects.key_of(owner)
        spec = copy.deepcopy(owner["spec"]["template"]["spec"])
        volumes = spec.setdefault("volumes", [])
        for template in owner["spec"].get("volumeClaimTemplates") or []:
            claim_name = f"{template['metadata']['name']}-{name}"
            labels = owner["spec"]["selector"].get("matchLabels") or {}
            claim = {
                "metadata": {"name": claim_name, "namespace": namespace, "labels": labels},
                "spec": template["spec"],
            }
            if await self._client.find(PERSISTENT_VOLUME_CLAIMS, claim_name, namespace) is None:
                await self._client.ensure(PERSISTENT_VOLUME_CLAIMS, claim)
                message = f"create Claim {claim_name} Pod {name} in StatefulSet {set_name} success"
                await self._events.normal(owner, "SuccessfulCreate", message)
            volumes.append(
                {
                    "name": template["metadata"]["name"],
                    "persistentVolumeClaim": {"claimName": claim_name},
                }
            )
        labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
        pod = {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": labels
                | {"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": str(number)},
                "ownerReferences": [objects.owned_by(owner)],
            },
            "spec": spec | {"hostname": name},
        }
        await self._client.ensure(PODS, pod)
        message = f"create Pod {name} in StatefulSet {set_name} successful"
        await self._events.normal(owner, "SuccessfulCreate", message)


def _number(pod_name: str) -> int:
    return int(pod_name.rpartition("-")[2])
