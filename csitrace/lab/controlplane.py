"""The whole lab in one process: API server, controllers, kubelet and the user, with the driver as a program beside it."""

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
from csitrace.lab.loops.attach_detach import AttachDetachController
from csitrace.lab.loops.attacher import install_attacher
from csitrace.lab.loops.protection import ClaimProtection, VolumeProtection
from csitrace.lab.loops.provisioner import install_provisioner
from csitrace.lab.loops.pv_controller import PersistentVolumeController
from csitrace.lab.loops.scheduler import Scheduler
from csitrace.lab.loops.sidecar import run_sidecar
from csitrace.lab.names import DRIVER_NAME, NAMESPACE, NODE_NAME, LabReady
from csitrace.lab.pace import Pace
from csitrace.lab.program import Program
from csitrace.lab.scenarios import Story, run_story
from csitrace.lab.user import User


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSettings:
    """`directory`: the lab's own, with a short path (sockets lie below it); `once`: tell each story once, and stay there."""

    directory: Path
    stories: tuple[Story, ...]
    pace: Pace
    once: bool = False


_SIDECARS: tuple[tuple[str, Callable[[str, Program, DriverClient], Awaitable[None]]], ...] = (
    ("csi-provisioner", install_provisioner),
    ("csi-attacher", install_attacher),
)


async def run_lab(
    settings: LabSettings, ready: Callable[[LabReady], None], reached: Callable[[str], None]
) -> None:
    """Run until cancelled. `ready` is called when the API is served, `reached` with each story's name when it got there."""
    layout = Layout(settings.directory / "kubelet")
    layout.root.mkdir(parents=True, exist_ok=True)
    driver = DriverProgram(DRIVER_NAME, NODE_NAME, layout, settings.directory)
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
        user = User(kubectl, driver)
        await user.set_up()
        for story in settings.stories:
            kubectl.task(partial(run_story, story, user, reached, settings.once))
        kubeconfig = settings.directory / "kubeconfig"
        _write_kubeconfig(kubeconfig, endpoint)
        ready(
            LabReady(
                pid=os.getpid(),
                url=url,
                kubeconfig=str(kubeconfig),
                kubelet_root=str(layout.root),
                node_name=NODE_NAME,
                namespace=NAMESPACE,
                driver_name=DRIVER_NAME,
                feed=f"unix://{driver.feed_socket}",
            )
        )
        controller_manager = Program(session, endpoint, "kube-controller-manager", pace)
        PersistentVolumeController(controller_manager)
        AttachDetachController(controller_manager)
        ClaimProtection(controller_manager)
        VolumeProtection(controller_manager)
        scheduler = Program(session, endpoint, "kube-scheduler", pace)
        Scheduler(scheduler)
        kubelet = Program(session, endpoint, "kubelet", pace)
        await install_kubelet(kubelet, NODE_NAME, layout.root)
        async with asyncio.TaskGroup() as group:
            for program in (controller_manager, scheduler, kubelet, kubectl):
                group.create_task(program.run())
            for name, install in _SIDECARS:
                group.create_task(
                    run_sidecar(
                        driver.socket,
                        pace,
                        partial(Program, session, endpoint, name, pace),
                        partial(install, DRIVER_NAME),
                    )
                )
            group.create_task(driver.run(pace))


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
