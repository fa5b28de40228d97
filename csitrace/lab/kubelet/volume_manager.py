"""The volume manager: stages and publishes what pods want, in kubelet's order, with its back-off and its words.

kubelet, pkg/kubelet/volumemanager, pkg/volume/util/operationexecutor and pkg/volume/csi (1.34).
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc

from csitrace.csi import csi_pb2
from csitrace.lab import objects
from csitrace.lab.apiserver.resources import NODES, PERSISTENT_VOLUME_CLAIMS, VOLUME_ATTACHMENTS
from csitrace.lab.csi_client import DriverClient, capability, connected, go_text
from csitrace.lab.kubelet.expansion import NodeExpansion
from csitrace.lab.kubelet.layout import (
    Layout,
    make_directory,
    remove_mount_point,
    remove_pod_directory,
    write_volume_data,
)
from csitrace.lab.kubelet.node_status import NodeStatus
from csitrace.lab.kubelet.registration import PluginRegistry
from csitrace.lab.kubelet.subpaths import SubPaths
from csitrace.lab.kubelet.volume_sources import NotYetError, PodVolume, VolumeSources
from csitrace.lab.program import Program
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object, StatusError
from csitrace.lab.workqueue import Backoff, RetryError, WorkQueue
from csitrace.model.rpc import NODE_NON_FINAL

T = TypeVar("T")

_NODE = csi_pb2.NodeServiceCapability.RPC.Type
_BACKOFF = Backoff(first=0.5, limit=122.0)  # kubelet's exponential back-off per operation


class _MountError(Exception):
    """One attempt failed; the text of its FailedMount event."""


class VolumeManager:
    """Mounts for pods and unmounts after them; operations on one volume go one after the other."""

    def __init__(self, program: Program, node_name: str, layout: Layout, registry: PluginRegistry) -> None:
        self._client = program.client
        self._pace = program.pace
        self._node_name = node_name
        self._layout = layout
        self._registry = registry
        self._events = EventRecorder(program.client, "kubelet", node_name)
        self._nodes = program.informer(NODES, f"metadata.name={node_name}")
        self._sources = VolumeSources(program)
        self._subpaths = SubPaths(layout.pods_directory)
        self._wanted: dict[str, set[PodVolume]] = defaultdict(set)
        """By unique name: which pods want the volume, or still have it published."""
        self._published: dict[PodVolume, Object] = {}
        """What is mounted for pods, with the pod."""
        self._staged: dict[str, PodVolume] = {}
        """Staged, or perhaps staged: has to be unstaged once no pod wants it."""
        self._uncertain: set[str] = set()
        """Of those staged: the last attempt ended without a final answer, so it is tried again before it is used."""
        self._attachable: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._backoff = Backoff(self._pace.scaled(_BACKOFF.first), self._pace.scaled(_BACKOFF.limit))
        self._unstage_queue: WorkQueue[str] = WorkQueue(self._unstage, self._backoff)
        self._expand_queue: WorkQueue[PodVolume] = WorkQueue(self._expand, self._backoff)
        self._late: asyncio.Queue[PodVolume] = asyncio.Queue()
        """Volumes of pods that are gone, whose mounting was still under way."""
        self._status = NodeStatus(program, node_name, self._in_use)
        self._expansion = NodeExpansion(program, node_name, layout, self._call)
        program.informer(PERSISTENT_VOLUME_CLAIMS).on_change(self._claim_changed)
        program.task(self._unstage_queue.run)
        program.task(self._expand_queue.run)
        program.task(self._clear_late)

    def _in_use(self) -> set[str]:
        """Attachable volumes that are wanted or there: told before they are even attached."""
        return {name for name in (*self._wanted, *self._staged) if name in self._attachable}

    def _claim_changed(self, claim: Object, deleted: bool) -> None:
        """It may have been given more room than its volume has on this node."""
        for volume, pod in self._published.items():
            owner = (pod["metadata"]["namespace"], volume.claim_name)
            if owner == objects.key_of(claim) and self._expansion.is_due(volume, pod):
                self._expand_queue.add(volume)

    async def _expand(self, volume: PodVolume) -> None:
        if (pod := self._published.get(volume)) is not None:
            await self._expansion.expand(volume, pod)

    async def mount(self, pod: Object, spec: Object, abandoned: asyncio.Event) -> PodVolume | None:
        """Mount one of a pod's volumes, trying for ever; None for what CSI has no part in, and when abandoned before it was tried
        again."""
        failures = 0
        volume: PodVolume | None = None
        while not abandoned.is_set():
            pause = self._pace.reconcile
            try:
                if volume is None:
                    volume = await self._sources.find(pod, spec)
                    if volume is None:
                        return None
                    self._want(volume)
                async with self._locks[volume.unique_name]:
                    await self._mount_once(volume, pod)
                return volume
            except (NotYetError, StatusError):
                pass  # kubelet logs what it cannot read yet, and looks again
            except _MountError as error:
                failures += 1
                pause = self._backoff.delay(failures)
                await self._events.warning(pod, "FailedMount", str(error))
            await _pause(abandoned, pause)
        return None

    def _want(self, volume: PodVolume) -> None:
        if self._sources.is_attachable(volume):
            self._attachable.add(volume.unique_name)
        self._wanted[volume.unique_name].add(volume)

    async def open(self, pod: Object, mounted: list[PodVolume]) -> list[Path]:
        """The directories that the pod's containers work in: its volumes, and the parts of them that they are given alone."""
        published = {
            volume.spec_name: (
                volume.volume_name,
                self._layout.publish_path(volume.pod_uid, volume.volume_name),
            )
            for volume in mounted
            if not volume.read_only
        }
        parts = await self._subpaths.bind(pod, published)
        mounts = [
            mount for container in pod["spec"]["containers"] for mount in container.get("volumeMounts") or []
        ]
        in_parts = {mount["name"] for mount in mounts if mount.get("subPath")}
        in_parts |= {mount["name"] for mount in mounts if mount.get("readOnly")}
        return [path for name, (_, path) in published.items() if name not in in_parts] + parts

    async def unmount(self, pod: Object) -> None:
        """Unpublish all that a pod has, trying for ever, silently; what no pod wants any more is unstaged by and by.

        A call that is still under way for it is not waited for: what it leads to is undone when it has ended.
        """
        uid = pod["metadata"]["uid"]
        mine = [volume for volumes in self._wanted.values() for volume in volumes if volume.pod_uid == uid]
        async with asyncio.TaskGroup() as group:
            for volume in mine:
                if volume not in self._published and self._locks[volume.unique_name].locked():
                    self._late.put_nowait(volume)
                else:
                    group.create_task(self._unpublish(volume))

    async def _clear_late(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._unpublish(await self._late.get()))

    async def _mount_once(self, volume: PodVolume, pod: Object) -> None:
        publish_context = await self._publish_context(volume)
        self._check(volume, pod)
        prefix = "MountVolume.SetUp" if volume.is_inline else "MountVolume.MountDevice"
        caller = "mounter.SetUpAt" if volume.is_inline else "attacher.MountDevice"
        async with self._driver(volume, prefix, caller) as driver:
            try:
                capabilities = await driver.node_capabilities()
                wanted = capability(list(volume.access_modes), _NODE.SINGLE_NODE_MULTI_WRITER in capabilities)
                staging = ""
                if _NODE.STAGE_UNSTAGE_VOLUME in capabilities and not volume.is_inline:
                    staging = await self._stage(driver, volume, wanted, publish_context)
                prefix = "MountVolume.SetUp"
                await self._publish(driver, volume, pod, wanted, publish_context, staging)
            except grpc.aio.AioRpcError as error:
                raise _MountError(
                    f'{prefix} failed for volume "{volume.volume_name}" : {go_text(error)}'
                ) from error
        self._published[volume] = pod
        if volume.claim_name and (why := await self._expansion.why_unknown(volume, pod)):
            raise _MountError(why)
        if self._expansion.is_due(volume, pod):
            self._expand_queue.add(volume)

    def _check(self, volume: PodVolume, pod: Object) -> None:
        """What kubelet refuses by itself. _MountError tells it."""
        head = f'MountVolume.SetUp failed for volume "{volume.volume_name}" : '
        others = [other for other in self._published if other.unique_name == volume.unique_name]
        if "ReadWriteOncePod" in volume.access_modes and any(o.pod_uid != volume.pod_uid for o in others):
            why = "volume uses the ReadWriteOncePod access mode and is already in use by another pod"
            raise _MountError(head + why)
        if why := self._sources.why_not_allowed(volume):
            call = "kubernetes.io/csi: mounter.SetupAt failed to check volume lifecycle mode"
            raise _MountError(f"{head}{call}: {why}")

    async def _call(self, volume: PodVolume, call: Callable[[DriverClient], Awaitable[T]]) -> T:
        """One more call on a volume that is mounted."""
        async with (
            self._locks[volume.unique_name],
            self._driver(volume, "NodeExpandVolume", "NodeExpand") as driver,
        ):
            return await call(driver)

    async def _publish_context(self, volume: PodVolume) -> dict[str, str]:
        """Wait until the volume was reported in use and is attached according to the node's status; then ask the attachment."""
        if volume.unique_name not in self._attachable:
            return {}
        if volume.unique_name not in self._status.reported:
            raise NotYetError
        node = self._nodes.get(self._node_name) or {}
        attached = node.get("status", {}).get("volumesAttached") or []
        if all(entry["name"] != volume.unique_name for entry in attached):
            raise NotYetError
        name = objects.attachment_name(volume.volume_handle, volume.driver, self._node_name)
        attachment = await self._client.find(VOLUME_ATTACHMENTS, name)
        if attachment is None or not attachment["status"].get("attached"):
            raise _MountError(
                f'MountVolume.WaitForAttach failed for volume "{volume.volume_name}" : '
                f"volume {volume.volume_handle} is not attached for volume attachment {name}"
            )
        return attachment["status"].get("attachmentMetadata") or {}

    async def _stage(
        self,
        driver: DriverClient,
        volume: PodVolume,
        wanted: csi_pb2.VolumeCapability,
        publish_context: dict[str, str],
    ) -> str:
        """The staging path; staged once for all pods of the node."""
        path = self._layout.staging_path(volume.driver, volume.volume_handle)
        if volume.unique_name in self._staged and volume.unique_name not in self._uncertain:
            return str(path)
        make_directory(path)
        write_volume_data(path, {"driverName": volume.driver, "volumeHandle": volume.volume_handle})
        request = csi_pb2.NodeStageVolumeRequest(
            volume_id=volume.volume_handle,
            publish_context=publish_context,
            staging_target_path=str(path),
            volume_capability=wanted,
            volume_context=dict(volume.attributes),
        )
        self._staged[volume.unique_name] = volume
        self._uncertain.add(volume.unique_name)
        try:
            await driver.node.NodeStageVolume(request, timeout=self._pace.mount_timeout)
        except grpc.aio.AioRpcError as error:
            if error.code().value[0] not in NODE_NON_FINAL:
                self._staged.pop(volume.unique_name)
                self._uncertain.discard(volume.unique_name)
                remove_mount_point(path)
            raise
        self._uncertain.discard(volume.unique_name)
        return str(path)

    async def _publish(
        self,
        driver: DriverClient,
        volume: PodVolume,
        pod: Object,
        wanted: csi_pb2.VolumeCapability,
        publish_context: dict[str, str],
        staging: str,
    ) -> None:
        path = self._layout.publish_path(volume.pod_uid, volume.volume_name)
        path.parent.mkdir(parents=True, exist_ok=True)  # the target itself is the driver's to make
        data = {
            "specVolID": volume.volume_name,
            "volumeHandle": volume.volume_handle,
            "driverName": volume.driver,
            "nodeName": self._node_name,
            "volumeLifecycleMode": "Ephemeral" if volume.is_inline else "Persistent",
            "attachmentID": objects.attachment_name(volume.volume_handle, volume.driver, self._node_name),
        }
        write_volume_data(path, data)
        request = csi_pb2.NodePublishVolumeRequest(
            volume_id=volume.volume_handle,
            publish_context=publish_context,
            staging_target_path=staging,
            target_path=str(path),
            volume_capability=wanted,
            readonly=volume.read_only,
            volume_context=dict(volume.attributes) | self._sources.pod_information(volume, pod),
        )
        await driver.node.NodePublishVolume(request, timeout=self._pace.mount_timeout)

    async def _unpublish(self, volume: PodVolume) -> None:
        path = self._layout.publish_path(volume.pod_uid, volume.volume_name)
        request = csi_pb2.NodeUnpublishVolumeRequest(volume_id=volume.volume_handle, target_path=str(path))
        async with self._locks[volume.unique_name]:  # a call that was under way has ended
            await self._subpaths.release(volume.pod_uid, volume.volume_name)
        if (path.parent / "vol_data.json").exists():  # else it was never tried to publish
            await self._retried(
                volume,
                lambda driver: driver.node.NodeUnpublishVolume(request, timeout=self._pace.mount_timeout),
            )
            remove_mount_point(path)
        remove_pod_directory(self._layout, volume.pod_uid)
        self._published.pop(volume, None)
        self._wanted[volume.unique_name].discard(volume)
        if not self._wanted[volume.unique_name]:
            del self._wanted[volume.unique_name]
            self._unstage_queue.add(volume.unique_name)

    async def _retried(self, volume: PodVolume, call: Callable[[DriverClient], Awaitable[Any]]) -> None:
        failures = 0
        while True:
            try:
                async with (
                    self._locks[volume.unique_name],
                    self._driver(volume, "UnmountVolume.TearDown", "") as driver,
                ):
                    await call(driver)
                    return
            except (grpc.aio.AioRpcError, _MountError):
                failures += 1
            await asyncio.sleep(self._backoff.delay(failures))

    async def _unstage(self, unique_name: str) -> None:
        volume = self._staged.get(unique_name)
        if volume is None or unique_name in self._wanted:
            return
        path = self._layout.staging_path(volume.driver, volume.volume_handle)
        request = csi_pb2.NodeUnstageVolumeRequest(
            volume_id=volume.volume_handle, staging_target_path=str(path)
        )
        async with self._locks[unique_name]:
            try:
                async with self._driver(volume, "UnmountDevice", "") as driver:
                    await driver.node.NodeUnstageVolume(request, timeout=self._pace.mount_timeout)
            except (grpc.aio.AioRpcError, _MountError) as error:
                raise RetryError from error
            remove_mount_point(path)
            self._staged.pop(unique_name, None)
            self._uncertain.discard(unique_name)

    @asynccontextmanager
    async def _driver(self, volume: PodVolume, prefix: str, caller: str) -> AsyncIterator[DriverClient]:
        """kubelet dials for each operation."""
        socket = self._registry.drivers.get(volume.driver)
        if socket is None:
            raise _MountError(
                f'{prefix} failed for volume "{volume.volume_name}" : kubernetes.io/csi: {caller} failed to create '
                f"newCsiDriverClient: driver name {volume.driver} not found in the list of registered CSI drivers"
            )
        async with connected(socket) as driver:
            yield driver


async def _pause(abandoned: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await abandoned.wait()
    except TimeoutError:
        return
