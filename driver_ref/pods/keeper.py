"""The Controller's half of `--launcher pod`: one FUSE pod for each node that a volume is attached to, for as long as it is.

What shall be is in the volumes' records (attachments), saved before a pod is created and changed after it is gone; what is, the
API server says. Whatever comes between (the driver restarted, a pod evicted or deleted, a node gone, the server away), the
difference is mended as soon as it is seen.
"""

import asyncio
import logging
import time
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from csitrace.errors import CsitraceError
from csitrace.model.rpc import Code
from driver_ref.calls import VolumeLocks
from driver_ref.pods import spec, status
from driver_ref.pods.api import ApiError, PodApi
from driver_ref.refusal import RefusedError
from driver_ref.volumes import NodeDescription, StateDirectory, VolumeRecord

_LOG = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds that a call waits for its pod. A caller with less gives up earlier; the work goes on, and its retry finds it."""

FORCE_AFTER = 30.0
"""Seconds after which a pod that should have ended is taken away without its kubelet, which then is not heard any more."""

_RECONNECT = (1.0, 15.0)
_RECREATE = (1.0, 60.0)  # seconds until a pod that ended is replaced: the first time, and at most
_LOOK_AGAIN = 2.0


class Attendance(Protocol):
    """What beside the volumes' records must be so for a volume to be attached. Callers hold the volume's lock."""

    def admit(self, node: NodeDescription) -> None:
        """Raises RefusedError, a final one, where nothing can be attached on the node: nothing is begun then."""

    async def publish(self, volume: VolumeRecord, node: NodeDescription) -> None:
        """Returns when what the node needs is there. Raises RefusedError; UNAVAILABLE: it may yet come."""

    async def unpublish(self, volume_id: str, node_id: str) -> None:
        """Returns when nothing of it is left on the node, or on any for an empty `node_id`. Raises RefusedError."""

    def may_serve(self, volume_id: str, node_id: str) -> bool:
        """Whether the volume may still be served on a node that it was detached from, as far as that node has told."""

    def trouble(self, volume_id: str, node_id: str) -> str:
        """What is wrong there with an attached volume, as far as known; else empty."""


class NoAttendance:
    """`--launcher process`: attaching is a matter of records alone."""

    def admit(self, node: NodeDescription) -> None:
        """See Attendance."""

    async def publish(self, volume: VolumeRecord, node: NodeDescription) -> None:
        """See Attendance."""

    async def unpublish(self, volume_id: str, node_id: str) -> None:
        """See Attendance."""

    def may_serve(self, volume_id: str, node_id: str) -> bool:
        """See Attendance: the processes there are nobody else's affair."""
        return True

    def trouble(self, volume_id: str, node_id: str) -> str:
        """See Attendance."""
        return ""


class PodKeeper:
    """See the module. `start` once, `close` once."""

    def __init__(
        self, api: PodApi, template: spec.Template, state: StateDirectory, locks: VolumeLocks
    ) -> None:
        self._api = api
        self._template = template
        self._state = state
        self._locks = locks
        self._pods: dict[str, status.Pod] = {}
        self._silence = "the API server was not heard yet"
        self._change = asyncio.Event()
        self._recreated: dict[str, tuple[float, float]] = {}  # pod's name: (when again, the delay after that)
        self._unmended: set[str] = set()
        self._mending: dict[str, asyncio.Task[None]] = {}
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow the pods."""
        await self._api.open()
        self._following = asyncio.create_task(self._follow(), name="fuse pods")

    async def close(self) -> None:
        """Let go; the pods stay."""
        tasks = [task for task in (self._following, *self._mending.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._api.close()

    # ---- Attendance

    def admit(self, node: NodeDescription) -> None:
        """See Attendance."""
        if not node.fuse_directory:
            raise RefusedError(
                Code.FAILED_PRECONDITION, f"the driver on node {node.node_id} runs with --launcher=process"
            )

    async def publish(self, volume: VolumeRecord, node: NodeDescription) -> None:
        """See Attendance. What a pod lacks is told as soon as it is known; the pod stays, for it may still get it."""
        name = spec.name(self._template.driver_name, volume.volume_id, node.node_id)
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    changed = self._change
                    self._require_heard()
                    pod = self._pods.get(name)
                    if pod is not None and status.runs(pod):
                        return
                    await self._mend(volume.volume_id, volume)
                    pod = self._pods.get(name)
                    if pod is not None and not status.is_leaving(pod) and status.trouble(pod):
                        raise RefusedError(Code.UNAVAILABLE, f"{self._called(name)}: {status.trouble(pod)}")
                    await _wait(changed)
        except TimeoutError:
            raise RefusedError(
                Code.UNAVAILABLE, f"{self._called(name)} does not run after {PATIENCE:.0f} s"
            ) from None

    async def unpublish(self, volume_id: str, node_id: str) -> None:
        """See Attendance. Refuses while a workload uses the volume there, unless the node is not heard any more."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    changed = self._change
                    self._require_heard()
                    left = [
                        pod for pod in self._of_volume(volume_id) if node_id in ("", status.place_of(pod)[1])
                    ]
                    if not left:
                        return
                    for pod in left:
                        self._require_unused(volume_id, pod)
                        await self._remove(pod)
                    await _wait(changed)
        except TimeoutError:
            raise RefusedError(
                Code.UNAVAILABLE, f"{self._called(status.name(left[0]))} does not end"
            ) from None

    def may_serve(self, volume_id: str, node_id: str) -> bool:
        """See Attendance: without its pod it is not served, though a node that is gone never tells that it has unstaged it."""
        return bool(self._silence) or any(
            status.place_of(pod)[1] == node_id for pod in self._of_volume(volume_id)
        )

    def trouble(self, volume_id: str, node_id: str) -> str:
        """See Attendance."""
        if self._silence:
            return ""
        name = spec.name(self._template.driver_name, volume_id, node_id)
        pod = self._pods.get(name)
        if pod is None:
            return f"{self._called(name)} is gone"
        if status.runs(pod):
            return ""
        return f"{self._called(name)}: {status.trouble(pod) or 'does not run yet'}"

    # ---- following

    async def _follow(self) -> None:
        delay, longest = _RECONNECT
        while True:
            try:
                pods, version = await self._api.list(spec.SELECTOR)
                self._pods = {status.name(pod): pod for pod in pods if self._is_ours(pod)}
                self._tell("")
                delay = _RECONNECT[0]
                for volume_id in {
                    *self._state.volumes.ids(),
                    *(status.place_of(pod)[0] for pod in self._pods.values()),
                }:
                    self._mend_soon(volume_id)
                async for kind, pod in self._api.watch(spec.SELECTOR, version):
                    self._hear(kind, pod)
            except ApiError as error:
                if error.status == 410:
                    continue
                _LOG.warning("FUSE pods: %s", error)
                self._tell(str(error))
                await asyncio.sleep(delay)
                delay = min(2 * delay, longest)

    def _hear(self, kind: str, pod: status.Pod) -> None:
        if not self._is_ours(pod):
            return
        name = status.name(pod)
        if kind == "DELETED":
            self._pods.pop(name, None)
        else:
            self._pods[name] = pod
            if status.runs(pod):
                self._recreated.pop(name, None)
        self._tell("")
        self._mend_soon(status.place_of(pod)[0])

    def _tell(self, silence: str) -> None:
        """Wake whoever waits: something changed."""
        self._silence = silence
        self._change.set()
        self._change = asyncio.Event()

    # ---- mending

    def _mend_soon(self, volume_id: str) -> None:
        """Mend by a task of its own, one per volume; what changes while it runs is mended by its next round."""
        self._unmended.add(volume_id)
        if volume_id not in self._mending:
            self._mending[volume_id] = asyncio.create_task(
                self._mend_all(volume_id), name=f"pods of {volume_id}"
            )

    def _mend_in(self, delay: float, volume_id: str) -> None:
        asyncio.get_running_loop().call_later(delay, self._mend_soon, volume_id)

    async def _mend_all(self, volume_id: str) -> None:
        try:
            while volume_id in self._unmended:
                async with self._locks.wait(volume_id):
                    self._unmended.discard(volume_id)
                    try:
                        await self._mend(volume_id, self._state.volume(volume_id))
                    except RefusedError as error:
                        _LOG.warning("volume %s: %s", volume_id, error.message)
                        self._mend_in(_LOOK_AGAIN, volume_id)
        except CsitraceError as error:
            _LOG.error("volume %s: %s", volume_id, error)
        finally:
            del self._mending[volume_id]

    async def _mend(self, volume_id: str, volume: VolumeRecord | None) -> None:
        """Create what is missing, remove what is too much or has ended. The volume's lock is held. Raises RefusedError."""
        wanted = {} if volume is None else volume.attachments
        for pod in self._of_volume(volume_id):
            unfit = status.has_ended(pod) or (
                not status.runs(pod) and status.image_of(pod) != self._template.image
            )
            if unfit or status.is_leaving(pod) or status.place_of(pod)[1] not in wanted:
                await self._remove(pod)
        for node_id in wanted:
            name = spec.name(self._template.driver_name, volume_id, node_id)
            node = self._state.nodes.load(node_id)
            if volume is not None and name not in self._pods and node is not None and node.fuse_directory:
                await self._create(volume, node, name)

    async def _create(self, volume: VolumeRecord, node: NodeDescription, name: str) -> None:
        now = time.monotonic()
        at, delay = self._recreated.get(name, (now, _RECREATE[0]))
        if now < at:
            self._mend_in(at - now, volume.volume_id)
            return
        self._recreated[name] = (now + delay, min(2 * delay, _RECREATE[1]))
        place = spec.Place(
            volume_id=volume.volume_id,
            node_id=node.node_id,
            shared=f"{node.fuse_directory}/{spec.key(volume.volume_id)}",
            source=str(self._state.backing(volume.volume_id)),
            size=volume.capacity_bytes,
        )
        try:
            pod = await self._api.create(spec.manifest(self._template, place))
        except ApiError as error:
            if error.status == 409:
                return  # it is there, and its event on the way
            raise RefusedError(
                Code.UNAVAILABLE, f"{self._called(name)} cannot be created: {error}"
            ) from error
        _LOG.info("volume %s: created %s for node %s", volume.volume_id, self._called(name), node.node_id)
        self._pods.setdefault(name, pod)

    async def _remove(self, pod: status.Pod) -> None:
        grace = None
        if status.is_leaving(pod):
            left = FORCE_AFTER - _seconds_since(pod["metadata"]["deletionTimestamp"])
            if left > 0:
                self._mend_in(left, status.place_of(pod)[0])
                return
            grace = 0
        _LOG.info("deleting %s%s", self._called(status.name(pod)), " by force" if grace == 0 else "")
        try:
            await self._api.delete(status.name(pod), pod["metadata"]["uid"], grace)
        except ApiError as error:
            raise RefusedError(
                Code.UNAVAILABLE, f"{self._called(status.name(pod))} cannot be deleted: {error}"
            ) from error

    # ---- small things

    def _is_ours(self, pod: status.Pod) -> bool:
        return status.driver_of(pod) == self._template.driver_name

    def _of_volume(self, volume_id: str) -> list[status.Pod]:
        return [pod for pod in self._pods.values() if status.place_of(pod)[0] == volume_id]

    def _require_heard(self) -> None:
        if self._silence:
            raise RefusedError(Code.UNAVAILABLE, self._silence)

    def _require_unused(self, volume_id: str, pod: status.Pod) -> None:
        node_id = status.place_of(pod)[1]
        record = self._state.on_node(node_id).load(volume_id)
        if record is not None and record.targets and status.runs(pod) and status.is_heard(pod):
            raise RefusedError(
                Code.FAILED_PRECONDITION,
                f"volume is still published on node {node_id} at {min(record.targets)}; its FUSE pod stays",
            )

    def _called(self, name: str) -> str:
        return f"FUSE pod {self._template.namespace}/{name}"


async def _wait(changed: asyncio.Event) -> None:
    """Until something changes, or it is time to look at the clock again."""
    with suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), _LOOK_AGAIN)


def _seconds_since(timestamp: str) -> float:
    return time.time() - datetime.fromisoformat(timestamp).timestamp()
