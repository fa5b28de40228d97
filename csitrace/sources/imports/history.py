"""Several accounts of the same objects as one history: what is new in each, and what is gone since the one before.

A dump is an account of whole scopes at one time, an audit log one of single changes. Object versions outrank times: an older
version that is told later is no news.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from csitrace.model.events import (
    Body,
    ListCompleted,
    MountAppeared,
    MountVanished,
    ObjectAdded,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    SourceGap,
    SourceUp,
    Witness,
)
from csitrace.model.kinds import KINDS
from csitrace.model.kubernetes import KubernetesObject
from csitrace.model.mounts import Mount
from csitrace.sources.imports.objects import version_of
from csitrace.sources.imports.spool import Segment, Told
from csitrace.sources.kubernetes.store import observation

SINGLE_ONLY = "in the dump there are single objects of this kind, no list"
NOT_IN_DUMP = "not in the dump"


@dataclass
class Dump:
    """What was dumped at one time. `scopes`: what was listed whole, with the list's version; `newest`: the highest object
    version of each scope, by which dumps are ordered where their times are wrong."""

    name: str
    at: int = 0
    segments: list[Segment] = field(default_factory=list)
    scopes: dict[str, str] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)


class Known:
    """The objects as last told, by name, as a server keeps them. Methods give the facts that follow, in order."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], KubernetesObject] = {}
        self._up: set[str] = set()
        self._kinds: set[str] = set()
        self._mounts: dict[str, dict[int, Mount]] = {}
        self._appeared: dict[str, dict[int, Mount]] = {}
        self.outdated = 0

    def dump(self, dump: Dump) -> Iterator[Told]:
        """All that a dump tells, at its time."""
        for scope in dump.scopes:
            yield Told(dump.at, self._heard(scope, dump.name))
        seen: dict[str, set[str]] = {}
        for segment in dump.segments:
            for told in segment:
                if not isinstance(told.body, ObjectListed):
                    yield Told(dump.at, told.body, told.occurred_at, told.stamp)
                    continue
                obj = told.body.object
                seen.setdefault(obj.kind, set()).add(obj.full_name)
                yield from self._told(dump.at, self._replace(obj, ObjectListed))
        for scope, resource_version in dump.scopes.items():
            yield from self._told(dump.at, self._gone(scope, seen))
            kind, _, namespace = scope.partition("/")
            count = sum(not namespace or name.startswith(f"{namespace}/") for name in seen.get(kind, ()))
            body = ListCompleted(
                witness=Witness.KUBERNETES, scope=scope, count=count, resource_version=resource_version
            )
            yield Told(dump.at, body)

    def change(self, told: Told) -> Iterator[Told]:
        """One fact that tells its own time; those about objects are seen in the light of what is known."""
        match told.body:
            case ObjectModified(object=obj) | ObjectAdded(object=obj):
                new = ObjectAdded if isinstance(told.body, ObjectAdded) else ObjectListed
                bodies: list[Body] = self._replace(obj, new)
            case ObjectDeleted(object=obj):
                self._kinds.add(obj.kind)
                known = self._objects.pop((obj.kind, obj.full_name), None)
                last = obj if obj.uid or known is None else known
                bodies = [ObjectDeleted(object=last)] if last.uid else []
            case SourceUp(witness=Witness.KERNEL, scope=node_name):
                self._appeared[node_name] = {}
                bodies = [told.body]
            case MountAppeared(node_name=node_name, mount=mount):
                self._appeared.setdefault(node_name, {})[mount.mount_id] = mount
                same = self._mounts.get(node_name, {}).get(mount.mount_id) == mount
                bodies = [] if same else [told.body]
            case ListCompleted(witness=Witness.KERNEL, scope=node_name):
                bodies = [*self._vanished(node_name), told.body]
            case _:
                bodies = [told.body]
        for body in bodies:
            yield Told(told.at, body, told.occurred_at, told.stamp)

    def silences(self) -> Iterator[tuple[str, str]]:
        """(kind, why it is silent) for each kind that no account covers."""
        for kind in KINDS:
            if not any(scope.partition("/")[0] == kind.name for scope in self._up):
                yield kind.name, SINGLE_ONLY if kind.name in self._kinds else NOT_IN_DUMP

    def _heard(self, scope: str, name: str) -> Body:
        if scope in self._up:
            reason = f"nothing is known of the time before {name}"
            return SourceGap(witness=Witness.KUBERNETES, scope=scope, reason=reason)
        self._up.add(scope)
        return SourceUp(witness=Witness.KUBERNETES, scope=scope, detail=f"dump {name}")

    def _replace(self, obj: KubernetesObject, new: type[ObjectListed] | type[ObjectAdded]) -> list[Body]:
        key = (obj.kind, obj.full_name)
        self._kinds.add(obj.kind)
        known = self._objects.get(key)
        if known is None:
            self._objects[key] = obj
            return [new(object=obj)]
        before, after = version_of(known), version_of(obj)
        if before is not None and after is not None and after < before:
            self.outdated += 1
            return []
        self._objects[key] = obj
        if known.uid != obj.uid:
            return [ObjectDeleted(object=known, missed=True), new(object=obj)]
        if known.metadata.resource_version == obj.metadata.resource_version and known == obj:
            return []
        return [ObjectModified(object=obj)]

    def _gone(self, scope: str, seen: dict[str, set[str]]) -> list[Body]:
        kind, _, namespace = scope.partition("/")
        present = seen.get(kind, set())
        gone = [
            key
            for key, obj in self._objects.items()
            if key[0] == kind and (not namespace or obj.namespace == namespace) and key[1] not in present
        ]
        return [ObjectDeleted(object=self._objects.pop(key), missed=True) for key in gone]

    def _vanished(self, node_name: str) -> list[Body]:
        """What an earlier mount table of the node had, and this one has not."""
        appeared = self._appeared.pop(node_name, {})
        before, self._mounts[node_name] = self._mounts.get(node_name, {}), appeared
        return [
            MountVanished(node_name=node_name, mount=mount)
            for mount_id, mount in reversed(before.items())
            if mount_id not in appeared
        ]

    def _told(self, at: int, bodies: Iterable[Body]) -> Iterator[Told]:
        for body in bodies:
            seen = observation(body)
            yield Told(at, body, seen.occurred_at, seen.stamp)


def in_order(dumps: Iterable[Dump]) -> list[Dump]:
    """Dumps from the oldest to the newest: by time, and against their times where the versions in a shared scope say so."""
    ordered: list[Dump] = []
    for dump in sorted(dumps, key=lambda dump: (dump.at, max(dump.newest.values(), default=0))):
        place = len(ordered)
        while place and _is_newer(ordered[place - 1], dump):
            place -= 1
        if place < len(ordered):
            dump.at = min(dump.at, ordered[place].at)
        ordered.insert(place, dump)
    return ordered


def _is_newer(one: Dump, other: Dump) -> bool:
    shared = one.newest.keys() & other.newest.keys()
    return bool(shared) and max(one.newest[scope] for scope in shared) > max(
        other.newest[scope] for scope in shared
    )
