"""A real cluster as a place for roads: through the real kubectl."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from csitrace.engine.session import Session
from csitrace.lifecycle.state import Volume
from tests.cluster.conftest import Target
from tests.cluster.harness import storage, unattached
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.errors import ClusterError
from tests.cluster.harness.kubectl import Kubectl
from tests.cluster.harness.objects import Image
from tests.cluster.watching import watching
from tests.roads import driver, leftovers
from tests.roads.road import CLUSTER, Object
from tests.roads.traveller import Told

_GONE_WITHIN_S = 120


@dataclass(frozen=True, slots=True)
class OnCluster:
    """`cluster`: None where its processes, mounts and files are not to be had (CSITRACE_TEST_KUBECONFIG)."""

    kubectl: Kubectl
    image: Image
    cluster: Cluster | None
    nodes: tuple[str, ...]
    kind: str = CLUSTER
    patience_s: float = 120.0
    unattached_driver: str = unattached.DRIVER_NAME
    unattached_class: str = unattached.STORAGE_CLASS

    async def open_namespace(self, name: str) -> None:
        await self._kubectl("", "create", "namespace", name)
        within = self.kubectl.within(name)
        await asyncio.to_thread(within.wait, "create", "serviceaccount/default")

    async def close_namespace(self, name: str) -> None:
        try:
            await self._kubectl(
                name,
                "delete",
                "deployments,statefulsets,pods,persistentvolumeclaims",
                "--all",
                timeout_s=_GONE_WITHIN_S,
            )
        finally:
            await self._kubectl("", "delete", "namespace", name, "--wait=false", "--ignore-not-found")

    async def apply(self, namespace: str, *objects: Object) -> None:
        await asyncio.to_thread(self.kubectl.within(namespace).apply, *objects)

    async def delete(self, namespace: str, *names: str) -> None:
        await self._kubectl(namespace, "delete", *names, "--wait=false")

    async def patch(self, namespace: str, name: str, change: Object) -> None:
        await self._kubectl(namespace, "patch", name, "--type=merge", "-p", json.dumps(change))

    async def get(self, namespace: str, name: str) -> Object | None:
        text = await self._kubectl(namespace, "get", name, "-o", "json", "--ignore-not-found")
        found: Object | None = json.loads(text) if text else None
        return found

    async def make_volume(self, name: str) -> str:
        return await driver.make_volume(self._socket(), name)

    async def unmake_volume(self, volume_id: str) -> None:
        await driver.unmake_volume(self._socket(), volume_id)

    def _socket(self) -> Path:
        """The driver's, of the node that has its controller service."""
        assert self.cluster is not None, "making volumes by hand needs the harness's own cluster"
        return self.cluster.nodes[0].driver_socket(storage.DRIVER_NAME)

    async def fault(self, target: str, effect: str, volume_id: str) -> None:
        await driver.fault(self._feeds(), target, effect, volume_id)

    async def clear_faults(self, volume_id: str) -> None:
        await driver.clear_faults(self._feeds(), volume_id)

    async def leftovers(self, namespace: str, volumes: Sequence[Volume]) -> list[str]:
        return await asyncio.to_thread(self._leftovers, namespace, volumes)

    def _leftovers(self, namespace: str, volumes: Sequence[Volume]) -> list[str]:
        kinds = ",".join(leftovers.KINDS)
        found = self.kubectl.get(kinds, "--all-namespaces")["items"]
        lists: dict[str, list[Object]] = {plural: [] for plural in leftovers.KINDS}
        for obj in found:
            lists[f"{obj['kind'].lower()}s"].append(obj)
        left = list(leftovers.in_objects(lists, namespace, volumes))
        if self.cluster is not None:
            names = leftovers.traces(volumes)
            left += leftovers.in_mounts(Path("/proc/self/mountinfo").read_text(errors="replace"), names)
            for node in self.cluster.nodes:
                left += leftovers.in_kubelet_root(node.kubelet_root, names)
            for state in (storage.driver_state, unattached.state):
                left += leftovers.in_driver_state(state(self.cluster.directory), names)
            left += leftovers.in_processes(names)
        return left

    def _feeds(self) -> list[str]:
        assert self.cluster is not None, "faults need the harness's own cluster"
        return [storage.driver_feed(node) for node in self.cluster.nodes]

    async def _kubectl(self, namespace: str, *arguments: str, timeout_s: float = 60) -> str:
        kubectl = self.kubectl.within(namespace) if namespace else self.kubectl
        return await asyncio.to_thread(lambda: kubectl(*arguments, timeout_s=timeout_s))


@asynccontextmanager
async def on_cluster(target: Target, feeds: Sequence[str] = ()) -> AsyncIterator[tuple[OnCluster, Session]]:
    """The cluster of a test run, and a session that hears every witness of it; ``feeds``: of drivers besides the usual one."""
    try:
        found = await asyncio.to_thread(target.kubectl.get, "nodes")
    except ClusterError as error:
        raise AssertionError(f"the cluster does not answer: {error}") from error
    nodes = tuple(node["metadata"]["name"] for node in found["items"])
    async with watching(target, history=Told(), feeds=feeds) as watched:
        yield OnCluster(target.kubectl, target.image, target.cluster, nodes), watched.session
