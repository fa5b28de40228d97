"""The embedded lab as a place for roads: through its API, watched from outside its mount namespace."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from csitrace.engine.session import Session
from csitrace.lab.apiserver.resources import NAMESPACES, RESOURCES, Resource
from csitrace.lab.client import Client, Endpoint
from csitrace.lab.status import StatusError
from csitrace.lifecycle.state import Volume
from csitrace.model.events import Witness
from csitrace.sources import Source
from csitrace.sources.feed import FeedSource
from csitrace.sources.kernel import KernelSource
from csitrace.sources.kubernetes.config import ConnectionOptions
from csitrace.sources.kubernetes.source import KubernetesSource
from tests.cluster.harness.objects import LOCAL, Image
from tests.cluster.watching import hearing
from tests.integration.lab.conftest import LabProcess
from tests.roads import driver, leftovers
from tests.roads.manifests import DRIVER, WAITING
from tests.roads.road import LAB, Object
from tests.roads.traveller import Told

_GONE_WITHIN_S = 60.0

_BY_NAME = {name: resource for resource in RESOURCES for name in (resource.singular, *resource.short_names)}


@dataclass(frozen=True, slots=True)
class InLab:
    """A running lab. Its mounts and files are seen through its process, whose mount namespace is its own."""

    lab: LabProcess
    client: Client
    kind: str = LAB
    patience_s: float = 40.0
    image: Image = LOCAL
    unattached_driver: str = DRIVER
    unattached_class: str = WAITING

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(node["name"] for node in self.lab.nodes)

    @property
    def cluster(self) -> "LabParts":
        return LabParts(
            self.lab, tuple(LabNode(self._inside(node["kubelet_root"])) for node in self.lab.nodes)
        )

    def _inside(self, path: str) -> Path:
        """A path of the lab's, as it is to be reached from outside its mount namespace."""
        return Path(f"/proc/{self.lab.ready['pid']}/root") / path.lstrip("/")

    async def open_namespace(self, name: str) -> None:
        await self.client.ensure(NAMESPACES, {"metadata": {"name": name}})

    async def close_namespace(self, name: str) -> None:
        async with asyncio.timeout(_GONE_WITHIN_S):
            for plural in ("pods", "persistentvolumeclaims"):
                resource = next(resource for resource in RESOURCES if resource.plural == plural)
                while found := (await self.client.list_page(resource, name))["items"]:
                    for obj in found:
                        if "deletionTimestamp" not in obj["metadata"]:
                            await self.client.delete(resource, obj)
                    await asyncio.sleep(0.02)

    async def apply(self, namespace: str, *objects: Object) -> None:
        for obj in objects:
            resource = next(resource for resource in RESOURCES if resource.kind == obj["kind"])
            obj = _placed(resource, namespace, obj)
            try:
                await self.client.create(resource, obj)
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise
                await self.client.patch(resource, obj, obj)

    async def delete(self, namespace: str, *names: str) -> None:
        for name in names:
            resource, obj = _named(namespace, name)
            await self.client.delete(resource, obj)

    async def patch(self, namespace: str, name: str, change: Object) -> None:
        resource, obj = _named(namespace, name)
        await self.client.patch(resource, obj, change)

    async def get(self, namespace: str, name: str) -> Object | None:
        resource, obj = _named(namespace, name)
        return await self.client.find(resource, obj["metadata"]["name"], obj["metadata"].get("namespace", ""))

    async def make_volume(self, name: str) -> str:
        return await driver.make_volume(self._socket(), name)

    async def unmake_volume(self, volume_id: str) -> None:
        await driver.unmake_volume(self._socket(), volume_id)

    def _socket(self) -> Path:
        """The driver's, of the node that has its controller service."""
        root = self._inside(self.lab.nodes[0]["kubelet_root"])
        return root / "plugins" / str(self.lab.ready["driver_name"]) / "csi.sock"

    async def fault(self, target: str, effect: str, volume_id: str) -> None:
        await driver.fault((node["feed"] for node in self.lab.nodes), target, effect, volume_id)

    async def clear_faults(self, volume_id: str) -> None:
        await driver.clear_faults((node["feed"] for node in self.lab.nodes), volume_id)

    async def leftovers(self, namespace: str, volumes: Sequence[Volume]) -> list[str]:
        lists: dict[str, list[Object]] = {}
        for plural in leftovers.KINDS:
            resource = next(resource for resource in RESOURCES if resource.plural == plural)
            lists[plural] = (await self.client.list_page(resource))["items"]
        left = list(leftovers.in_objects(lists, namespace, volumes))
        return left + await asyncio.to_thread(self._left_on_node, leftovers.traces(volumes))

    def _left_on_node(self, names: set[str]) -> list[str]:
        pid = self.lab.ready["pid"]
        left = list(leftovers.in_mounts(Path(f"/proc/{pid}/mountinfo").read_text(errors="replace"), names))
        for node in self.lab.nodes:
            left += leftovers.in_kubelet_root(self._inside(node["kubelet_root"]), names)
        left += leftovers.in_driver_state(self._inside(str(self.lab.directory)) / "driver", names)
        return left + list(leftovers.in_processes(names))


@dataclass(frozen=True, slots=True)
class LabNode:
    """What roads that kill parts look at of a node: as the harness's `Node`."""

    kubelet_root: Path

    @property
    def registration_directory(self) -> Path:
        return self.kubelet_root / "plugins_registry"


@dataclass(frozen=True, slots=True)
class LabParts:
    """As much of the harness's `Cluster` as the lab can do."""

    lab: LabProcess
    nodes: tuple[LabNode, ...]

    def kill(self, part: str) -> None:
        self.lab.order("kill", part)

    def restart(self, part: str) -> None:
        self.lab.order("restart", part)

    def suspend(self, part: str) -> None:
        self.lab.order("suspend", part)

    def resume(self, part: str) -> None:
        self.lab.order("resume", part)

    def revive(self) -> None:
        """Bring back whatever a road that failed has left ended."""
        for part, back in tuple(self.lab.away.items()):
            self.lab.order(back, part)


def _named(namespace: str, name: str) -> tuple[Resource, Object]:
    kind, _, name = name.partition("/")
    resource = _BY_NAME[kind]
    return resource, _placed(resource, namespace, {"metadata": {"name": name}})


def _placed(resource: Resource, namespace: str, obj: Object) -> Object:
    """The object with the namespace it is to be in, as kubectl does it."""
    if not resource.namespaced:
        return obj
    return obj | {"metadata": {"namespace": namespace, **obj["metadata"]}}


@asynccontextmanager
async def in_lab(lab: LabProcess) -> AsyncIterator[tuple[InLab, Session]]:
    """The lab, and a session that hears every witness of it."""
    ready = lab.ready
    kubernetes = await KubernetesSource.open(ConnectionOptions(kubeconfig=ready["kubeconfig"]))
    sources: list[Source] = [kubernetes]
    for node in lab.nodes:
        sources.append(FeedSource(node["feed"]))
        sources.append(
            KernelSource(node_name=node["name"], kubelet_root=node["kubelet_root"], pid=str(ready["pid"]))
        )
    async with hearing(sources, tuple(Witness), Told()) as watched, aiohttp.ClientSession() as http:
        yield InLab(lab, Client(http, Endpoint(ready["url"], lab.token), "kubectl")), watched.session
