"""What one reflector knows of its scope, and what follows when the server says more. Pure.

Objects are kept by name and told apart by uid, as the server keeps them: two with one name are two objects, the second of
which could not exist before the first was gone. A resourceVersion is compared for equality only; its order is the server's.
"""

from csitrace.model.events import (
    Body,
    ObjectAdded,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    Observation,
    Stamp,
)
from csitrace.model.kubernetes import Event, KubernetesObject
from csitrace.model.times import parse_rfc3339


class Store:
    """The objects of one scope as last told. Methods return the facts that are new, in order."""

    def __init__(self) -> None:
        self._known: dict[str, KubernetesObject] = {}
        self._seen: set[str] = set()

    def __len__(self) -> int:
        return len(self._known)

    def begin_list(self) -> None:
        """A full list follows: what it does not name is gone."""
        self._seen.clear()

    def listed(self, obj: KubernetesObject) -> list[Body]:
        """One object of the list."""
        self._seen.add(obj.full_name)
        return self._replace(obj, ObjectListed)

    def excuse(self, name: str) -> None:
        """`name` is on the list, but could not be read: it is not gone. An empty name may be any, so then nothing is gone."""
        self._seen.add(name)

    def end_list(self) -> list[Body]:
        """The list is complete. Returns the deletions that happened while nobody was looking."""
        gone = [] if "" in self._seen else [name for name in self._known if name not in self._seen]
        self._seen.clear()
        return [ObjectDeleted(object=self._known.pop(name), missed=True) for name in gone]

    def narrow(self, namespace: str) -> None:
        """Only `namespace` is followed from here on: the others' objects are unknown, which is not deleted."""
        self._known = {name: obj for name, obj in self._known.items() if obj.namespace == namespace}

    def changed(self, obj: KubernetesObject) -> list[Body]:
        """The watch told ADDED or MODIFIED; which of them follows from what was known."""
        return self._replace(obj, ObjectAdded)

    def deleted(self, obj: KubernetesObject) -> list[Body]:
        """The watch told DELETED."""
        known = self._known.get(obj.full_name)
        if known is not None and known.uid == obj.uid:
            del self._known[obj.full_name]
        return [ObjectDeleted(object=obj)]

    def _replace(self, obj: KubernetesObject, new: type[ObjectListed] | type[ObjectAdded]) -> list[Body]:
        name = obj.full_name
        known = self._known.get(name)
        self._known[name] = obj
        if known is None:
            return [new(object=obj)]
        if known.uid != obj.uid:
            return [ObjectDeleted(object=known, missed=True), new(object=obj)]
        if known.metadata.resource_version == obj.metadata.resource_version:
            return []
        return [ObjectModified(object=obj)]


def observation(body: Body) -> Observation:
    """`body` with what the server tells of its time: an Event when it was last said, a listed object when it was created.

    The API carries no time of a change, so a watched one has none but that of its arrival.
    """
    at: int | None = None
    match body:
        case (
            ObjectListed(object=Event() as event)
            | ObjectAdded(object=Event() as event)
            | ObjectModified(object=Event() as event)
        ):
            at = parse_rfc3339(event.last_time)
        case ObjectListed(object=obj):
            at = parse_rfc3339(obj.metadata.creation_timestamp)
    if at is None:
        return Observation(body=body)
    return Observation(body=body, occurred_at=at, stamp=Stamp.SERVER)
