"""`csitrace agent` as a process, over a node made of a directory: real mounts, drivers' feeds, and whoever hears it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc.aio
import pytest

from csitrace import __version__
from csitrace.agent import probe
from csitrace.feed.publisher import Publisher
from csitrace.feed.server import listen
from csitrace.lifecycle.state import State
from csitrace.model.events import RpcFinished, RpcStarted, Witness
from csitrace.sources.backoff import Backoff
from csitrace.sources.discovery import SOCKET_NAME, discover
from csitrace.sources.feed import FeedSource
from tests.integration.agent.hearing import Hearing, calls, hearing
from tests.integration.fs.mounted import MountedVolume, mounted
from tests.integration.kernel.namespace import mount_namespace

NODE, DRIVER, CONTROLLER = "node-1", "probe.example.com", "control.example.com"
STAGE = "/csi.v1.Node/NodeStageVolume"
POD_UID = "0a1b2c3d-1111-2222-3333-444455556666"


def started(call_id: int, instance: str = "run-1") -> RpcStarted:
    return RpcStarted(
        driver=DRIVER, instance=instance, node_name=NODE, call_id=call_id, method=STAGE, volume_id="v"
    )


def finished(call_id: int, instance: str = "run-1") -> RpcFinished:
    return RpcFinished(
        driver=DRIVER, instance=instance, node_name=NODE, call_id=call_id, method=STAGE, volume_id="v", code=0
    )


@asynccontextmanager
async def driver(root: Path, publisher: Publisher, below: str) -> AsyncIterator[None]:
    """A driver's feed at a place below the kubelet's root."""
    directory = root / below
    directory.mkdir(parents=True, exist_ok=True)
    short = root / "d"  # as a driver sees the place from its pod, by a path that can be bound
    if len(str(directory)) > 80:
        short.symlink_to(directory)
    server = grpc.aio.server()
    publisher.add_to(server)
    listen(server, f"unix://{short if short.is_symlink() else directory}/{SOCKET_NAME}")
    await server.start()
    try:
        yield
    finally:
        publisher.close()
        await server.stop(0)


@contextmanager
def agent(root: Path, *flags: str) -> Iterator["subprocess.Popen[str]"]:
    """A running agent that serves at `root`/a.sock."""
    command = [
        *(sys.executable, "-m", "csitrace", "agent", "--node-name", NODE),
        *("--kubelet-root", str(root), "--listen", f"unix://{root}/a.sock", *flags),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert said == f"csitrace agent {__version__}: serving on unix://{root}/a.sock\n"
            yield process
        finally:
            process.kill()


def source(root: Path) -> FeedSource:
    return FeedSource(
        f"unix://{root}/a.sock",
        name="agent a",
        missed_as=(Witness.KERNEL, NODE),
        backoff=Backoff(0.05, 0.2),
    )


def daemon_pid(state: State, volume: MountedVolume) -> int | None:
    connection = state.fuse.get((NODE, volume.hello.connection))
    return connection.daemon.pid if connection is not None and connection.daemon is not None else None


async def until_daemon(heard: Hearing, volume: MountedVolume) -> None:
    await heard.until("daemon", lambda state: daemon_pid(state, volume) == volume.process.pid)


async def test_kernel_and_drivers_of_a_node_are_heard_through_it(tmp_path: Path) -> None:
    """Who comes late hears of the mount, its daemon and the calls as they are; what comes after comes as well. The socket is for
    its owner alone; SIGTERM ends the agent with 0."""
    publisher, controller = Publisher(DRIVER, NODE, "run-1"), Publisher(CONTROLLER, "", "run-7")
    publisher.publish(started(1))
    empty_dir = f"pods/{POD_UID}/volumes/kubernetes.io~empty-dir/socket"
    async with (
        driver(tmp_path, publisher, f"plugins/{DRIVER}"),
        driver(tmp_path, controller, empty_dir),
    ):
        with (
            mounted(tmp_path / f"pods/{POD_UID}/volumes/kubernetes.io~csi/v") as volume,
            agent(tmp_path) as process,
        ):
            assert os.stat(tmp_path / "a.sock").st_mode & 0o777 == 0o600
            async with hearing(source(tmp_path)) as heard:
                await heard.until_heard(NODE)
                await until_daemon(heard, volume)
                for scope in (f"{DRIVER}@{NODE}", f"{CONTROLLER}@{NODE}"):
                    await heard.until(scope, lambda state, scope=scope: _is_up(state, scope))
                kernel = heard.kernel(NODE)
                assert kernel is not None
                assert kernel.detail.endswith(f"heard through agent a, csitrace {__version__}")
                publisher.publish(finished(1))
                await heard.until("an answer", lambda state: not state.in_flight)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 30) == 0
                await heard.until_missed(NODE, "agent a")
        assert calls(heard.state) == [("run-1", 1)]


async def test_a_killed_agent_is_missed_and_its_successor_repeats_nothing(tmp_path: Path) -> None:
    """Every source that was heard through it is down while it is gone; afterwards each call is there once, and the calls that
    were answered meanwhile are answered."""
    publisher = Publisher(DRIVER, NODE, "run-1")
    for body in (started(1), started(2), finished(2)):
        publisher.publish(body)
    async with driver(tmp_path, publisher, f"plugins/{DRIVER}"), hearing(source(tmp_path)) as heard:
        with agent(tmp_path) as process:
            await heard.until_heard(NODE)
            await heard.until("the calls", lambda state: calls(state) == [("run-1", 1), ("run-1", 2)])
            await heard.until("one in flight", lambda state: list(state.in_flight) == [("run-1", 1)])
            process.kill()
            await heard.until_missed(NODE, "agent a")
            await heard.until("down", lambda state: not _is_up(state, f"{DRIVER}@{NODE}"))
        publisher.publish(finished(1))
        with agent(tmp_path):
            await heard.until_heard(NODE)
            await heard.until("an answer", lambda state: not state.in_flight)
            await heard.until("up", lambda state: _is_up(state, f"{DRIVER}@{NODE}"))
            assert calls(heard.state) == [("run-1", 1), ("run-1", 2)]


async def test_an_agent_that_hangs_is_missed_until_it_goes_on(tmp_path: Path) -> None:
    """A stopped process keeps its connections: that it gives no sign of life is the reason. When it goes on, nothing is lost."""
    publisher = Publisher(DRIVER, NODE, "run-1")
    async with driver(tmp_path, publisher, f"plugins/{DRIVER}"), hearing(source(tmp_path)) as heard:
        with agent(tmp_path) as process:
            await heard.until_heard(NODE)
            process.send_signal(signal.SIGSTOP)
            missed = await heard.until_missed(NODE, "agent a gave no sign of life for")
            assert not missed.denied
            publisher.publish(started(1))
            process.send_signal(signal.SIGCONT)
            await heard.until_heard(NODE)
            await heard.until("the call", lambda state: calls(state) == [("run-1", 1)])


async def test_a_drivers_silence_crosses_the_agent(tmp_path: Path) -> None:
    """A driver that goes is down, with the reason that the agent has; the node's kernel is heard all the same."""
    publisher = Publisher(DRIVER, NODE, "run-1")
    with agent(tmp_path):
        async with hearing(source(tmp_path)) as heard:
            await heard.until_heard(NODE)
            async with driver(tmp_path, publisher, f"plugins/{DRIVER}"):
                await heard.until("up", lambda s: _is_up(s, f"{DRIVER}@{NODE}"))
            await heard.until("down", lambda s: not _is_up(s, f"{DRIVER}@{NODE}"))
            assert DRIVER in heard.state.sources[Witness.DRIVER, f"{DRIVER}@{NODE}"].reason
            await heard.until_heard(NODE)


async def test_the_node_is_seen_as_another_process_sees_it(tmp_path: Path) -> None:
    """In a pod, the host's mounts and files are those of the host's init: here, of a process with mounts of its own."""
    publisher = Publisher(DRIVER, NODE, "run-1")
    root = tmp_path / "k"
    (root / "inside").mkdir(parents=True)
    try:
        namespace = mount_namespace(root)
        with namespace as other:
            other.mount_tmpfs("inside")
            visible_there = Path(f"/proc/{other.pid}/root{root}/inside")
            async with driver(visible_there, publisher, f"plugins/{DRIVER}"):
                (found,) = discover(f"{root}/inside", other.pid)
                assert found == f"unix://{visible_there}/plugins/{DRIVER}/{SOCKET_NAME}"
                assert discover(f"{root}/inside") == []
                with _agent_in(tmp_path, root / "inside", other.pid):
                    async with hearing(source(tmp_path)) as heard:
                        await heard.until_heard(NODE)
                        await heard.until("up", lambda s: _is_up(s, f"{DRIVER}@{NODE}"))
    except PermissionError as error:
        _unavailable(str(error))


async def test_the_probe_tells_a_served_feed_from_none(tmp_path: Path) -> None:
    """An agent answers; a port where nobody listens, or somebody who does not speak HTTP/2, does not."""
    server = grpc.aio.server()
    Publisher("", "").add_to(server)
    port = int(listen(server, "127.0.0.1:0").rpartition(":")[2])
    await server.start()
    assert await asyncio.to_thread(probe.answers, "127.0.0.1", port)
    await server.stop(0)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello.example.com\r\n")
        writer.close()

    other = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    assert not await asyncio.to_thread(probe.answers, "127.0.0.1", port)
    other.close()
    await other.wait_closed()
    assert not await asyncio.to_thread(probe.answers, "127.0.0.1", port)


@contextmanager
def _agent_in(directory: Path, root: Path, pid: str) -> Iterator["subprocess.Popen[str]"]:
    """An agent that serves in `directory` what process `pid` sees below `root`."""
    with agent(directory, f"--kubelet-root={root}", f"--host-pid={pid}") as process:
        yield process


def _is_up(state: State, scope: str) -> bool:
    found = state.sources.get((Witness.DRIVER, scope))
    return found is not None and found.up


def _unavailable(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
