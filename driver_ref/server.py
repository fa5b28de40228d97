"""Puts the driver together and runs it: state, services, sockets; recovers before the first call, lets go at the end."""

import asyncio
import hashlib
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from csitrace.csi import csi_pb2, csi_pb2_grpc, pluginregistration_pb2, pluginregistration_pb2_grpc
from csitrace.errors import NotAllowedError
from csitrace.feed import feed_pb2
from csitrace.feed.interceptor import TraceInterceptor
from csitrace.feed.publisher import Publisher
from driver_ref.calls import CallPath, VolumeLocks
from driver_ref.capabilities import Capabilities
from driver_ref.control import FaultsService
from driver_ref.controller import Controller
from driver_ref.faults import Faults
from driver_ref.identity import Identity
from driver_ref.launcher import Launcher, ProcessLauncher
from driver_ref.node import Node
from driver_ref.pods.api import PodApi
from driver_ref.pods.keeper import NoAttendance, PodKeeper
from driver_ref.pods.launcher import PodLauncher
from driver_ref.pods.spec import Template
from driver_ref.proto import faults_pb2, faults_pb2_grpc
from driver_ref.registration import Registration, socket_path
from driver_ref.settings import Settings
from driver_ref.staging import Staging
from driver_ref.volumes import NodeDescription, StateDirectory
from driver_ref.witness import Witness

_LOG = logging.getLogger(__name__)

STOP_GRACE = 2.0
"""Seconds that calls get to finish when the driver is told to end."""


class Driver:
    """One driver process. `start` once, then `stop` once."""

    def __init__(self, settings: Settings) -> None:
        """Raises UsageError for settings that cannot work together."""
        self._settings = settings
        self._state = StateDirectory(settings.state_dir)
        self._faults = Faults()
        self._locks = VolumeLocks()
        self._publisher = Publisher(settings.driver_name, settings.node_id if settings.node else "")
        self._capabilities = Capabilities(settings.without, settings.controller, settings.node)
        self._keeper = self._make_keeper() if settings.controller and settings.launcher == "pod" else None
        self._controller = self._make_controller() if settings.controller else None
        self._staging: Staging | None = None
        self._node: Node | None = None
        if settings.node:
            self._staging, self._node = self._make_node()
        self._calls = CallPath(
            self._capabilities,
            self._locks,
            self._faults,
            self._parameters,
            self._staging.kill if self._staging is not None else lambda _: False,
        )
        self._servers: list[grpc.aio.Server] = []
        self._feed_server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Recover what an earlier driver left, then open the sockets; kubelet's registration last."""
        if self._controller is not None:
            await asyncio.to_thread(self._controller.recover)
        if self._keeper is not None:
            await self._keeper.start()
        if self._staging is not None:
            await self._staging.recover()
        interceptors = (TraceInterceptor(self._publisher), self._calls)
        await self._serve(f"unix:{self._settings.endpoint}", self._add_csi, interceptors)
        if self._settings.feed:
            self._feed_server = await self._serve(self._settings.feed, self._add_feed)
        if self._settings.registration_dir is not None and self._node is not None:
            path = socket_path(self._settings.registration_dir, self._settings.driver_name)
            await self._serve(f"unix:{path}", self._add_registration)

    async def stop(self) -> None:
        """Close the sockets and let go of the FUSE processes: they go on serving.

        The feed is closed last, so that its listeners hear how the calls in flight ended.
        """
        called = [server for server in self._servers if server is not self._feed_server]
        await asyncio.gather(*(server.stop(STOP_GRACE) for server in reversed(called)))
        await self._calls.close()
        self._publisher.close()
        if self._feed_server is not None:
            await self._feed_server.stop(STOP_GRACE)
        if self._staging is not None:
            await self._staging.close()
        if self._keeper is not None:
            await self._keeper.close()

    def _make_keeper(self) -> PodKeeper:
        settings = self._settings
        template = Template(
            driver_name=settings.driver_name,
            namespace=settings.fuse_namespace,
            image=settings.fuse_image,
            service_account=settings.fuse_service_account,
        )
        api = PodApi(settings.fuse_namespace, settings.kubeconfig)
        return PodKeeper(api, template, self._state, self._locks)

    def _make_controller(self) -> Controller:
        own = self._settings.topology if self._settings.node else {}
        attendance = self._keeper or NoAttendance()
        return Controller(self._state, self._capabilities, own, self._settings.max_volume_size, attendance)

    def _make_node(self) -> tuple[Staging, Node]:
        settings = self._settings
        plugin = settings.kubelet_dir / "plugins" / settings.driver_name
        description = NodeDescription(
            node_id=settings.node_id,
            topology=settings.topology if self._capabilities.has("topology") else {},
            max_volumes=settings.max_volumes,
            fuse_directory=str(plugin / "fuse") if settings.launcher == "pod" else "",
        )
        self._state.nodes.save(settings.node_id, description)
        records = self._state.on_node(settings.node_id)
        # Socket paths are short of room, so the node has a short name here.
        own = hashlib.sha256(settings.node_id.encode()).hexdigest()[:8]
        launcher: Launcher = (
            PodLauncher(settings.driver_name, plugin / "fuse")
            if settings.launcher == "pod"
            else ProcessLauncher(settings.state_dir / "run" / own, settings.state_dir / "logs")
        )
        witness = Witness(self._publisher, settings.node_id)
        staging = Staging(
            self._state, records, launcher, settings.node_id, self._locks, self._faults, witness
        )
        return staging, Node(
            self._state,
            records,
            description,
            self._capabilities,
            staging,
            witness,
            private_mounts=plugin / "mounts",
            max_volume_size=settings.max_volume_size,
        )

    def _parameters(self, volume_id: str) -> Mapping[str, str]:
        volume = self._state.volume(volume_id)
        return {} if volume is None else volume.parameters

    async def _serve(
        self,
        address: str,
        add: Callable[[grpc.aio.Server], Sequence[str]],
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> grpc.aio.Server:
        """Open one socket with the services that `add` puts in, and health and reflection beside them."""
        server = grpc.aio.server(interceptors=interceptors)
        names = add(server)
        status = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
        for name in ("", *names):
            await status.set(name, health_pb2.HealthCheckResponse.SERVING)
        reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        path = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
        if path is not None:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise NotAllowedError(f"cannot listen on {address}: is it in use, or not writable?") from error
        await server.start()
        if path is not None:
            path.chmod(0o600)
        self._servers.append(server)
        where = address if path is not None else f"{address.rpartition(':')[0]}:{port}"
        _LOG.info("%s on %s", ", ".join(names), where)
        return server

    def _add_csi(self, server: grpc.aio.Server) -> Sequence[str]:
        services = csi_pb2.DESCRIPTOR.services_by_name
        identity = Identity(self._settings.driver_name, self._capabilities, self._state)
        csi_pb2_grpc.add_IdentityServicer_to_server(identity, server)
        names = [services["Identity"].full_name]
        if self._controller is not None:
            csi_pb2_grpc.add_ControllerServicer_to_server(self._controller, server)
            names.append(services["Controller"].full_name)
        if self._node is not None:
            csi_pb2_grpc.add_NodeServicer_to_server(self._node, server)
            names.append(services["Node"].full_name)
        return names

    def _add_feed(self, server: grpc.aio.Server) -> Sequence[str]:
        self._publisher.add_to(server)
        faults_pb2_grpc.add_FaultsServicer_to_server(FaultsService(self._faults, self._staging), server)
        return [
            feed_pb2.DESCRIPTOR.services_by_name["TraceFeed"].full_name,
            faults_pb2.DESCRIPTOR.services_by_name["Faults"].full_name,
        ]

    def _add_registration(self, server: grpc.aio.Server) -> Sequence[str]:
        servicer = Registration(self._settings.driver_name, self._settings.endpoint)
        pluginregistration_pb2_grpc.add_RegistrationServicer_to_server(servicer, server)
        return [pluginregistration_pb2.DESCRIPTOR.services_by_name["Registration"].full_name]


async def run(settings: Settings) -> None:
    """Run a driver until SIGTERM or SIGINT."""
    os.umask(0o077)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    driver = Driver(settings)
    await driver.start()
    _LOG.info("driver %s is ready on node %s", settings.driver_name, settings.node_id)
    await told.wait()
    await driver.stop()
