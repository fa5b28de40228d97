"""Any Python CSI driver becomes a witness: both kinds of gRPC server, every way in which a call can end."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from csitrace.csi import csi_pb2 as csi
from csitrace.csi import csi_pb2_grpc
from csitrace.feed.interceptor import SyncTraceInterceptor, TraceInterceptor
from csitrace.feed.publisher import Publisher
from csitrace.model.events import RpcFinished, RpcStarted
from csitrace.model.rpc import Code

DRIVER, NODE = "probe.example.com", "node-1"


class Recorder(Publisher):
    """A publisher that also keeps what it was told, and says when a call has ended."""

    def __init__(self) -> None:
        super().__init__(DRIVER, NODE, instance="run-1")
        self.started: list[RpcStarted] = []
        self.finished: list[RpcFinished] = []
        self._began = threading.Semaphore(0)
        self._ended = threading.Semaphore(0)

    def publish(self, body: Any, occurred_at: int | None = None) -> None:
        super().publish(body, occurred_at)
        if isinstance(body, RpcStarted):
            self.started.append(body)
            self._began.release()
        elif isinstance(body, RpcFinished):
            self.finished.append(body)
            self._ended.release()

    async def began(self) -> RpcStarted:
        """The start of a call."""
        assert await asyncio.to_thread(self._began.acquire, True, 10.0)
        return self.started[-1]

    async def ended(self) -> RpcFinished:
        """The last call's end; the caller may learn of its answer before the driver's handler has ended."""
        assert await asyncio.to_thread(self._ended.acquire, True, 10.0)
        return self.finished[-1]


class AioNode(
    csi_pb2_grpc.NodeServicer
):  # not abstract at run time: the generated methods answer UNIMPLEMENTED
    """Each method ends in its own way."""

    async def NodeStageVolume(self, request: csi.NodeStageVolumeRequest, context: Any) -> Any:  # noqa: N802
        if request.volume_id == "abort":
            await context.abort(grpc.StatusCode.ABORTED, f"an operation for {request.volume_id} is running")
        if request.volume_id == "raise":
            raise ValueError("no such backend")
        if request.volume_id == "code":
            context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            context.set_details("no room")
        if request.volume_id == "leak":
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, f"login with {request.secrets['password']} failed"
            )
        if request.volume_id == "hang":
            await asyncio.Event().wait()
        return csi.NodeStageVolumeResponse()

    def NodeGetInfo(self, request: csi.NodeGetInfoRequest, context: Any) -> Any:  # noqa: N802
        return csi.NodeGetInfoResponse(node_id="id-1", max_volumes_per_node=3)

    def NodeUnstageVolume(self, request: csi.NodeUnstageVolumeRequest, context: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.INTERNAL, "busy")


class AioController(csi_pb2_grpc.ControllerServicer):
    async def CreateVolume(self, request: csi.CreateVolumeRequest, context: Any) -> Any:  # noqa: N802
        return csi.CreateVolumeResponse(volume=csi.Volume(volume_id=f"vol-{request.name}", capacity_bytes=5))


class SyncNode(csi_pb2_grpc.NodeServicer):
    """The same ways in threads. `release` lets a hanging call go on."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def NodeStageVolume(self, request: csi.NodeStageVolumeRequest, context: Any) -> Any:  # noqa: N802
        if request.volume_id == "abort":
            context.abort(grpc.StatusCode.ABORTED, f"an operation for {request.volume_id} is running")
        if request.volume_id == "raise":
            raise ValueError("no such backend")
        if request.volume_id == "code":
            context.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            context.set_details("no room")
        if request.volume_id == "leak":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, f"login with {request.secrets['password']} failed")
        if request.volume_id == "hang":
            self.release.wait(30)
        return csi.NodeStageVolumeResponse()


@asynccontextmanager
async def aio_driver(recorder: Recorder, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[TraceInterceptor(recorder)])
    csi_pb2_grpc.add_NodeServicer_to_server(AioNode(), server)
    csi_pb2_grpc.add_ControllerServicer_to_server(AioController(), server)
    server.add_insecure_port(f"unix:{tmp_path}/csi.sock")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/csi.sock") as channel:
            yield channel
    finally:
        await server.stop(0)


@contextmanager
def sync_server(recorder: Recorder, node: SyncNode, tmp_path: Path) -> Iterator[str]:
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, interceptors=[SyncTraceInterceptor(recorder)])
        csi_pb2_grpc.add_NodeServicer_to_server(node, server)
        server.add_insecure_port(f"unix:{tmp_path}/csi.sock")
        server.start()
        try:
            yield f"unix:{tmp_path}/csi.sock"
        finally:
            node.release.set()
            server.stop(0).wait()


@asynccontextmanager
async def sync_driver(recorder: Recorder, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    with sync_server(recorder, SyncNode(), tmp_path) as target:
        async with grpc.aio.insecure_channel(target) as channel:
            yield channel


both_servers = pytest.mark.parametrize("driver", [aio_driver, sync_driver])


def stage(volume_id: str, **fields: Any) -> csi.NodeStageVolumeRequest:
    return csi.NodeStageVolumeRequest(volume_id=volume_id, staging_target_path="/staging/x", **fields)


async def code_of(call: Awaitable[object]) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@both_servers
async def test_a_call_is_told_with_what_identifies_it(driver: Callable[..., Any], tmp_path: Path) -> None:
    """Start and end carry method, volume, paths, the origin's names and one call_id; the request is there without its secrets."""
    recorder = Recorder()
    async with driver(recorder, tmp_path) as channel:
        await csi_pb2_grpc.NodeStub(channel).NodeStageVolume(
            stage("vol-1", secrets={"password": "hunter2hunter2"})
        )
        finished = await recorder.ended()
    (started,) = recorder.started
    assert started.method == finished.method == "/csi.v1.Node/NodeStageVolume"
    assert (started.driver, started.instance, started.node_name) == (DRIVER, "run-1", NODE)
    assert (started.volume_id, started.staging_target_path) == ("vol-1", "/staging/x")
    assert started.request == {"volume_id": "vol-1", "staging_target_path": "/staging/x"}
    assert finished.call_id == started.call_id
    assert finished.code == Code.OK
    assert finished.duration_ns > 0


@both_servers
@pytest.mark.parametrize(
    ("volume_id", "code", "message"),
    [
        ("abort", Code.ABORTED, "an operation for abort is running"),
        ("raise", Code.UNKNOWN, "ValueError: no such backend"),
        ("code", Code.RESOURCE_EXHAUSTED, "no room"),
        ("leak", Code.UNAUTHENTICATED, "login with <redacted> failed"),
    ],
)
async def test_a_failure_is_told_with_the_code_the_caller_gets(
    driver: Callable[..., Any], tmp_path: Path, volume_id: str, code: Code, message: str
) -> None:
    """Abort, exception and set_code end a call with the code that the caller sees; a secret in the message is gone."""
    recorder = Recorder()
    async with driver(recorder, tmp_path) as channel:
        request = stage(volume_id, secrets={"password": "hunter2hunter2"})
        seen = await code_of(csi_pb2_grpc.NodeStub(channel).NodeStageVolume(request))
        finished = await recorder.ended()
    assert finished.code == code == seen.value[0]
    assert finished.message == message


async def test_a_deadline_that_passes_is_told_as_such(tmp_path: Path) -> None:
    """A coroutine whose caller's time-out passes ends at once, as DEADLINE_EXCEEDED."""
    recorder = Recorder()
    async with aio_driver(recorder, tmp_path) as channel:
        seen = await code_of(csi_pb2_grpc.NodeStub(channel).NodeStageVolume(stage("hang"), timeout=0.1))
        finished = await recorder.ended()
    assert finished.code == Code.DEADLINE_EXCEEDED == seen.value[0]


async def test_a_cancelled_call_is_told_as_such(tmp_path: Path) -> None:
    """A caller that hangs up ends the coroutine as CANCELLED."""
    recorder = Recorder()
    async with aio_driver(recorder, tmp_path) as channel:
        call = csi_pb2_grpc.NodeStub(channel).NodeStageVolume(stage("hang"))
        await recorder.began()
        call.cancel()
        finished = await recorder.ended()
    assert finished.code == Code.CANCELLED


async def test_a_thread_that_outlives_its_caller_stays_in_flight(tmp_path: Path) -> None:
    """A synchronous handler cannot be cancelled: its call ends when it does, with the caller's code and the driver's answer."""
    recorder, node = Recorder(), SyncNode()
    with sync_server(recorder, node, tmp_path) as target:
        async with grpc.aio.insecure_channel(target) as channel:
            seen = await code_of(csi_pb2_grpc.NodeStub(channel).NodeStageVolume(stage("hang"), timeout=0.1))
            assert seen is grpc.StatusCode.DEADLINE_EXCEEDED
            assert not recorder.finished
            node.release.set()
            finished = await recorder.ended()
    assert finished.code == Code.DEADLINE_EXCEEDED
    assert finished.message == "the caller gave up before the driver answered OK"


async def test_plain_functions_on_an_aio_server(tmp_path: Path) -> None:
    """grpc.aio runs a plain function in a thread; its answers and aborts are told as well."""
    recorder = Recorder()
    async with aio_driver(recorder, tmp_path) as channel:
        node = csi_pb2_grpc.NodeStub(channel)
        await node.NodeGetInfo(csi.NodeGetInfoRequest())
        info = await recorder.ended()
        seen = await code_of(node.NodeUnstageVolume(csi.NodeUnstageVolumeRequest(volume_id="v")))
        unstage = await recorder.ended()
    assert info.response == {"node_id": "id-1", "max_volumes_per_node": 3}
    assert (unstage.code, unstage.message) == (Code.INTERNAL, "busy")
    assert seen is grpc.StatusCode.INTERNAL


async def test_create_volume_learns_its_volume_from_the_answer(tmp_path: Path) -> None:
    """CreateVolume is known by name when it starts and by volume id when it is answered."""
    recorder = Recorder()
    async with aio_driver(recorder, tmp_path) as channel:
        await csi_pb2_grpc.ControllerStub(channel).CreateVolume(csi.CreateVolumeRequest(name="pvc-7"))
        finished = await recorder.ended()
    (started,) = recorder.started
    assert (started.volume_name, started.volume_id) == ("pvc-7", "")
    assert (finished.volume_name, finished.volume_id) == ("pvc-7", "vol-pvc-7")


async def test_methods_that_nobody_serves_are_told(tmp_path: Path) -> None:
    """UNIMPLEMENTED by the generated base class, and by gRPC itself for a service that is not registered."""
    recorder = Recorder()
    async with aio_driver(recorder, tmp_path) as channel:
        await code_of(
            csi_pb2_grpc.NodeStub(channel).NodeExpandVolume(csi.NodeExpandVolumeRequest(volume_id="v"))
        )
        base = await recorder.ended()
        await code_of(csi_pb2_grpc.IdentityStub(channel).Probe(csi.ProbeRequest()))
        absent = await recorder.ended()
    assert (base.method, base.code) == ("/csi.v1.Node/NodeExpandVolume", Code.UNIMPLEMENTED)
    assert (absent.method, absent.code) == ("/csi.v1.Identity/Probe", Code.UNIMPLEMENTED)


async def test_attempts_count_until_success(tmp_path: Path) -> None:
    """Attempts count per method, volume and target since the last success; another volume has its own count."""
    recorder = Recorder()
    async with aio_driver(recorder, tmp_path) as channel:
        node = csi_pb2_grpc.NodeStub(channel)
        for volume_id in ("abort", "abort", "fine", "abort", "fine"):
            await code_of(node.NodeStageVolume(stage(volume_id)))
            await recorder.ended()
    assert [started.attempt for started in recorder.started] == [1, 2, 1, 3, 1]
    assert [finished.attempt for finished in recorder.finished] == [1, 2, 1, 3, 1]


async def test_other_services_pass_untraced(tmp_path: Path) -> None:
    """Only csi.v1 is told: a service beside it answers, and nothing is published."""
    recorder = Recorder()
    echo = grpc.unary_unary_rpc_method_handler(lambda request, _context: request)
    server = grpc.aio.server(interceptors=[TraceInterceptor(recorder)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("other.v1.Echo", {"Say": echo}),))
    server.add_insecure_port(f"unix:{tmp_path}/csi.sock")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/csi.sock") as channel:
        assert await channel.unary_unary("/other.v1.Echo/Say")(b"hello") == b"hello"
    await server.stop(0)
    assert recorder.started == []
