"""What goes with something else: objects with their owner, and everything with its namespace.

kube-controller-manager 1.34, pkg/controller/garbagecollector (background deletion alone) and pkg/controller/namespace.
"""

from csitrace.lab import objects
from csitrace.lab.apiserver.resources import (
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    REPLICA_SETS,
    RESOURCE_BY_KIND,
    RESOURCES,
    Resource,
)
from csitrace.lab.program import Program
from csitrace.lab.status import Object
from csitrace.lab.workqueue import WorkQueue

_OWNED = (PODS, PERSISTENT_VOLUME_CLAIMS, REPLICA_SETS)
_NAMESPACED = tuple(resource for resource in RESOURCES if resource.namespaced)


class GarbageCollector:
    """Deletes what belongs to an object that is no more."""

    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._caches = {resource: program.informer(resource) for resource in _OWNED}
        self._queue: WorkQueue[tuple[Resource, str, str]] = WorkQueue(self._sync)
        for resource in _OWNED:
            self._follow(program, resource)
        for kind in ("StatefulSet", "Deployment", "ReplicaSet", "Pod"):
            program.informer(RESOURCE_BY_KIND[kind]).on_change(self._owner_changed)
        program.task(self._queue.run)

    def _follow(self, program: Program, resource: Resource) -> None:
        def changed(obj: Object, deleted: bool) -> None:
            if not deleted and objects.owner_of(obj):
                self._queue.add((resource, *objects.key_of(obj)))

        program.informer(resource).on_change(changed)

    def _owner_changed(self, owner: Object, deleted: bool) -> None:
        for resource, cache in self._caches.items() if deleted else ():
            for obj in cache.all():
                if objects.is_owned(obj, owner):
                    self._queue.add((resource, *objects.key_of(obj)))

    async def _sync(self, key: tuple[Resource, str, str]) -> None:
        resource, namespace, name = key
        obj = self._caches[resource].get(name, namespace)
        owner = objects.owner_of(obj) if obj is not None else None
        if obj is None or owner is None or objects.is_terminating(obj):
            return
        found = await self._client.find(RESOURCE_BY_KIND[owner["kind"]], owner["name"], namespace)
        if found is None or found["metadata"]["uid"] != owner["uid"]:
            await self._client.delete(resource, obj)


class Namespaces:
    """Empties a namespace under deletion, and lets it go when nothing is left in it."""

    def __init__(self, program: Program) -> None:
        self._client = program.client
        self._pace = program.pace
        self._namespaces = program.informer(NAMESPACES)
        self._queue: WorkQueue[str] = WorkQueue(self._sync)
        self._namespaces.on_change(lambda found, deleted: self._queue.add(found["metadata"]["name"]))
        program.task(self._queue.run)

    async def _sync(self, name: str) -> None:
        namespace = self._namespaces.get(name)
        if namespace is None or not objects.is_terminating(namespace):
            return
        left = 0
        for resource in _NAMESPACED:
            found = (await self._client.list_page(resource, name))["items"]
            left += len(found)
            for obj in found:
                if not objects.is_terminating(obj):
                    await self._client.delete(resource, obj)
        if left:
            self._queue.add_after(name, self._pace.reconcile)
            return
        current = await self._client.find(NAMESPACES, name)
        if current is not None:
            await self._client.update(NAMESPACES, current | {"spec": {"finalizers": []}}, "finalize")
