"""The whole lab in one process: API server, controllers, kubelets and the user, and beside it each node's driver."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import msgspec

from csitrace.lab.apiserver.server import ApiServer
from csitrace.lab.apiserver.store import Store
from csitrace.lab.client import Endpoint
from csitrace.lab.csi_client import DriverClient
from csitrace.lab.driver_program import DriverProgram
from csitrace.lab.kubelet.kubelet import install_kubelet
from csitrace.lab.kubelet.layout import Layout
from csitrace.lab.loops.attacher import install_attacher
from csitrace.lab.loops.controller_manager import install_controllers
from csitrace.lab.loops.provisioner import install_provisioner
from csitrace.lab.loops.resizer import install_resizer
from csitrace.lab.loops.scheduler import Scheduler
from csitrace.lab.loops.sidecar import run_sidecar
from csitrace.lab.names import DRIVER_NAME, NAMESPACE, LabNode, LabReady, node_name
from csitrace.lab.pace import Pace
from csitrace.lab.parts import Parts
from csitrace.lab.program import Program
from csitrace.lab.scenarios import Story, run_story
from csitrace.lab.user import User


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSettings:
    """`directory`: the lab's own, with a short path (sockets lie below it); `nodes`: how many; `once`: tell each story once,
    and stay there; `attaches`: False for a driver whose volumes are not attached to nodes, and which offers inline ones."""

    directory: Path
    stories: tuple[Story, ...]
    pace: Pace
    nodes: int = 1
    once: bool = False
    attaches: bool = True


_CONTROL_PLANE: tuple[tuple[str, Callable[[Program], object]], ...] = (
    ("kube-controller-manager", install_controllers),
    ("kube-scheduler", Scheduler),
)

_SIDECARS: tuple[tuple[str, Callable[[str, Program, DriverClient], Awaitable[None]]], ...] = (
    ("csi-provisioner", install_provisioner),
    ("csi-attacher", install_attacher),
    ("csi-resizer", install_resizer),
)


async def run_lab(
    settings: LabSettings, parts: Parts, ready: Callable[[LabReady], None], reached: Callable[[str], None]
) -> None:
    """Run until cancelled. `parts`: takes in the programs, which can be ended there; `ready` is called when the API is served,
    `reached` with each story's name when it got there."""
    drivers = [_driver(settings, number) for number in range(1, settings.nodes + 1)]
    pace = settings.pace
    token = secrets.token_urlsafe(32)
    server = ApiServer(Store(), token, bookmark_seconds=pace.scaled(60))
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        server.listening() as url,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        endpoint = Endpoint(url, token)
        kubectl = Program(session, endpoint, "kubectl", pace)
        kubelets = [Program(session, endpoint, "kubelet", pace) for _ in drivers]
        user = User(kubectl, drivers)
        await user.set_up()
        for story in settings.stories:
            kubectl.task(partial(run_story, story, user, reached, settings.once))
        kubeconfig = settings.directory / "kubeconfig"
        _write_kubeconfig(kubeconfig, endpoint)
        ready(_described(url, kubeconfig, drivers))
        for name, install_loops in _CONTROL_PLANE:
            parts.add(name, partial(_live, partial(Program, session, endpoint, name, pace), install_loops))
        for number, (driver, kubelet) in enumerate(zip(drivers, kubelets, strict=True), 1):
            await install_kubelet(kubelet, driver.node_id, driver.layout.root)
            parts.add(f"kubelet-{number}", kubelet.run, kubelet.client.reachable)
            parts.add(f"driver-{number}", partial(driver.run, pace))
        for name, install in _SIDECARS:
            new_program = partial(Program, session, endpoint, name, pace)
            parts.add(
                name,
                partial(run_sidecar, drivers[0].socket, pace, new_program, partial(install, DRIVER_NAME)),
            )
        async with asyncio.TaskGroup() as group:
            group.create_task(parts.run())
            group.create_task(kubectl.run())


async def _live(new_program: Callable[[], Program], install: Callable[[Program], object]) -> None:
    """One life of a program, which knows nothing of an earlier one."""
    program = new_program()
    install(program)
    await program.run()


def _driver(settings: LabSettings, number: int) -> DriverProgram:
    """The driver of the `number`-th node; the first one serves the Controller."""
    name, directory = node_name(number), settings.directory
    layout = Layout(directory / name / "kubelet")
    layout.root.mkdir(parents=True, exist_ok=True)
    return DriverProgram(
        name=DRIVER_NAME,
        node_id=name,
        layout=layout,
        state=directory / "driver",
        log=directory / name / "driver.log",
        controller=number == 1,
        attaches=settings.attaches,
    )


def _described(url: str, kubeconfig: Path, drivers: list[DriverProgram]) -> LabReady:
    nodes = tuple(
        LabNode(
            name=driver.node_id,
            kubelet_root=str(driver.layout.root),
            feed=f"unix://{driver.feed_socket}",
        )
        for driver in drivers
    )
    return LabReady(
        pid=os.getpid(),
        url=url,
        kubeconfig=str(kubeconfig),
        namespace=NAMESPACE,
        driver_name=DRIVER_NAME,
        nodes=nodes,
    )


def _write_kubeconfig(path: Path, endpoint: Endpoint) -> None:
    """For kubectl and csitrace alike; readable by its owner alone, since it holds the token."""
    name = "csitrace-lab"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": endpoint.url}}],
        "users": [{"name": name, "user": {"token": endpoint.token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": NAMESPACE}}],
        "current-context": name,
    }
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(config))
