"""external-resizer: grows a volume with ControllerExpandVolume, and leaves the node's part to kubelet.

Order, conditions and messages: external-resizer 2.3.
"""

import socket
from functools import partial

import grpc

from csitrace.csi import csi_pb2
from csitrace.lab import objects
from csitrace.lab.apiserver.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from csitrace.lab.clock import timestamp
from csitrace.lab.csi_client import DriverClient, capability, go_text
from csitrace.lab.loops.expand import is_to_grow
from csitrace.lab.loops.leases import hold_lease
from csitrace.lab.program import Program
from csitrace.lab.quantity import format_quantity, parse_quantity
from csitrace.lab.recorder import EventRecorder
from csitrace.lab.status import Object
from csitrace.lab.workqueue import Backoff, RetryError, WorkQueue
from csitrace.model.rpc import NODE_NON_FINAL

_CONTROLLER = csi_pb2.ControllerServiceCapability.RPC.Type
_FIRST_RETRY_SECONDS = 1.0  # --retry-interval-start
_MAX_RETRY_SECONDS = 300.0  # --retry-interval-max
_INFEASIBLE = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.NOT_FOUND}
)
_ON_NODE = frozenset({"NodeResizePending", "NodeResizeInProgress"})
PENDING_MESSAGE = "Waiting for user to (re-)start a pod to finish file system resize of volume on node."


async def install_resizer(driver_name: str, program: Program, driver: DriverClient) -> None:
    """Build the loop on a driver that is ready; one that cannot expand volumes gets none."""
    capabilities = await driver.controller_capabilities()
    if _CONTROLLER.EXPAND_VOLUME in capabilities:
        multi_writer = _CONTROLLER.SINGLE_NODE_MULTI_WRITER in capabilities
        Resizer(program, driver, driver_name, multi_writer)
    lease = f"external-resizer-{driver_name.replace('.', '-')}"
    program.task(partial(hold_lease, program, "kube-system", lease, socket.gethostname(), 15))


class Resizer:
    def __init__(self, program: Program, driver: DriverClient, driver_name: str, multi_writer: bool) -> None:
        self._client = program.client
        self._pace = program.pace
        self._driver = driver
        self._driver_name = driver_name
        self._multi_writer = multi_writer
        self._events = EventRecorder(program.client, f"external-resizer {driver_name}")
        self._claims = program.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = program.informer(PERSISTENT_VOLUMES)
        backoff = Backoff(self._pace.scaled(_FIRST_RETRY_SECONDS), self._pace.scaled(_MAX_RETRY_SECONDS))
        self._queue: WorkQueue[tuple[str, str]] = WorkQueue(self._sync, backoff)
        self._claims.on_change(lambda claim, deleted: self._queue.add_unless_failing(objects.key_of(claim)))
        program.task(self._queue.run)

    async def _sync(self, key: tuple[str, str]) -> None:
        # From the server: a cache that does not show our own last write yet would have it all done again.
        claim = await self._client.find(PERSISTENT_VOLUME_CLAIMS, key[1], key[0])
        if claim is None or not is_to_grow(claim) or objects.is_terminating(claim):
            return
        volume = await self._client.find(PERSISTENT_VOLUMES, claim["spec"]["volumeName"])
        if volume is None or resize_status(claim) in _ON_NODE:
            return
        if (volume["spec"].get("csi") or {}).get("driver") != self._driver_name:
            return
        await self._expand(claim, volume)

    async def _expand(self, claim: Object, volume: Object) -> None:
        wanted = claim["spec"]["resources"]["requests"]["storage"]
        name = volume["metadata"]["name"]
        claim = await self._mark(claim, "ControllerResizeInProgress", [_condition("Resizing")], wanted)
        await self._events.normal(claim, "Resizing", f"External resizer is resizing volume {name}")
        source = volume["spec"]["csi"]
        request = csi_pb2.ControllerExpandVolumeRequest(
            volume_id=source["volumeHandle"],
            capacity_range=csi_pb2.CapacityRange(required_bytes=parse_quantity(wanted)),
            volume_capability=capability(
                volume["spec"]["accessModes"], self._multi_writer, source.get("fsType", "")
            ),
        )
        try:
            answer = await self._driver.controller.ControllerExpandVolume(
                request, timeout=self._pace.call_timeout
            )
        except grpc.aio.AioRpcError as error:
            await self._failed(claim, name, error)
            raise RetryError from error
        capacity = format_quantity(answer.capacity_bytes)
        marks = {"volume.alpha.kubernetes.io/pre-resize-capacity": claim["status"]["capacity"]["storage"]}
        if not answer.node_expansion_required:
            marks = {}
        change = {"spec": {"capacity": {"storage": capacity}}, "metadata": {"annotations": marks}}
        await self._client.patch(PERSISTENT_VOLUMES, volume, change)
        if answer.node_expansion_required:
            pending = _condition("FileSystemResizePending") | {"message": PENDING_MESSAGE}
            claim = await self._mark(claim, "NodeResizePending", [*_resizing(claim), pending])
            message = "Require file system resize of volume on node"
            await self._events.normal(claim, "FileSystemResizeRequired", message)
            return
        status = {"capacity": {"storage": capacity}, "conditions": None, "allocatedResourceStatuses": None}
        claim = await self._client.patch(PERSISTENT_VOLUME_CLAIMS, claim, {"status": status}, "status")
        await self._events.normal(claim, "VolumeResizeSuccessful", "Resize volume succeeded")

    async def _failed(self, claim: Object, volume_name: str, error: grpc.aio.AioRpcError) -> None:
        text = go_text(error)
        if error.code().value[0] not in NODE_NON_FINAL:
            infeasible = error.code() in _INFEASIBLE
            state = "ControllerResizeInfeasible" if infeasible else "ControllerResizeInProgress"
            failed = _condition("ControllerResizeError") | {"message": f"failed to expand pvc with {text}"}
            claim = await self._mark(claim, state, [*_resizing(claim), failed])
        message = f'resize volume "{volume_name}" by resizer "{self._driver_name}" failed: {text}'
        await self._events.warning(claim, "VolumeResizeFailed", message)

    async def _mark(self, claim: Object, state: str, conditions: list[Object], allocated: str = "") -> Object:
        status: Object = {"allocatedResourceStatuses": {"storage": state}, "conditions": conditions}
        if allocated:
            status["allocatedResources"] = {"storage": allocated}
        return await self._client.patch(PERSISTENT_VOLUME_CLAIMS, claim, {"status": status}, "status")


def resize_status(claim: Object) -> str:
    """How far the expansion has come: an entry of `allocatedResourceStatuses`."""
    return str((claim["status"].get("allocatedResourceStatuses") or {}).get("storage", ""))


def _resizing(claim: Object) -> list[Object]:
    found = objects.condition(claim, "Resizing")
    return [found] if found else []


def _condition(kind: str) -> Object:
    return {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": timestamp()}
