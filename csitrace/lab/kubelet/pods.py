"""Pods on this node, from the first look to the removal of their object. One task per pod."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import PODS
from csitrace.lab.clock import timestamp
from csitrace.lab.kubelet.containers import Container, Exit
from csitrace.lab.kubelet.layout import Layout
from csitrace.lab.kubelet.volume_manager import VolumeManager
from csitrace.lab.kubelet.volume_sources import PodVolume
from csitrace.lab.program import Program
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object, StatusError

_RESTART_SECONDS = 10.0  # CrashLoopBackOff begins here


_NEVER_STARTED: Object = {
    "terminated": {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
        "startedAt": None,
        "finishedAt": None,
    }
}


class PodWorkers:
    """Starts a worker for each pod that is bound to the node, and tells it when the pod is to end."""

    def __init__(self, program: Program, node_name: str, layout: Layout, volumes: VolumeManager) -> None:
        self._program = program
        self._layout = layout
        self._volumes = volumes
        self._events = EventRecorder(program.client, "kubelet", node_name)
        self._pods = program.informer(PODS, f"spec.nodeName={node_name}")
        self._ending: dict[str, asyncio.Event] = {}
        self._arrived: asyncio.Queue[Object] = asyncio.Queue()
        self._pods.on_change(self._pod_changed)
        program.task(self._run)

    def _pod_changed(self, pod: Object, deleted: bool) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._ending:
            if deleted:
                return
            self._ending[uid] = asyncio.Event()
            self._arrived.put_nowait(pod)
        if deleted or objects.is_terminating(pod):
            self._ending[uid].set()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                pod = await self._arrived.get()
                group.create_task(self._work(pod))

    async def _work(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        worker = PodWorker(self._program, self._layout, self._volumes, self._events, pod, self._ending[uid])
        await worker.run()
        del self._ending[uid]


class PodWorker:
    def __init__(
        self,
        program: Program,
        layout: Layout,
        volumes: VolumeManager,
        events: EventRecorder,
        pod: Object,
        ending: asyncio.Event,
    ) -> None:
        self._client = program.client
        self._pace = program.pace
        self._layout = layout
        self._volumes = volumes
        self._events = events
        self._pod = pod
        self._ending = ending
        self._started_at = timestamp()
        self._restarts = 0

    async def run(self) -> None:
        await self._write_status("Pending", {"waiting": {"reason": "ContainerCreating"}})
        ended: Exit | None = None
        mounted = await self._mount_all()
        if not self._ending.is_set():
            ended = await self._run_containers(await self._volumes.open(self._pod, mounted))
        if ended is None:
            await self._write_never_started()
        else:
            phase = "Succeeded" if ended.code == 0 else "Failed"
            await self._write_status(phase, ended.to_state(), has_sandbox=False)
        await self._volumes.unmount(self._pod)
        await self._client.delete(PODS, self._pod, grace_seconds=0)

    async def _mount_all(self) -> list[PodVolume]:
        """All that the pod has, once all of it is mounted; nothing, as soon as the pod is to end."""
        mounting = [
            asyncio.create_task(self._volumes.mount(self._pod, volume, self._ending))
            for volume in _used_volumes(self._pod)
        ]
        if not mounting:
            return []
        ending = asyncio.create_task(self._ending.wait())
        everything = asyncio.gather(*mounting)
        try:
            await asyncio.wait((everything, ending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
        if not everything.done():
            return []  # what is under way goes on; kubelet's volume manager undoes it
        return [volume for volume in everything.result() if volume is not None]

    async def _run_containers(self, directories: Sequence[Path]) -> Exit:
        """Until the pod is to end; a container that ends by itself is started again after its back-off."""
        while True:
            container = await self._start(directories)
            running = asyncio.create_task(container.wait())
            ending = asyncio.create_task(self._ending.wait())
            try:
                await asyncio.wait((running, ending), return_when=asyncio.FIRST_COMPLETED)
            finally:
                ending.cancel()
            if self._ending.is_set():
                running.cancel()
                return await self._stop(container)
            ended = running.result()
            self._restarts += 1
            await self._write_status("Running", {"waiting": {"reason": "CrashLoopBackOff"}}, last=ended)
            try:
                async with asyncio.timeout(self._pace.scaled(_RESTART_SECONDS)):
                    await self._ending.wait()
                return ended
            except TimeoutError:
                continue

    async def _start(self, directories: Sequence[Path]) -> Container:
        spec = self._pod["spec"]["containers"][0]
        message = f'Container image "{spec["image"]}" already present on machine'
        await self._events.normal(self._pod, "Pulled", message)
        await self._events.normal(self._pod, "Created", f"Created container: {spec['name']}")
        container = await Container.start(directories)
        await self._events.normal(self._pod, "Started", f"Started container {spec['name']}")
        state = {"running": {"startedAt": container.started_at}}
        await self._write_status("Running", state, ready=True, has_sandbox=True)
        return container

    async def _stop(self, container: Container) -> Exit:
        name = self._pod["spec"]["containers"][0]["name"]
        await self._events.normal(self._pod, "Killing", f"Stopping container {name}")
        return await container.stop(self._pod["spec"]["terminationGracePeriodSeconds"])

    async def _write_status(
        self,
        phase: str,
        state: Object,
        ready: bool = False,
        has_sandbox: bool = False,
        last: Exit | None = None,
    ) -> None:
        """What kubelet publishes after each sync; a pod that is gone from the API needs no status."""
        spec = self._pod["spec"]["containers"][0]
        finished = phase in ("Succeeded", "Failed")
        not_ready = {} if ready else {"reason": "PodCompleted" if finished else "ContainersNotReady"}
        if not ready and not finished:
            not_ready["message"] = f"containers with unready status: [{spec['name']}]"
        wanted: tuple[tuple[str, bool, dict[str, str]], ...] = (
            ("PodReadyToStartContainers", has_sandbox, {}),
            ("Initialized", True, {"reason": "PodCompleted"} if finished else {}),
            ("Ready", ready, not_ready),
            ("ContainersReady", ready, not_ready),
            ("PodScheduled", True, {}),
        )
        status = {
            "phase": phase,
            "startTime": self._started_at,
            "hostIP": "127.0.0.1",
            "conditions": [self._condition(kind, value, why) for kind, value, why in wanted],
            "containerStatuses": [
                {
                    "name": spec["name"],
                    "image": spec["image"],
                    "ready": ready,
                    "started": "running" in state,
                    "restartCount": self._restarts,
                    "state": state,
                    "lastState": last.to_state() if last else {},
                }
            ],
        }
        try:
            self._pod = await self._client.patch(PODS, self._pod, {"status": status}, "status")
        except StatusError as error:
            if error.reason != "NotFound":
                raise

    async def _write_never_started(self) -> None:
        """A pod that ends before its containers began: Failed, and nothing else of it changes."""
        status = self._pod["status"]
        containers = [entry | {"state": _NEVER_STARTED} for entry in status["containerStatuses"]]
        change = {"status": {"phase": "Failed", "containerStatuses": containers}}
        try:
            self._pod = await self._client.patch(PODS, self._pod, change, "status")
        except StatusError as error:
            if error.reason != "NotFound":
                raise

    def _condition(self, kind: str, value: bool, why: dict[str, str]) -> Object:
        known = objects.condition(self._pod, kind) or {}
        status = "True" if value else "False"
        since = known["lastTransitionTime"] if known.get("status") == status else timestamp()
        return {"type": kind, "status": status, "lastTransitionTime": since} | why


def _used_volumes(pod: Object) -> list[Object]:
    """kubelet leaves alone what no container mounts."""
    containers = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]
    used = {mount["name"] for container in containers for mount in container.get("volumeMounts") or []}
    return [volume for volume in pod["spec"].get("volumes") or [] if volume["name"] in used]
