"""The ephemeral volume controller: makes the claim of each generic ephemeral volume of a pod.

kube-controller-manager 1.34, pkg/controller/volume/ephemeral.
"""

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from csitrace.lab.program import Program
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object
from csitrace.lab.workqueue import RetryError, WorkQueue


class EphemeralClaims:
    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._events = EventRecorder(program.client, "ephemeral_volume")
        self._pods = program.informer(PODS)
        self._claims = program.informer(PERSISTENT_VOLUME_CLAIMS)
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(self._sync)
        self._pods.on_change(self._pod_changed)
        self._claims.on_change(self._claim_changed)
        program.task(self._queue.run)

    def _pod_changed(self, pod: Object, deleted: bool) -> None:
        if not deleted and any(volume.get("ephemeral") for volume in pod["spec"].get("volumes") or []):
            self._queue.add(objects.key_of(pod))

    def _claim_changed(self, claim: Object, deleted: bool) -> None:
        """One that goes may have been in the way of another."""
        for pod in self._pods.all() if deleted else []:
            if (claim["metadata"]["namespace"], claim["metadata"]["name"]) in _ephemeral_claims(pod):
                self._queue.add(objects.key_of(pod))

    async def _sync(self, key: tuple[str, str]) -> None:
        pod = self._pods.get(key[1], key[0])
        if pod is None or objects.is_terminating(pod):
            return
        for volume in pod["spec"].get("volumes") or []:
            if source := volume.get("ephemeral"):
                await self._ensure_claim(pod, volume["name"], source["volumeClaimTemplate"])

    async def _ensure_claim(self, pod: Object, volume_name: str, template: Object) -> None:
        name = objects.ephemeral_claim_name(pod, {"name": volume_name})
        namespace = pod["metadata"]["namespace"]
        metadata = (template.get("metadata") or {}) | {
            "name": name,
            "namespace": namespace,
            "ownerReferences": [objects.owned_by(pod)],
        }
        claim = await self._client.ensure(
            PERSISTENT_VOLUME_CLAIMS, {"metadata": metadata, "spec": template["spec"]}
        )
        if not objects.is_owned(claim, pod):
            message = (
                f"ephemeral volume {volume_name}: PVC {namespace}/{name} was not created for pod "
                f"{namespace}/{pod['metadata']['name']} (pod is not owner)"
            )
            await self._events.warning(pod, "FailedBinding", message)
            raise RetryError


def _ephemeral_claims(pod: Object) -> set[tuple[str, str]]:
    namespace = pod["metadata"]["namespace"]
    return {
        (namespace, objects.ephemeral_claim_name(pod, volume))
        for volume in pod["spec"].get("volumes") or []
        if volume.get("ephemeral")
    }
