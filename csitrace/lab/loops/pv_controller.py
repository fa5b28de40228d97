"""PV controller of kube-controller-manager: claims wait, are handed to the provisioner, and are bound to volumes.

Source of the order of writes and of the messages: pkg/controller/volume/persistentvolume of Kubernetes 1.34.
"""

import asyncio

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    Resource,
)
from csitrace.lab.program import Program
from csitrace.lab.quantity import parse_quantity
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object
from csitrace.lab.workqueue import WorkQueue


class PersistentVolumeController:
    """Reconciles every claim and every volume on change, and claims again at each resync."""

    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._pace = program.pace
        self._events = EventRecorder(program.client, "persistentvolume-controller")
        self._claims = program.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = program.informer(PERSISTENT_VOLUMES)
        self._classes = program.informer(STORAGE_CLASSES)
        self._pods = program.informer(PODS)
        self._claim_queue: WorkQueue[tuple[str, str]] = WorkQueue(self._sync_claim)
        self._volume_queue: WorkQueue[str] = WorkQueue(self._sync_volume)
        self._own_writes: dict[str, str] = {}
        """uid -> the version we wrote last: the controller knows it already and does not reconcile it again."""
        self._claims.on_change(self._claim_changed)
        self._volumes.on_change(self._volume_changed)
        program.task(self._claim_queue.run)
        program.task(self._volume_queue.run)
        program.task(self._resync)

    def _claim_changed(self, claim: Object, deleted: bool) -> None:
        if not self._is_own_write(claim, deleted):
            self._claim_queue.add(objects.key_of(claim))
        if deleted and (name := claim["spec"].get("volumeName")):
            self._volume_queue.add(name)

    def _volume_changed(self, volume: Object, deleted: bool) -> None:
        if not self._is_own_write(volume, deleted):
            self._volume_queue.add(volume["metadata"]["name"])

    def _is_own_write(self, obj: Object, deleted: bool) -> bool:
        metadata = obj["metadata"]
        if deleted:
            self._own_writes.pop(metadata["uid"], None)
        return not deleted and self._own_writes.get(metadata["uid"]) == metadata["resourceVersion"]

    async def _write(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        written = await self._client.update(resource, obj, subresource)
        self._own_writes[written["metadata"]["uid"]] = written["metadata"]["resourceVersion"]
        return written

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._pace.claim_resync)
            for claim in self._claims.all():
                self._claim_queue.add(objects.key_of(claim))

    async def _sync_claim(self, key: tuple[str, str]) -> None:
        claim = self._claims.get(key[1], key[0])
        if claim is None:
            return
        if objects.BIND_COMPLETED in objects.annotations(claim):
            await self._sync_bound_claim(claim)
        elif name := claim["spec"].get("volumeName"):
            await self._sync_named(claim, name)
        elif (volume := self._find_volume(claim)) is not None:
            await self._bind(volume, claim)
        else:
            await self._wait_or_provision(claim)

    async def _sync_named(self, claim: Object, name: str) -> None:
        """A claim that asks for one volume, and for no other."""
        volume = self._volumes.get(name)
        if volume is None:
            return  # looked at again when it comes, or at the next resync
        if not volume["spec"].get("claimRef") and (why := _mismatch(volume, claim)):
            message = f'Cannot bind to requested volume "{name}": {why}'
            await self._events.warning(claim, "VolumeMismatch", message)
        elif _may_bind(volume, claim):
            await self._bind(volume, claim)
        else:
            message = f'volume "{name}" already bound to a different claim.'
            await self._events.warning(claim, "FailedBinding", message)

    async def _sync_bound_claim(self, claim: Object) -> None:
        volume = self._volumes.get(claim["spec"]["volumeName"])
        if volume is not None and _is_claimed_by(volume, claim):
            await self._bind(volume, claim)
        elif claim["status"].get("phase") != "Lost":
            await self._client.patch(PERSISTENT_VOLUME_CLAIMS, claim, {"status": {"phase": "Lost"}}, "status")
            message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            await self._events.warning(claim, "ClaimLost", message)

    async def _wait_or_provision(self, claim: Object) -> None:
        class_name = claim["spec"].get("storageClassName") or ""
        if not class_name:
            message = "no persistent volumes available for this claim and no storage class is set"
            await self._events.normal(claim, "FailedBinding", message)
            return
        storage_class = self._classes.get(class_name)
        if storage_class is None:
            message = f'storageclass.storage.k8s.io "{class_name}" not found'
            await self._events.warning(claim, "ProvisioningFailed", message)
        elif _waits_for_consumer(storage_class) and objects.SELECTED_NODE not in objects.annotations(claim):
            await self._tell_why_unbound(claim)
        else:
            await self._hand_to_provisioner(claim, storage_class["provisioner"])

    async def _tell_why_unbound(self, claim: Object) -> None:
        namespace, name = objects.key_of(claim)
        waiting = sorted(
            pod["metadata"]["name"]
            for pod in self._pods.all()
            if pod["metadata"]["namespace"] == namespace
            and not pod["spec"].get("nodeName")
            and any(claim_name == name for _, claim_name in objects.claim_volumes(pod))
        )
        if waiting:
            pods = f"pod{'s' * (len(waiting) > 1)} {','.join(waiting)}"
            await self._events.normal(claim, "WaitForPodScheduled", f"waiting for {pods} to be scheduled")
        else:
            message = "waiting for first consumer to be created before binding"
            await self._events.normal(claim, "WaitForFirstConsumer", message)

    async def _hand_to_provisioner(self, claim: Object, provisioner: str) -> None:
        wanted = {objects.STORAGE_PROVISIONER_BETA: provisioner, objects.STORAGE_PROVISIONER: provisioner}
        if wanted.items() - objects.annotations(claim).items():
            claim = await self._write(PERSISTENT_VOLUME_CLAIMS, objects.with_annotations(claim, **wanted))
        message = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
            "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
            "correctly registered."
        )
        await self._events.normal(claim, "ExternalProvisioning", message)

    def _find_volume(self, claim: Object) -> Object | None:
        """The volume made for this claim; else the smallest free one that fits it."""
        volumes = [volume for volume in self._volumes.all() if not objects.is_terminating(volume)]
        for volume in volumes:
            if _is_claimed_by(volume, claim):
                return volume
        fitting = [volume for volume in volumes if _fits(volume, claim)]
        return min(
            fitting, key=lambda volume: parse_quantity(volume["spec"]["capacity"]["storage"]), default=None
        )

    async def _bind(self, volume: Object, claim: Object) -> None:
        """Volume's reference, volume's phase, claim's reference, claim's phase: each written only where it is missing."""
        if not _is_claimed_by(volume, claim) or not (volume["spec"].get("claimRef") or {}).get("uid"):
            volume = await self._write(PERSISTENT_VOLUMES, _claimed(volume, claim))
        if volume["status"].get("phase") != "Bound":
            volume = await self._write(
                PERSISTENT_VOLUMES, volume | {"status": volume["status"] | {"phase": "Bound"}}, "status"
            )
        if not objects.is_bound(claim):
            marks = {objects.BIND_COMPLETED: "yes"}
            if not claim["spec"].get("volumeName"):
                marks[objects.BOUND_BY_CONTROLLER] = "yes"
            spec = claim["spec"] | {"volumeName": volume["metadata"]["name"]}
            claim = await self._write(
                PERSISTENT_VOLUME_CLAIMS, objects.with_annotations(claim | {"spec": spec}, **marks)
            )
        status = {
            "phase": "Bound",
            "accessModes": volume["spec"]["accessModes"],
            "capacity": volume["spec"]["capacity"],
        }
        # Later on the claim's capacity is the affair of who expands it.
        if claim["status"].get("phase") != "Bound":
            await self._write(
                PERSISTENT_VOLUME_CLAIMS, claim | {"status": claim["status"] | status}, "status"
            )

    async def _sync_volume(self, name: str) -> None:
        volume = self._volumes.get(name)
        if volume is None:
            return
        plugin = objects.annotations(volume).get(objects.PROVISIONED_BY, "")
        if (driver := _MIGRATED.get(plugin)) and objects.MIGRATED_TO not in objects.annotations(volume):
            marked = objects.with_annotations(volume, **{objects.MIGRATED_TO: driver})
            volume = await self._write(PERSISTENT_VOLUMES, marked)
        reference = volume["spec"].get("claimRef") or {}
        if not reference.get("uid"):
            await self._set_phase(volume, "Available")
            for waiting in self._claims.all():
                if waiting["spec"].get("volumeName") == name and not objects.is_bound(waiting):
                    self._claim_queue.add(objects.key_of(waiting))
            return
        claim = self._claims.get(reference["name"], reference["namespace"])
        if claim is None or claim["metadata"]["uid"] != reference["uid"]:
            # A cache can be behind a claim that was just made: believe only the server that it is gone.
            claim = await self._client.find(
                PERSISTENT_VOLUME_CLAIMS, reference["name"], reference["namespace"]
            )
        if claim is None or claim["metadata"]["uid"] != reference["uid"]:
            await self._set_phase(volume, "Released")
        elif not claim["spec"].get("volumeName"):
            self._claim_queue.add(objects.key_of(claim))
        else:
            await self._set_phase(volume, "Bound")

    async def _set_phase(self, volume: Object, phase: str) -> None:
        if volume["status"].get("phase") != phase:
            changed = volume | {"status": volume["status"] | {"phase": phase}}
            await self._write(PERSISTENT_VOLUMES, changed, "status")


_MIGRATED = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
}
"""In-tree plugins and the CSI drivers that do their work now: staging/src/k8s.io/csi-translation-lib."""


def _mismatch(volume: Object, claim: Object) -> str:
    """The first thing in which a volume is not what a claim asks for, in the controller's words."""
    spec, wanted = volume["spec"], claim["spec"]
    size = wanted["resources"]["requests"]["storage"]
    if parse_quantity(spec["capacity"]["storage"]) < parse_quantity(size):
        return "requested PV is too small"
    if spec.get("storageClassName", "") != (wanted.get("storageClassName") or ""):
        return "storageClassName does not match"
    if spec["volumeMode"] != wanted["volumeMode"]:
        return "incompatible volumeMode"
    return "" if set(wanted["accessModes"]) <= set(spec["accessModes"]) else "incompatible accessMode"


def _waits_for_consumer(storage_class: Object) -> bool:
    return bool(storage_class.get("volumeBindingMode") == "WaitForFirstConsumer")


def _is_claimed_by(volume: Object, claim: Object) -> bool:
    """The volume's reference names this claim; one set by an administrator has no uid yet."""
    reference = volume["spec"].get("claimRef") or {}
    return (reference.get("namespace"), reference.get("name")) == objects.key_of(claim) and reference.get(
        "uid", ""
    ) in ("", claim["metadata"]["uid"])


def _may_bind(volume: Object, claim: Object) -> bool:
    return not volume["spec"].get("claimRef") or _is_claimed_by(volume, claim)


def _claimed(volume: Object, claim: Object) -> Object:
    namespace, name = objects.key_of(claim)
    preset = bool(volume["spec"].get("claimRef"))
    reference = {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": namespace,
        "name": name,
        "uid": claim["metadata"]["uid"],
        "resourceVersion": claim["metadata"]["resourceVersion"],
    }
    claimed = volume | {"spec": volume["spec"] | {"claimRef": reference}}
    return claimed if preset else objects.with_annotations(claimed, **{objects.BOUND_BY_CONTROLLER: "yes"})


def _fits(volume: Object, claim: Object) -> bool:
    return not volume["spec"].get("claimRef") and not _mismatch(volume, claim)
