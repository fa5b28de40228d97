"""external-attacher: answers each VolumeAttachment with ControllerPublishVolume, and its deletion with ControllerUnpublishVolume.

Writes no Events. A driver without PUBLISH_UNPUBLISH_VOLUME gets the trivial handler: attached at once, with no finalizer, no
annotation and no call. Order and back-off: external-attacher 4.12.
"""

import socket
from functools import partial

import grpc

from csitrace.csi import csi_pb2
from csitrace.lab import objects
from csitrace.lab.apiserver.resources import CSI_NODES, PERSISTENT_VOLUMES, VOLUME_ATTACHMENTS
from csitrace.lab.clock import timestamp
from csitrace.lab.csi_client import DriverClient, capability, go_text
from csitrace.lab.loops.leases import hold_lease
from csitrace.lab.program import Program
from csitrace.lab.status import Object, StatusError
from csitrace.lab.workqueue import Backoff, RetryError, WorkQueue

_CONTROLLER = csi_pb2.ControllerServiceCapability.RPC.Type
_FIRST_RETRY_SECONDS = 1.0  # --retry-interval-start
_MAX_RETRY_SECONDS = 300.0  # --retry-interval-max


async def install_attacher(driver_name: str, program: Program, driver: DriverClient) -> None:
    """Build the loop on a driver that is ready."""
    capabilities = await driver.controller_capabilities()
    Attacher(
        program,
        driver,
        driver_name,
        trivial=_CONTROLLER.PUBLISH_UNPUBLISH_VOLUME not in capabilities,
        multi_writer=_CONTROLLER.SINGLE_NODE_MULTI_WRITER in capabilities,
    )
    lease = f"external-attacher-leader-{driver_name.replace('.', '-')}"
    program.task(partial(hold_lease, program, "kube-system", lease, socket.gethostname(), 15))


class _AttachError(Exception):
    """Why it could not be attached, as it is written into the attachment's status."""


class Attacher:
    def __init__(
        self, program: Program, driver: DriverClient, driver_name: str, trivial: bool, multi_writer: bool
    ) -> None:
        self._client = program.client
        self._pace = program.pace
        self._driver = driver
        self._driver_name = driver_name
        self._finalizer = objects.attacher_finalizer(driver_name)
        self._trivial = trivial
        self._multi_writer = multi_writer
        self._attachments = program.informer(VOLUME_ATTACHMENTS)
        self._volumes = program.informer(PERSISTENT_VOLUMES)
        self._csi_nodes = program.informer(CSI_NODES)
        self._seen: dict[str, Object] = {}
        """What was last looked at of an attachment: an error that we wrote ourselves is no reason to look again."""
        backoff = Backoff(self._pace.scaled(_FIRST_RETRY_SECONDS), self._pace.scaled(_MAX_RETRY_SECONDS))
        self._queue: WorkQueue[str] = WorkQueue(self._sync_attachment, backoff)
        self._volume_queue: WorkQueue[str] = WorkQueue(self._sync_volume, backoff)
        self._attachments.on_change(self._attachment_changed)
        self._volumes.on_change(lambda volume, deleted: self._volume_queue.add(volume["metadata"]["name"]))
        program.task(self._queue.run)
        program.task(self._volume_queue.run)

    def _attachment_changed(self, attachment: Object, deleted: bool) -> None:
        name = attachment["metadata"]["name"]
        if deleted:
            self._seen.pop(name, None)
            self._volume_queue.add(attachment["spec"]["source"].get("persistentVolumeName", ""))
            return
        essence = _essence(attachment)
        if self._seen.get(name) != essence:
            self._seen[name] = essence
            self._queue.add(name)

    async def _sync_attachment(self, name: str) -> None:
        # From the server, not from the cache: one that does not show our own last write yet would have it called twice.
        attachment = await self._client.find(VOLUME_ATTACHMENTS, name)
        if attachment is None or attachment["spec"]["attacher"] != self._driver_name:
            return
        if self._trivial:
            if not attachment["status"].get("attached") and not objects.is_terminating(attachment):
                await self._client.patch(
                    VOLUME_ATTACHMENTS, attachment, {"status": {"attached": True}}, "status"
                )
        elif objects.is_terminating(attachment):
            await self._detach(attachment)
        elif not attachment["status"].get("attached"):
            await self._attach(attachment)

    async def _attach(self, attachment: Object) -> None:
        try:
            metadata = await self._publish(attachment)
        except _AttachError as error:
            await self._write_error(attachment, "attachError", str(error))
            raise RetryError from error
        status = {"attached": True, "attachmentMetadata": metadata or None, "attachError": None}
        await self._client.patch(VOLUME_ATTACHMENTS, attachment, {"status": status}, "status")

    async def _publish(self, attachment: Object) -> dict[str, str]:
        """Finalizers first, then the call: what may have been attached is never forgotten."""
        volume_name = attachment["spec"]["source"]["persistentVolumeName"]
        volume = await self._client.find(PERSISTENT_VOLUMES, volume_name)
        if volume is None:
            raise _AttachError(f'persistentvolume "{volume_name}" not found')
        if objects.is_terminating(volume):
            raise _AttachError(f'PersistentVolume "{volume_name}" is marked for deletion')
        if self._finalizer not in objects.finalizers(volume):
            await self._client.modify(PERSISTENT_VOLUMES, volume_name, self._held)
        node_id = self._node_id(attachment["spec"]["nodeName"])
        if self._finalizer not in objects.finalizers(attachment):
            await self._client.modify(
                VOLUME_ATTACHMENTS,
                attachment["metadata"]["name"],
                lambda found: objects.with_annotations(self._held(found), **{objects.CSI_NODE_ID: node_id}),
            )
        source = volume["spec"]["csi"]
        request = csi_pb2.ControllerPublishVolumeRequest(
            volume_id=source["volumeHandle"],
            node_id=node_id,
            volume_capability=capability(
                volume["spec"]["accessModes"], self._multi_writer, source.get("fsType", "")
            ),
            readonly=bool(source.get("readOnly")),
            volume_context=source.get("volumeAttributes") or {},
        )
        try:
            answer = await self._driver.controller.ControllerPublishVolume(
                request, timeout=self._pace.call_timeout
            )
        except grpc.aio.AioRpcError as error:
            raise _AttachError(go_text(error)) from error
        return dict(answer.publish_context)

    def _node_id(self, node_name: str) -> str:
        csi_node = self._csi_nodes.get(node_name)
        if csi_node is None:
            raise _AttachError(f'csinode.storage.k8s.io "{node_name}" not found')
        for driver in csi_node["spec"].get("drivers") or []:
            if driver["name"] == self._driver_name:
                return str(driver["nodeID"])
        raise _AttachError(f"CSINode {node_name} does not contain driver {self._driver_name}")

    async def _detach(self, attachment: Object) -> None:
        if self._finalizer not in objects.finalizers(attachment):
            return
        volume = self._volumes.get(attachment["spec"]["source"]["persistentVolumeName"])
        if volume is not None:
            node_id = objects.annotations(attachment).get(objects.CSI_NODE_ID, "")
            request = csi_pb2.ControllerUnpublishVolumeRequest(
                volume_id=volume["spec"]["csi"]["volumeHandle"], node_id=node_id
            )
            try:
                await self._driver.controller.ControllerUnpublishVolume(
                    request, timeout=self._pace.call_timeout
                )
            except grpc.aio.AioRpcError as error:
                await self._write_error(attachment, "detachError", go_text(error))
                raise RetryError from error
        await self._client.modify(VOLUME_ATTACHMENTS, attachment["metadata"]["name"], self._released)
        try:
            status = {"attached": False, "attachmentMetadata": None, "detachError": None}
            await self._client.patch(VOLUME_ATTACHMENTS, attachment, {"status": status}, "status")
        except StatusError as error:
            if error.reason != "NotFound":  # the usual case: without its finalizer it vanished at once
                raise

    async def _write_error(self, attachment: Object, field: str, message: str) -> None:
        error = {"time": timestamp(), "message": message}
        await self._client.patch(VOLUME_ATTACHMENTS, attachment, {"status": {field: error}}, "status")

    async def _sync_volume(self, name: str) -> None:
        """The finalizer leaves a PV under deletion once no attachment refers to it."""
        volume = self._volumes.get(name)
        if volume is None or not objects.is_terminating(volume):
            return
        if self._finalizer not in objects.finalizers(volume):
            return
        if any(a["spec"]["source"].get("persistentVolumeName") == name for a in self._attachments.all()):
            return  # looked at again when the attachment goes
        await self._client.modify(PERSISTENT_VOLUMES, name, self._released)

    def _held(self, obj: Object) -> Object:
        return objects.with_finalizer(self._released(obj), self._finalizer)

    def _released(self, obj: Object) -> Object:
        return objects.without_finalizer(obj, self._finalizer)


def _essence(attachment: Object) -> Object:
    status = {
        name: value
        for name, value in attachment["status"].items()
        if name not in ("attachError", "detachError")
    }
    metadata = attachment["metadata"] | {"resourceVersion": ""}
    return {"metadata": metadata, "spec": attachment["spec"], "status": status}
