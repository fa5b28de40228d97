"""The controllers that take the protection finalizers off claims and volumes nobody uses any more.

pvc-protection waits for every pod object that is scheduled and refers to the claim, a finished one included;
pv-protection waits while the volume is Bound. Neither writes Events.
"""

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from csitrace.lab.program import Program
from csitrace.lab.status import Object
from csitrace.lab.workqueue import WorkQueue


class ClaimProtection:
    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._claims = program.informer(PERSISTENT_VOLUME_CLAIMS)
        self._pods = program.informer(PODS)
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(self._sync)
        self._claims.on_change(lambda claim, deleted: self._queue.add(objects.key_of(claim)))
        self._pods.on_change(self._pod_changed)
        program.task(self._queue.run)

    def _pod_changed(self, pod: Object, deleted: bool) -> None:
        for _, claim_name in objects.claim_volumes(pod):
            self._queue.add((pod["metadata"]["namespace"], claim_name))

    async def _sync(self, key: tuple[str, str]) -> None:
        namespace, name = key
        claim = self._claims.get(name, namespace)
        if claim is None or not objects.is_terminating(claim):
            return
        if objects.PVC_PROTECTION in objects.finalizers(claim) and not self._is_used(namespace, name):
            freed = objects.without_finalizer(claim, objects.PVC_PROTECTION)
            await self._client.update(PERSISTENT_VOLUME_CLAIMS, freed)

    def _is_used(self, namespace: str, name: str) -> bool:
        return any(
            pod["metadata"]["namespace"] == namespace
            and pod["spec"].get("nodeName")
            and any(claim_name == name for _, claim_name in objects.claim_volumes(pod))
            for pod in self._pods.all()
        )


class VolumeProtection:
    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._volumes = program.informer(PERSISTENT_VOLUMES)
        self._queue: WorkQueue[str] = WorkQueue(self._sync)
        self._volumes.on_change(lambda volume, deleted: self._queue.add(volume["metadata"]["name"]))
        program.task(self._queue.run)

    async def _sync(self, name: str) -> None:
        volume = self._volumes.get(name)
        if volume is None or not objects.is_terminating(volume):
            return
        if objects.PV_PROTECTION in objects.finalizers(volume) and volume["status"].get("phase") != "Bound":
            freed = objects.without_finalizer(volume, objects.PV_PROTECTION)
            await self._client.update(PERSISTENT_VOLUMES, freed)
