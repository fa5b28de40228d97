"""external-provisioner: makes a volume for a claim that is handed to it, and deletes it when its PV is released.

Order, messages and the classification of codes: external-provisioner 6.3 and its library.
"""

import secrets
import socket
import time
import uuid
from functools import partial

import grpc

from csitrace.csi import csi_pb2
from csitrace.lab import objects
from csitrace.lab.apiserver.resources import (
    CSI_NODES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)
from csitrace.lab.csi_client import DriverClient, capability, go_text, topology
from csitrace.lab.loops.leases import hold_lease
from csitrace.lab.program import Program
from csitrace.lab.quantity import format_quantity, parse_quantity
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object
from csitrace.lab.workqueue import Backoff, RetryError, WorkQueue

_CONTROLLER = csi_pb2.ControllerServiceCapability.RPC.Type
_PLUGIN = csi_pb2.PluginCapability.Service.Type
_FIRST_RETRY_SECONDS = 1.0  # --retry-interval-start
_MAX_RETRY_SECONDS = 300.0  # --retry-interval-max
_METADATA_PREFIX = "csi.storage.k8s.io/"
"""Parameters with it speak to the sidecars, not to the driver."""


_SOURCES = {
    "PersistentVolumeClaim": (
        _CONTROLLER.CLONE_VOLUME,
        "CSI driver does not support clone operations: controller CLONE_VOLUME capability is not reported",
    ),
    "VolumeSnapshot": (
        _CONTROLLER.CREATE_DELETE_SNAPSHOT,
        "CSI driver does not support snapshot restore: controller CREATE_DELETE_SNAPSHOT capability is not reported",
    ),
}
"""Kinds of data sources that are a driver's affair: the capability it needs, and what is said of one that has it not."""


async def install_provisioner(driver_name: str, program: Program, driver: DriverClient) -> None:
    """Build the loop on a driver that is ready."""
    Provisioner(
        program,
        driver,
        driver_name,
        topology_aware=_PLUGIN.VOLUME_ACCESSIBILITY_CONSTRAINTS in await driver.plugin_capabilities(),
        capabilities=await driver.controller_capabilities(),
    )
    program.task(
        partial(hold_lease, program, "kube-system", driver_name.replace(".", "-"), socket.gethostname(), 15)
    )


class _RefusedError(Exception):
    """The provisioner itself will not ask the driver; the text of its ProvisioningFailed event."""


class Provisioner:
    def __init__(
        self,
        program: Program,
        driver: DriverClient,
        driver_name: str,
        topology_aware: bool,
        capabilities: set[int],
    ) -> None:
        self._client = program.client
        self._pace = program.pace
        self._driver = driver
        self._driver_name = driver_name
        self._topology_aware = topology_aware
        self._capabilities = capabilities
        self._identity = f"{time.time_ns() // 1_000_000}-{secrets.randbelow(10_000)}-{driver_name}"
        component = f"{driver_name}_{socket.gethostname()}_{uuid.uuid4()}"
        self._events = EventRecorder(program.client, component)
        self._claims = program.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = program.informer(PERSISTENT_VOLUMES)
        self._classes = program.informer(STORAGE_CLASSES)
        self._attachments = program.informer(VOLUME_ATTACHMENTS)
        self._nodes = program.informer(NODES)
        self._csi_nodes = program.informer(CSI_NODES)
        self._provisioned: set[str] = set()
        """uids of claims whose PV this run has made: the cache may not have it yet."""
        backoff = Backoff(self._pace.scaled(_FIRST_RETRY_SECONDS), self._pace.scaled(_MAX_RETRY_SECONDS))
        claims: WorkQueue[tuple[str, str]] = WorkQueue(self._sync_claim, backoff)
        volumes: WorkQueue[str] = WorkQueue(self._sync_volume, backoff)
        self._claims.on_change(lambda claim, deleted: claims.add_unless_failing(objects.key_of(claim)))
        self._volumes.on_change(
            lambda volume, deleted: volumes.add_unless_failing(volume["metadata"]["name"])
        )
        program.task(claims.run)
        program.task(volumes.run)

    async def _sync_claim(self, key: tuple[str, str]) -> None:
        claim = self._claims.get(key[1], key[0])
        if claim is None or not self._should_provision(claim):
            return
        storage_class = self._classes.get(claim["spec"].get("storageClassName") or "")
        if storage_class is None:
            raise RetryError
        if (source := claim["spec"].get("dataSource")) and source["kind"] not in _SOURCES:
            return  # an external populator's affair
        full_name = "/".join(key)
        message = f'External provisioner is provisioning volume for claim "{full_name}"'
        await self._events.normal(claim, "Provisioning", message)
        try:
            request = self._create_request(claim, storage_class)
            answer = await self._driver.controller.CreateVolume(request, timeout=self._pace.call_timeout)
        except _RefusedError as error:
            await self._events.warning(claim, "ProvisioningFailed", str(error))
            raise RetryError from error
        except grpc.aio.AioRpcError as error:
            await self._provisioning_failed(claim, error)
            raise RetryError from error
        volume = self._volume_object(claim, storage_class, answer.volume)
        await self._client.ensure(PERSISTENT_VOLUMES, volume)
        self._provisioned.add(claim["metadata"]["uid"])
        message = f"Successfully provisioned volume {volume['metadata']['name']}"
        await self._events.normal(claim, "ProvisioningSucceeded", message)

    def _should_provision(self, claim: Object) -> bool:
        marks = objects.annotations(claim)
        if marks.get(objects.STORAGE_PROVISIONER) != self._driver_name or claim["spec"].get("volumeName"):
            return False
        if claim["metadata"]["uid"] in self._provisioned or self._volumes.get(objects.volume_name(claim)):
            return False
        storage_class = self._classes.get(claim["spec"].get("storageClassName") or "")
        waits = (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"
        return not waits or objects.SELECTED_NODE in marks

    def _create_request(self, claim: Object, storage_class: Object) -> csi_pb2.CreateVolumeRequest:
        if source := claim["spec"].get("dataSource"):
            self._check_source(source)
        multi_writer = _CONTROLLER.SINGLE_NODE_MULTI_WRITER in self._capabilities
        size = parse_quantity(claim["spec"]["resources"]["requests"]["storage"])
        parameters = storage_class.get("parameters") or {}
        return csi_pb2.CreateVolumeRequest(
            name=objects.volume_name(claim),
            capacity_range=csi_pb2.CapacityRange(required_bytes=size),
            volume_capabilities=[capability([mode], multi_writer) for mode in claim["spec"]["accessModes"]],
            parameters={
                name: value for name, value in parameters.items() if not name.startswith(_METADATA_PREFIX)
            },
            accessibility_requirements=self._requirements(claim) if self._topology_aware else None,
        )

    def _check_source(self, source: Object) -> None:
        needed, text = _SOURCES[source["kind"]]
        if needed not in self._capabilities:
            raise _RefusedError(text)

    def _requirements(self, claim: Object) -> csi_pb2.TopologyRequirement:
        """The selected node's topology; without a selected node that of every node that has the driver."""
        selected = objects.annotations(claim).get(objects.SELECTED_NODE, "")
        found = []
        for csi_node in self._csi_nodes.all():
            name = csi_node["metadata"]["name"]
            drivers = csi_node["spec"].get("drivers") or []
            keys = next((d.get("topologyKeys") or [] for d in drivers if d["name"] == self._driver_name), [])
            node = self._nodes.get(name)
            if keys and node and selected in ("", name):
                found.append(topology(node["metadata"].get("labels") or {}, keys))
        if not found:
            where = (
                f"no topology key found for node {selected}" if selected else "no available topology found"
            )
            raise _RefusedError(f"error generating accessibility requirements: {where}")
        return csi_pb2.TopologyRequirement(requisite=found, preferred=found)

    async def _provisioning_failed(self, claim: Object, error: grpc.aio.AioRpcError) -> None:
        text = go_text(error)
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            text = f"Volume provisioning failed with infeasible error. Retries will be delayed. {text}"
        await self._events.warning(claim, "ProvisioningFailed", text)
        exhausted = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        if exhausted and self._topology_aware and objects.SELECTED_NODE in objects.annotations(claim):
            # Not on this node: let the scheduler choose again.
            change = {"metadata": {"annotations": {objects.SELECTED_NODE: None}}}
            await self._client.patch(PERSISTENT_VOLUME_CLAIMS, claim, change)

    def _volume_object(self, claim: Object, storage_class: Object, made: csi_pb2.Volume) -> Object:
        namespace, name = objects.key_of(claim)
        spec: Object = {
            "capacity": {
                "storage": format_quantity(made.capacity_bytes)
                if made.capacity_bytes
                else claim["spec"]["resources"]["requests"]["storage"]
            },
            "accessModes": claim["spec"]["accessModes"],
            "claimRef": {
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                "namespace": namespace,
                "name": name,
                "uid": claim["metadata"]["uid"],
                "resourceVersion": claim["metadata"]["resourceVersion"],
            },
            "csi": {
                "driver": self._driver_name,
                "volumeHandle": made.volume_id,
                "volumeAttributes": dict(made.volume_context)
                | {"storage.kubernetes.io/csiProvisionerIdentity": self._identity},
            },
            "persistentVolumeReclaimPolicy": storage_class["reclaimPolicy"],
            "storageClassName": storage_class["metadata"]["name"],
            "volumeMode": claim["spec"]["volumeMode"],
        }
        if made.accessible_topology:
            spec["nodeAffinity"] = {
                "required": {"nodeSelectorTerms": [_term(place) for place in made.accessible_topology]}
            }
        return {
            "metadata": {
                "name": objects.volume_name(claim),
                "annotations": {
                    objects.PROVISIONED_BY: self._driver_name,
                    "volume.kubernetes.io/provisioner-deletion-secret-name": "",
                    "volume.kubernetes.io/provisioner-deletion-secret-namespace": "",
                },
                "finalizers": [objects.PROVISIONER_FINALIZER],
            },
            "spec": spec,
        }

    async def _sync_volume(self, name: str) -> None:
        volume = self._volumes.get(name)
        if volume is None:
            return
        if volume["status"].get("phase") == "Bound":
            await self._hold_or_let_go(volume)
        if not self._should_delete(volume):
            return
        for attachment in self._attachments.all():
            if attachment["spec"]["source"].get("persistentVolumeName") == name:
                message = (
                    f"persistentvolume {name} is still attached to node {attachment['spec']['nodeName']}"
                )
                await self._events.warning(volume, "VolumeFailedDelete", message)
                raise RetryError
        request = csi_pb2.DeleteVolumeRequest(volume_id=volume["spec"]["csi"]["volumeHandle"])
        try:
            await self._driver.controller.DeleteVolume(request, timeout=self._pace.call_timeout)
        except grpc.aio.AioRpcError as error:
            await self._events.warning(volume, "VolumeFailedDelete", go_text(error))
            raise RetryError from error
        await self._client.delete(PERSISTENT_VOLUMES, volume)
        await self._client.modify(
            PERSISTENT_VOLUMES,
            name,
            partial(objects.without_finalizer, finalizer=objects.PROVISIONER_FINALIZER),
        )

    async def _hold_or_let_go(self, volume: Object) -> None:
        """A bound volume has the finalizer as long as it is to be deleted with its claim."""
        if objects.annotations(volume).get(objects.PROVISIONED_BY) != self._driver_name:
            return
        is_held = objects.PROVISIONER_FINALIZER in objects.finalizers(volume)
        is_to_be = volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        if is_held != is_to_be and not objects.is_terminating(volume):
            change = objects.with_finalizer if is_to_be else objects.without_finalizer
            await self._client.update(PERSISTENT_VOLUMES, change(volume, objects.PROVISIONER_FINALIZER))

    def _should_delete(self, volume: Object) -> bool:
        return (
            volume["status"].get("phase") == "Released"
            and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
            and objects.annotations(volume).get(objects.PROVISIONED_BY) == self._driver_name
            and objects.PROVISIONER_FINALIZER in objects.finalizers(volume)
        )


def _term(place: csi_pb2.Topology) -> Object:
    return {
        "matchExpressions": [
            {"key": key, "operator": "In", "values": [value]} for key, value in sorted(place.segments.items())
        ]
    }
