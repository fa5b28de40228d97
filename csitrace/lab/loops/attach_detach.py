"""Attach/detach controller: makes and removes VolumeAttachments, and tells the node what is attached.

Order and messages: pkg/controller/volume/attachdetach and pkg/volume/csi of Kubernetes 1.34. The desired state comes from
pods, the actual one from the attachments; node.status.volumesAttached follows the actual state, and loses a volume *before*
its detach.
"""

import asyncio
from dataclasses import dataclass

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import (
    CSI_DRIVERS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    VOLUME_ATTACHMENTS,
)
from csitrace.lab.program import Program
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object, StatusError
from csitrace.lab.workqueue import Backoff, RetryError, WorkQueue

_SINGLE_NODE_MODES = frozenset({"ReadWriteOnce", "ReadWriteOncePod"})
_MANY_NODE_MODES = frozenset({"ReadWriteMany", "ReadOnlyMany"})
_FIRST_RETRY_SECONDS = 0.5  # the operation executor's exponential back-off
_MAX_RETRY_SECONDS = 122.0


@dataclass(frozen=True, slots=True)
class Attachment:
    """One volume on one node."""

    volume_name: str
    driver: str
    volume_handle: str
    node_name: str

    @property
    def object_name(self) -> str:
        return objects.attachment_name(self.volume_handle, self.driver, self.node_name)

    @property
    def unique_name(self) -> str:
        return objects.unique_volume_name(self.driver, self.volume_handle)


class AttachDetachController:
    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._pace = program.pace
        self._events = EventRecorder(program.client, "attachdetach-controller")
        self._pods = program.informer(PODS)
        self._claims = program.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = program.informer(PERSISTENT_VOLUMES)
        self._nodes = program.informer(NODES)
        self._drivers = program.informer(CSI_DRIVERS)
        self._attachments = program.informer(VOLUME_ATTACHMENTS)
        self._announced: set[Attachment] = set()
        """Attached, and told so: in volumesAttached, pods told by an Event."""
        self._started: set[Attachment] = set()
        """An attach was begun: there is, or may be, a VolumeAttachment to remove."""
        self._left_at: dict[Attachment, float] = {}
        """When, on the loop's clock, the last pod that wanted it left."""
        self._told_multi_attach: set[Attachment] = set()
        backoff = Backoff(self._pace.scaled(_FIRST_RETRY_SECONDS), self._pace.scaled(_MAX_RETRY_SECONDS))
        self._queue: WorkQueue[Attachment] = WorkQueue(self._reconcile, backoff)
        self._changed = asyncio.Event()
        self._node_writes = asyncio.Lock()
        for informer in (
            self._pods,
            self._claims,
            self._volumes,
            self._nodes,
            self._drivers,
            self._attachments,
        ):
            informer.on_change(lambda obj, deleted: self._wake())
        program.task(self._queue.run)
        program.task(self._populate)

    def _wake(self) -> None:
        self._changed.set()

    async def _populate(self) -> None:
        """Queue what is wanted or there, at the reconciler's period, when anything changed."""
        self._rebuild()
        while True:
            await self._changed.wait()
            self._changed.clear()
            desired = self._desired()
            self._told_multi_attach &= desired
            for attachment in desired:
                self._left_at.pop(attachment, None)
                self._queue.add_unless_failing(attachment)  # a failed attach waits for its back-off
            for attachment in self._started - desired:
                if attachment not in self._left_at:
                    self._left_at[attachment] = asyncio.get_running_loop().time()
                    asyncio.get_running_loop().call_later(self._pace.force_detach, self._wake)
                self._queue.add(attachment)
            await asyncio.sleep(self._pace.reconcile)

    def _rebuild(self) -> None:
        """What an earlier run of this controller attached, from what it left in the API."""
        for found in self._attachments.all():
            volume = self._volumes.get(found["spec"]["source"].get("persistentVolumeName") or "")
            source = (volume or {}).get("spec", {}).get("csi")
            if volume is None or not source:
                continue
            name, node_name = volume["metadata"]["name"], found["spec"]["nodeName"]
            attachment = Attachment(name, source["driver"], source["volumeHandle"], node_name)
            self._started.add(attachment)
            node = self._nodes.get(node_name) or {"status": {}}
            attached = node["status"].get("volumesAttached") or []
            if any(entry["name"] == attachment.unique_name for entry in attached):
                self._announced.add(attachment)

    def _desired(self) -> set[Attachment]:
        return {
            attachment
            for pod in self._pods.all()
            if not _has_left(pod)
            for attachment in self._pod_attachments(pod)
        }

    def _pod_attachments(self, pod: Object) -> list[Attachment]:
        found = []
        for _, claim_name in objects.claim_volumes(pod):
            claim = self._claims.get(claim_name, pod["metadata"]["namespace"])
            if claim is None or not objects.is_bound(claim):
                continue
            volume = self._volumes.get(claim["spec"]["volumeName"])
            source = (volume or {}).get("spec", {}).get("csi")
            if volume is None or not source or not self._attach_required(source["driver"]):
                continue
            found.append(
                Attachment(
                    volume["metadata"]["name"],
                    source["driver"],
                    source["volumeHandle"],
                    pod["spec"]["nodeName"],
                )
            )
        return found

    def _attach_required(self, driver: str) -> bool:
        """Without a CSIDriver object attaching is assumed to be required."""
        found = self._drivers.get(driver)
        return found is None or bool(found["spec"].get("attachRequired", True))

    async def _reconcile(self, attachment: Attachment) -> None:
        if attachment in self._desired():
            await self._attach(attachment)
        elif attachment in self._started:
            await self._detach(attachment)

    async def _attach(self, attachment: Attachment) -> None:
        if attachment in self._announced or await self._is_held_elsewhere(attachment):
            return
        self._started.add(attachment)
        try:
            await self._client.create(VOLUME_ATTACHMENTS, _attachment_object(attachment))
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        if (refusal := await self._wait_attached(attachment)) is not None:
            message = f'AttachVolume.Attach failed for volume "{attachment.volume_name}" : {refusal}'
            for pod in self._pods_with(attachment):
                await self._events.warning(pod, "FailedAttachVolume", message)
            raise RetryError
        message = f'AttachVolume.Attach succeeded for volume "{attachment.volume_name}" '
        for pod in self._pods_with(attachment):
            await self._events.normal(pod, "SuccessfulAttachVolume", message)
        self._announced.add(attachment)
        await self._write_volumes_attached(attachment.node_name)

    async def _wait_attached(self, attachment: Attachment) -> str | None:
        """None when attached; else why not, as the event says it."""
        try:
            async with asyncio.timeout(self._pace.attach_timeout):
                while True:
                    found = self._attachments.get(attachment.object_name)
                    if found is not None and not objects.is_terminating(found):
                        if found["status"].get("attached"):
                            return None
                        if refusal := found["status"].get("attachError"):
                            return str(refusal.get("message", ""))
                    if attachment not in self._desired():
                        raise RetryError
                    await asyncio.sleep(self._pace.reconcile)
        except TimeoutError:
            return (
                f"timed out waiting for external-attacher of {attachment.driver} CSI driver "
                f"to attach volume {attachment.volume_handle}"
            )

    async def _is_held_elsewhere(self, attachment: Attachment) -> bool:
        """A volume for one node that another still has is waited for; that is said once."""
        volume = self._volumes.get(attachment.volume_name)
        modes = set(volume["spec"]["accessModes"]) if volume else set()
        others = [
            other
            for other in self._started
            if other.volume_name == attachment.volume_name and other.node_name != attachment.node_name
        ]
        if modes & _MANY_NODE_MODES or not modes & _SINGLE_NODE_MODES or not others:
            return False
        if attachment not in self._told_multi_attach:
            self._told_multi_attach.add(attachment)
            holders = [pod for other in others for pod in self._pods_with(other)]
            for pod in self._pods_with(attachment):
                message = f'Multi-Attach error for volume "{attachment.volume_name}" {_held_by(holders, pod)}'
                await self._events.warning(pod, "FailedAttachVolume", message)
        return True

    async def _detach(self, attachment: Attachment) -> None:
        node = self._nodes.get(attachment.node_name)
        is_lost = self._is_lost(attachment, node)
        if (node is None or attachment.unique_name in self._volumes_in_use(node)) and not is_lost:
            return  # looked at again when the node's status changes, or when it has waited long enough
        self._announced.discard(attachment)
        await self._write_volumes_attached(attachment.node_name)
        node = await self._client.find(NODES, attachment.node_name)
        if attachment.unique_name in self._volumes_in_use(node) and not is_lost:
            raise RetryError
        found = await self._client.find(VOLUME_ATTACHMENTS, attachment.object_name)
        if found is not None and not objects.is_terminating(found):
            await self._client.delete(VOLUME_ATTACHMENTS, found)
        if self._attachments.get(attachment.object_name) is None and found is None:
            self._started.discard(attachment)
            self._left_at.pop(attachment, None)
            self._wake()

    def _is_lost(self, attachment: Attachment, node: Object | None) -> bool:
        """Nobody waits any more for the node's word that the volume is unmounted: it is out of service, or has been not ready
        for as long as the volume was not wanted, and that is too long (six minutes)."""
        if node is not None and objects.has_taint(node, objects.OUT_OF_SERVICE, "NoExecute"):
            return True
        now = asyncio.get_running_loop().time()
        waited = now - self._left_at.get(attachment, now)
        return waited >= self._pace.force_detach and (node is None or not objects.is_ready(node))

    @staticmethod
    def _volumes_in_use(node: Object | None) -> list[str]:
        return ((node or {}).get("status") or {}).get("volumesInUse") or []

    async def _write_volumes_attached(self, node_name: str) -> None:
        async with self._node_writes:
            names = sorted(
                attachment.unique_name for attachment in self._announced if attachment.node_name == node_name
            )
            node = await self._client.find(NODES, node_name)
            if node is None:
                return
            attached = [{"name": name, "devicePath": ""} for name in names]
            if (node["status"].get("volumesAttached") or []) != attached:
                await self._client.patch(
                    NODES, node, {"status": {"volumesAttached": attached or None}}, "status"
                )

    def _pods_with(self, attachment: Attachment) -> list[Object]:
        return [
            pod for pod in self._pods.all() if not _has_left(pod) and attachment in self._pod_attachments(pod)
        ]


def _held_by(holders: list[Object], told: Object) -> str:
    """Who has the volume on another node; of pods in other namespaces only how many, as they are no business of this one."""
    namespace = told["metadata"]["namespace"]
    ours = sorted(pod["metadata"]["name"] for pod in holders if pod["metadata"]["namespace"] == namespace)
    others = f"{len(holders) - len(ours)} pod(s) in different namespaces"
    if not holders:
        return "Volume is already exclusively attached to one node and can't be attached to another"
    if not ours:
        return f"Volume is already used by {others}"
    tail = f" and {others}" if len(ours) < len(holders) else ""
    return f"Volume is already used by pod(s) {', '.join(ours)}{tail}"


def _has_left(pod: Object) -> bool:
    """The pod counts no more: not on a node yet, finished, or under deletion with no container running."""
    if not pod["spec"].get("nodeName") or objects.is_finished(pod):
        return True
    statuses = pod["status"].get("containerStatuses") or []
    running = any("running" in (status.get("state") or {}) for status in statuses)
    return objects.is_terminating(pod) and not running


def _attachment_object(attachment: Attachment) -> Object:
    return {
        "metadata": {"name": attachment.object_name},
        "spec": {
            "attacher": attachment.driver,
            "nodeName": attachment.node_name,
            "source": {"persistentVolumeName": attachment.volume_name},
        },
    }
