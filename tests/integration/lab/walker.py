"""Who lives a life of the comparison: acts as a user does, and waits until what came of it is over."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from csitrace.model.events import ObjectDeleted, RpcFinished
from csitrace.model.kubernetes import (
    Event,
    KubernetesObject,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    VolumeAttachment,
)
from csitrace.model.rpc import short_method
from tests.cluster.harness import objects
from tests.integration.lab.sequence import Recording
from tests.roads import leftovers
from tests.roads.road import Object, Place

ENDS_WELL = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


@dataclass
class Walker:
    """One life, in a namespace of its own."""

    place: Place
    recording: Recording
    namespace: str

    @property
    def first(self) -> str:
        return sorted(self.place.nodes)[0]

    @property
    def second(self) -> str:
        return sorted(self.place.nodes)[1]

    def pod(self, name: str, *claims: str, node: str = "", **spec: object) -> Object:
        made = objects.pod(name, self.place.image, ENDS_WELL, claims=claims, node=node or self.first)
        made["spec"] |= spec
        return made

    async def apply(self, *manifests: Object) -> None:
        await self.place.apply(self.namespace, *manifests)

    async def patch(self, name: str, change: Object) -> None:
        await self.place.patch(self.namespace, name, change)

    async def delete(self, *names: str) -> None:
        await self.place.delete(self.namespace, *names)

    async def bound(self, name: str) -> PersistentVolumeClaim:
        """The claim, once it is, and its provisioner has said all that it has to say."""
        found = await self.until(PersistentVolumeClaim, name, lambda c: c.status.phase == "Bound")
        assert isinstance(found, PersistentVolumeClaim)
        await self._provisioners_have_spoken()
        return found

    async def running(self, name: str) -> None:
        """The same of a pod that runs, and of its claims."""
        await self.until(Pod, name, lambda p: any(s.state.running for s in p.status.container_statuses))
        await self._provisioners_have_spoken()

    async def _provisioners_have_spoken(self) -> None:
        """external-provisioner tells its Events late, when it has much to do (five requests a second, by default), and never
        once the namespace goes."""
        claims = [obj for obj in self.recording.objects.values() if isinstance(obj, PersistentVolumeClaim)]
        for claim in claims:
            if claim.namespace == self.namespace and claim.spec.volume_name == f"pvc-{claim.uid}":
                await self.told(claim.name, "ProvisioningSucceeded")

    async def until(self, kind: Any, name: str, holds: Callable[[Any], bool]) -> Any:
        """The object, once it is as asked."""
        namespace = "" if kind is PersistentVolume else self.namespace

        def is_so(seen: Recording) -> bool:
            found = seen.find(kind, namespace, name)
            return found is not None and holds(found)

        await self.recording.until(f"{kind.__name__} {name} is as asked", is_so)
        return self.recording.find(kind, namespace, name)

    async def told(self, about: str, reason: str) -> None:
        """An Event about an object of that name has come."""

        def is_there(seen: Recording) -> bool:
            return any(
                isinstance(obj, Event)
                and obj.reason == reason
                and obj.involved_object.namespace == self.namespace
                and obj.involved_object.name == about
                for obj in seen.objects.values()
            )

        await self.recording.until(f"{reason} about {about}", is_there)

    async def gone(self, kind: Any, *names: str) -> None:
        namespace = "" if kind is PersistentVolume else self.namespace
        for name in names:
            await self.recording.until(
                f"{name} is gone",
                lambda seen, name=name: seen.find(kind, namespace, name) is None,  # type: ignore[misc]
            )

    async def cleared_away(self, pod_uid: str) -> None:
        """The nodes have no directory of a pod any more."""
        deadline = asyncio.get_running_loop().time() + self.place.patience_s
        roots = [node.kubelet_root for node in self.place.cluster.nodes]
        while left := [path for root in roots for path in leftovers.in_kubelet_root(root, {pod_uid})]:
            assert asyncio.get_running_loop().time() < deadline, "\n".join(["not cleared away:", *left])
            await asyncio.sleep(0.05)  # directories tell nobody that they go

    async def reclaim(self, volume: str, policy: str) -> None:
        """Change a PV's reclaim policy, and wait until the provisioner has taken notice."""
        await self.patch(f"pv/{volume}", {"spec": {"persistentVolumeReclaimPolicy": policy}})
        finalizer = "external-provisioner.volume.kubernetes.io/finalizer"
        is_held = policy == "Delete"
        await self.until(PersistentVolume, volume, lambda v: (finalizer in v.metadata.finalizers) is is_held)

    async def detached(self, node: str, claim_name: str = "data") -> None:
        """A claim's volume is attached there no more."""

        def is_so(seen: Recording) -> bool:
            claim = seen.find(PersistentVolumeClaim, self.namespace, claim_name)
            ours = {claim.spec.volume_name} if claim is not None else set()
            return not any(
                isinstance(obj, VolumeAttachment)
                and obj.spec.node_name == node
                and obj.spec.source.persistent_volume_name in ours
                for obj in seen.objects.values()
            )

        await self.recording.until(f"{claim_name} is attached to {node} no more", is_so)

    async def over(self) -> None:
        """No pod, no claim, no PV of ours, and each volume's last call is told: the feed has a delay of its own."""
        await self.recording.until(f"the end of {self.namespace}", self._is_over)

    def _is_over(self, seen: Recording) -> bool:
        for obj in seen.objects.values():
            if isinstance(obj, Pod | PersistentVolumeClaim) and obj.namespace == self.namespace:
                return False
            if _is_ours(obj, self.namespace):
                return False
        gone = [o.body.object for o in seen.observations if isinstance(o.body, ObjectDeleted)]
        handles = {
            obj.spec.csi.volume_handle
            for obj in gone
            if isinstance(obj, PersistentVolume) and obj.spec.csi and _is_ours(obj, self.namespace)
        }
        deleted = {
            o.body.volume_id
            for o in seen.observations
            if isinstance(o.body, RpcFinished) and short_method(o.body.method) == "DeleteVolume"
        }
        return handles <= deleted


def _is_ours(obj: KubernetesObject, namespace: str) -> bool:
    """A PV for a claim of that namespace."""
    return (
        isinstance(obj, PersistentVolume)
        and obj.spec.claim_ref is not None
        and obj.spec.claim_ref.namespace == namespace
    )
