"""The versioned memory behind the API server: what etcd and the watch cache are to the real one.

Every write takes the next revision and leaves a `Change`. A bounded run of changes is kept, so that a list can be
taken *as of* an earlier revision (consistent paging) and a watch can start there; what is older is compacted.
Objects are values: a stored one is never changed, a write stores another.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from csitrace.lab.apiserver.resources import Resource
from csitrace.lab.status import Object, already_exists, expired, not_found

HISTORY = 20_000


@dataclass(frozen=True, slots=True)
class Change:
    """One write. `previous` is None for a creation; `deleted`: `object` is the last state, under the deletion's revision."""

    revision: int
    resource: Resource
    object: Object
    previous: Object | None = None
    deleted: bool = False


class Store:
    """All objects, by resource and (namespace, name). `history`: how many changes are kept before compaction."""

    def __init__(self, history: int = HISTORY) -> None:
        self.revision = 1
        self.compacted = 0
        self._history = history
        self._objects: dict[Resource, dict[tuple[str, str], Object]] = {}
        self._changes: deque[Change] = deque()
        self._latest: dict[Resource, int] = {}
        self._written: dict[Resource, asyncio.Event] = {}

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """StatusError 404 where there is none."""
        found = self._objects.get(resource, {}).get((namespace, name))
        if found is None:
            raise not_found(resource.qualified, name)
        return found

    def create(self, resource: Resource, obj: Object) -> Object:
        """StatusError 409 AlreadyExists where the name is taken."""
        key = _key(obj)
        if key in self._objects.get(resource, {}):
            raise already_exists(resource.qualified, key[1])
        return self._write(resource, obj, None)

    def update(self, resource: Resource, obj: Object) -> Object:
        """Replace; writing the same again is no change and takes no revision, as with the real server."""
        previous = self.get(resource, *_key(obj))
        return previous if obj == previous else self._write(resource, obj, previous)

    def delete(self, resource: Resource, obj: Object) -> Object:
        """Remove; `obj` is the last state that watchers are told."""
        previous = self.get(resource, *_key(obj))
        last = _stamped(obj, self.revision + 1)
        del self._objects[resource][_key(obj)]
        self._append(Change(self.revision + 1, resource, last, previous, deleted=True))
        return last

    def objects(self, resource: Resource, at: int | None = None) -> list[Object]:
        """Objects in (namespace, name) order, now or as of revision `at`. StatusError 410 where that is compacted."""
        objects = dict(self._objects.get(resource, {}))
        if at is not None:
            self.require(at)
            for change in reversed(self._changes):
                if change.revision <= at:
                    break
                if change.resource is not resource:
                    continue
                if change.previous is None:
                    objects.pop(_key(change.object), None)
                else:
                    objects[_key(change.object)] = change.previous
        return [objects[key] for key in sorted(objects)]

    def require(self, revision: int) -> None:
        """StatusError 410 unless the changes after `revision` are all still known."""
        if revision < self.compacted:
            raise expired(f"too old resource version: {revision} ({self.compacted})")

    def changes_after(self, revision: int) -> list[Change]:
        """StatusError 410 where some of them are compacted already."""
        self.require(revision)
        found = []
        for change in reversed(self._changes):
            if change.revision <= revision:
                break
            found.append(change)
        found.reverse()
        return found

    async def wait_change(self, resource: Resource, revision: int) -> None:
        """Return once an object of this resource has changed after `revision`."""
        while self._latest.get(resource, 0) <= revision:
            await self._written.setdefault(resource, asyncio.Event()).wait()

    def compact(self) -> None:
        """Forget all changes: watches and pages that start before now are told 410."""
        self._changes.clear()
        self.compacted = self.revision

    def _write(self, resource: Resource, obj: Object, previous: Object | None) -> Object:
        stored = _stamped(obj, self.revision + 1)
        self._objects.setdefault(resource, {})[_key(obj)] = stored
        self._append(Change(self.revision + 1, resource, stored, previous))
        return stored

    def _append(self, change: Change) -> None:
        self.revision = change.revision
        self._changes.append(change)
        if len(self._changes) > self._history:
            self.compacted = self._changes.popleft().revision
        self._latest[change.resource] = change.revision
        # Wakes all that wait now; whoever comes later waits on the next event.
        if waited_for := self._written.pop(change.resource, None):
            waited_for.set()


def _key(obj: Object) -> tuple[str, str]:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _stamped(obj: Object, revision: int) -> Object:
    return obj | {"metadata": obj["metadata"] | {"resourceVersion": str(revision)}}
