"""Who uses the cluster: makes claims and pods, waits for what becomes of them, and removes them, as one does with kubectl."""

import asyncio
from collections.abc import Callable, Sequence

from csitrace.lab.apiserver.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    EVENTS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)
from csitrace.lab.driver_program import DriverProgram
from csitrace.lab.names import IMMEDIATE, NAMESPACE, SYSTEM_NAMESPACES, WAIT, node_name
from csitrace.lab.program import Program
from csitrace.lab.status import Object

_GRACE_SECONDS = 2
_VOLUME_SIZE = "64Mi"


class User:
    """`drivers`: those of each node, in the order of the nodes; `driver` is the first one's."""

    def __init__(self, program: Program, drivers: Sequence[DriverProgram]) -> None:
        self.drivers = drivers
        self.driver = drivers[0]
        self._client = program.client
        self._pace = program.pace
        self._pods = program.informer(PODS)
        self._claims = program.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = program.informer(PERSISTENT_VOLUMES)
        self._attachments = program.informer(VOLUME_ATTACHMENTS)
        self._events = program.informer(EVENTS)
        self._csi_nodes = program.informer(CSI_NODES)
        self._changed = asyncio.Event()
        for informer in (
            self._pods,
            self._claims,
            self._volumes,
            self._attachments,
            self._events,
            self._csi_nodes,
        ):
            informer.on_change(lambda obj, deleted: self._wake())

    def _wake(self) -> None:
        """Whoever waits now looks again; whoever comes later waits for the next change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def set_up(self) -> None:
        """Namespaces, the driver's object and its two ordinary classes."""
        for namespace in (*SYSTEM_NAMESPACES, NAMESPACE):
            await self._client.ensure(NAMESPACES, {"metadata": {"name": namespace}})
        driver: Object = {
            "metadata": {"name": self.driver.name},
            "spec": {
                "attachRequired": self.driver.attaches,
                "podInfoOnMount": True,
                "fsGroupPolicy": "None",
                "volumeLifecycleModes": ["Persistent"]
                if self.driver.attaches
                else ["Persistent", "Ephemeral"],
            },
        }
        await self._client.ensure(CSI_DRIVERS, driver)
        await self.create_class(IMMEDIATE, "Immediate")
        await self.create_class(WAIT, "WaitForFirstConsumer")

    async def create_class(self, name: str, binding_mode: str = "Immediate", **parameters: str) -> None:
        storage_class: Object = {
            "metadata": {"name": name},
            "provisioner": self.driver.name,
            "volumeBindingMode": binding_mode,
            "allowVolumeExpansion": True,
        }
        if parameters:
            storage_class["parameters"] = parameters
        await self._client.ensure(STORAGE_CLASSES, storage_class)

    async def create_claim(self, name: str, class_name: str, mode: str = "ReadWriteOnce") -> None:
        claim = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "accessModes": [mode],
                "storageClassName": class_name,
                "resources": {"requests": {"storage": _VOLUME_SIZE}},
            },
        }
        await self._client.ensure(PERSISTENT_VOLUME_CLAIMS, claim)

    async def create_pod(self, name: str, claim_name: str, node: int = 0) -> None:
        """`node`: the number of the node that it has to run on, from 1 on; 0: any."""
        where = {"nodeSelector": {"kubernetes.io/hostname": node_name(node)}} if node else {}
        pod = {
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": _GRACE_SECONDS,
                "containers": [
                    {
                        "name": "app",
                        "image": "csitrace.dev/workload:lab",
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }
                ],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}],
                **where,
            },
        }
        await self._client.ensure(PODS, pod)

    async def start(self, name: str, class_name: str) -> None:
        """A claim and a pod of the same name."""
        await self.create_claim(name, class_name)
        await self.create_pod(name, name)

    async def grow(self, name: str, size: str) -> None:
        """Ask for more room, and wait until all of it is there."""
        wanted = {"spec": {"resources": {"requests": {"storage": size}}}}
        claim = {"metadata": {"name": name, "namespace": NAMESPACE}}
        await self._client.patch(PERSISTENT_VOLUME_CLAIMS, claim, wanted)
        await self.until(lambda: _capacity(self._claims.get(name, NAMESPACE)) == size)

    async def delete_pod(self, name: str) -> None:
        """Ask for it; returns at once."""
        await self._client.delete(PODS, {"metadata": {"name": name, "namespace": NAMESPACE}})

    async def remove(self, name: str, *pods: str) -> None:
        """The pods (by default the one of the claim's name) and the claim, together; returns once all and the volume are gone."""
        pods = pods or (name,)
        volume = self.volume_of(name)
        for pod in pods:
            await self.delete_pod(pod)
        claim = {"metadata": {"name": name, "namespace": NAMESPACE}}
        await self._client.delete(PERSISTENT_VOLUME_CLAIMS, claim)
        await self.until(lambda: all(self._pods.get(pod, NAMESPACE) is None for pod in pods))
        await self.until(lambda: self._claims.get(name, NAMESPACE) is None)
        if volume is not None:
            volume_name = volume["metadata"]["name"]
            await self.until(lambda: self._volumes.get(volume_name) is None)
            await self.until(lambda: self._attachment_of(volume_name) is None)

    async def until_pod_gone(self, name: str) -> None:
        await self.until(lambda: self._pods.get(name, NAMESPACE) is None)

    async def until_registered(self) -> None:
        """Every node knows its driver, as on a cluster that has been there for a while."""
        await self.until(
            lambda: {d.node_id for d in self.drivers} <= {_registered(n) for n in self._csi_nodes.all()}
        )

    async def until_running(self, name: str) -> None:
        await self.until(lambda: _phase(self._pods.get(name, NAMESPACE)) == "Running")

    async def until_attach_fails(self, name: str) -> None:
        await self.until(lambda: self._attach_error(name) is not None)

    async def until_held_elsewhere(self, name: str) -> None:
        await self.until(lambda: self._has_event(name, "FailedAttachVolume"))

    async def until_mount_fails(self, name: str) -> None:
        await self.until(lambda: self._has_event(name, "FailedMount"))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a state of the objects."""
        while not holds():
            await self._changed.wait()

    async def pause(self, seconds: float) -> None:
        """Let the others work; real seconds, at the lab's pace."""
        await asyncio.sleep(self._pace.scaled(seconds))

    def volume_of(self, claim_name: str) -> Object | None:
        claim = self._claims.get(claim_name, NAMESPACE)
        return self._volumes.get(claim["spec"].get("volumeName", "")) if claim else None

    def volume_handle(self, claim_name: str) -> str:
        """Of a claim that is bound."""
        volume = self.volume_of(claim_name)
        if volume is None:
            raise RuntimeError(f"claim {claim_name} is not bound")
        return str(volume["spec"]["csi"]["volumeHandle"])

    def _has_event(self, name: str, reason: str) -> bool:
        return any(
            event["involvedObject"]["name"] == name and event["reason"] == reason
            for event in self._events.all()
        )

    def _attachment_of(self, volume_name: str) -> Object | None:
        for attachment in self._attachments.all():
            if attachment["spec"]["source"].get("persistentVolumeName") == volume_name:
                return attachment
        return None

    def _attach_error(self, claim_name: str) -> Object | None:
        volume = self.volume_of(claim_name)
        attachment = self._attachment_of(volume["metadata"]["name"]) if volume else None
        error: Object | None = attachment["status"].get("attachError") if attachment else None
        return error


def _phase(pod: Object | None) -> str:
    return str(pod["status"].get("phase", "")) if pod else ""


def _capacity(claim: Object | None) -> str:
    return str((claim["status"].get("capacity") or {}).get("storage", "")) if claim else ""


def _registered(csi_node: Object) -> str:
    """The node's name, if a driver is registered there."""
    return str(csi_node["metadata"]["name"]) if csi_node["spec"].get("drivers") else ""
