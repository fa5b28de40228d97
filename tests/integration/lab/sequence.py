"""What csitrace sees of the lives in one namespace, in a form in which two clusters can be compared.

Names, uids and times are replaced by what they stand for, and each object's changes are told in their order. Between
objects the order is that of a race more often than not, so it is not part of the form; what must come before what is asked of
the steps that `STRAIGHT_ROAD` names.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from csitrace.model.events import (
    ListCompleted,
    ObjectAdded,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    Observation,
    RpcFinished,
    RpcStarted,
)
from csitrace.model.kinds import KINDS
from csitrace.model.kubernetes import (
    Event,
    KubernetesObject,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    VolumeAttachment,
)
from csitrace.model.rpc import RPC_BY_METHOD, short_method
from csitrace.sources.feed import FeedSource
from csitrace.sources.kubernetes.config import ConnectionOptions
from csitrace.sources.kubernetes.source import KubernetesSource

Object = dict[str, Any]

DEADLINE_SECONDS = 90.0

STRAIGHT_ROAD = (
    "claim data: ADDED",
    "volume data: ADDED",
    "claim data: +phase=Bound",
    "pod pod: +node=<node-1>",
    "attachment data@node-1: ADDED",
    "attachment data@node-1: +attached",
    "volumesAttached data@node-1: +listed",
    "pod pod: +phase=Running",
    "pod pod: +terminating",
    "volumesInUse data@node-1: -listed",
    "volumesAttached data@node-1: -listed",
    "attachment data@node-1: +terminating",
    "attachment data@node-1: DELETED",
    "volume data: +terminating",
    "volume data: DELETED",
)
"""What happens to a claim with a pod, on an attachable volume, in the one order that all programs together allow."""

_CLAIM_MARKS = (
    "selected_node",
    "storage_provisioner",
    "storage_provisioner_beta",
    "storage_resizer",
    "bind_completed",
    "bound_by_controller",
)
_LUCK = re.compile(
    r"WaitForFirstConsumer|WaitForPodScheduled"  # the claim before the pod, or after
    r"|VolumeFailedDelete .* is still attached"  # the claim gone before the detach, or after
    r'|FailedScheduling .*(persistentvolumeclaim "[^"]+" not found|could not find v1.PersistentVolumeClaim)'  # behind
    r"|FailedMount .*(kube-api-access-|failed to fetch PVC from API server)"  # the node's permissions behind its pods
)
"""Events that a program writes when it hears of one thing before another, and no more than that."""

_MADE_UP = re.compile(r"\b([a-z]+)-[0-9a-z]{6,10}-[0-9a-z]{5}\b")
"""The name of a Deployment's pod."""


@dataclass
class Recording:
    """What the API and the drivers' feeds told, in the order of arrival; `objects`: by uid what is there now."""

    observations: list[Observation] = field(default_factory=list)
    objects: dict[str, KubernetesObject] = field(default_factory=dict)
    _grown: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def add(self, observation: Observation) -> None:
        self.observations.append(observation)
        match observation.body:
            case ObjectDeleted(object=obj):
                self.objects.pop(obj.uid, None)
            case ObjectListed(object=obj) | ObjectAdded(object=obj) | ObjectModified(object=obj):
                self.objects[obj.uid] = obj
        async with self._grown:
            self._grown.notify_all()

    async def until(self, what: str, holds: Callable[["Recording"], bool]) -> None:
        """AssertionError when it does not come to hold."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS), self._grown:
                await self._grown.wait_for(lambda: holds(self))
        except TimeoutError:
            raise AssertionError(f"never: {what}") from None

    def find(self, kind: type[KubernetesObject], namespace: str, name: str) -> Any:
        """The object of that name as it is now; None where there is none."""
        return next(
            (
                obj
                for obj in self.objects.values()
                if isinstance(obj, kind) and (obj.namespace, obj.name) == (namespace, name)
            ),
            None,
        )


@asynccontextmanager
async def recording(kubeconfig: str, feeds: Sequence[str]) -> AsyncIterator[Recording]:
    """Begins once everything that is there has been told."""
    kubernetes = await KubernetesSource.open(ConnectionOptions(kubeconfig=kubeconfig))
    made = Recording()

    async def follow(source: KubernetesSource | FeedSource) -> None:
        async for observation in source.observe():
            await made.add(observation)

    tasks = [asyncio.create_task(follow(source)) for source in (kubernetes, *map(FeedSource, feeds))]
    scopes = len(KINDS) + len(feeds)

    def all_told(recorded: Recording) -> bool:
        return sum(isinstance(o.body, ListCompleted) for o in recorded.observations) >= scopes

    try:
        await made.until("everything that is there is told", all_told)
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def steps(observations: Iterable[Observation], namespace: str) -> list[str]:
    """`role: change`, for what lives in a namespace: objects in the order of writing, calls in that of answering.

    Each kind comes by a stream of its own, so their order of arrival is a race. Both servers count all writes in one number,
    the resourceVersion, which is an order that a test may use, though csitrace itself must not.
    """
    seen = sorted(observations, key=_written)
    names = _Names(seen, namespace)
    told: list[str] = []
    known: dict[str, frozenset[str]] = {}
    asked: dict[tuple[str, int], RpcStarted] = {}
    for observation in seen:
        match observation.body:
            case ObjectListed(object=obj) | ObjectAdded(object=obj) | ObjectModified(object=obj) if (
                isinstance(obj, Event)
            ):
                if about := names.subject(obj):
                    told.append(f"event {about}: {obj.type} {obj.reason} {names.anonymous(obj.message)}")
            case ObjectListed(object=obj) | ObjectAdded(object=obj) | ObjectModified(object=obj):
                for role, words in names.roles(obj):
                    facts = frozenset(map(names.anonymous, words))
                    if role not in known and not isinstance(obj, Node):
                        told.append(f"{role}: ADDED")
                    told += [f"{role}: -{fact}" for fact in sorted(known.get(role, frozenset()) - facts)]
                    told += [f"{role}: +{fact}" for fact in sorted(facts - known.get(role, frozenset()))]
                    known[role] = facts
            case ObjectDeleted(object=obj):
                for role, _ in names.roles(obj):
                    if isinstance(obj, Node):
                        continue
                    told.append(f"{role}: DELETED")
                    known.pop(role, None)
            case RpcStarted() as started:
                asked[started.instance, started.call_id] = started
            case RpcFinished() as rpc:
                begun = asked.get((rpc.instance, rpc.call_id))
                where = names.call_role(rpc.volume_id, rpc.volume_name, begun)
                method = short_method(rpc.method)
                if where and RPC_BY_METHOD[method].span:  # the others are looks, on a period
                    told.append(f"{where}: {method} {'OK' if rpc.code == 0 else rpc.code}")
            case _:
                pass
    return told


def normal_form(told: Iterable[str]) -> dict[str, list[str]]:
    """By role, what it went through. Repeated Events are one, and where one comes among others depends on nothing but luck;
    an answered call that is made again is one, too: callers may repeat what is idempotent, and do after reading a stale cache."""
    form: dict[str, list[str]] = {}
    for step in told:
        role, _, change = step.partition(": ")
        is_event, is_call = role.startswith("event "), role.startswith("calls ")
        if is_event and _LUCK.search(change):
            continue
        changes = form.setdefault(role, [])
        if not (is_event and change in changes) and not (is_call and changes[-1:] == [change]):
            changes.append(change)
    for role, changes in form.items():
        if role.startswith("event "):
            changes.sort()
    return dict(sorted(form.items()))


def _written(observation: Observation) -> int:
    """Calls have no version: they keep their order, at the end."""
    obj = getattr(observation.body, "object", None)
    return int(obj.metadata.resource_version) if obj is not None else sys.maxsize


class _Names:
    """Who is who in a recording: the objects of one namespace, and what their names stand for."""

    def __init__(self, seen: list[Observation], namespace: str) -> None:
        self._namespace = namespace
        objects = [obj for o in seen if (obj := getattr(o.body, "object", None)) is not None]
        nodes = sorted({obj.name for obj in objects if isinstance(obj, Node)})
        self._nodes = {name: f"node-{number}" for number, name in enumerate(nodes, 1)}
        self._volumes: dict[str, str] = {}
        """PV -> the first claim that it was for."""
        self._handles: dict[str, str] = {}
        self._subjects: dict[str, str] = {}
        """uid -> role, of everything that Events can be about."""
        self._drivers: set[str] = set()
        made_up: dict[str, str] = {}
        for obj in objects:
            match obj:
                case PersistentVolume() if obj.spec.claim_ref and obj.spec.claim_ref.namespace == namespace:
                    claim = self._volumes.setdefault(obj.name, obj.spec.claim_ref.name)
                    self._subjects[obj.uid] = f"volume {claim}"
                    if obj.spec.csi:
                        self._handles[obj.spec.csi.volume_handle] = claim
                        self._drivers.add(obj.spec.csi.driver)
                case PersistentVolumeClaim() if obj.namespace == namespace:
                    self._subjects[obj.uid] = f"claim {obj.name}"
                case Pod() if obj.namespace == namespace:
                    if (match_ := _MADE_UP.fullmatch(obj.name)) and obj.name not in made_up:
                        made_up[obj.name] = f"{match_[1]}-<{len(made_up) + 1}>"
                    self._subjects[obj.uid] = f"pod {made_up.get(obj.name, obj.name)}"
        self._replaced = [
            *((handle, f"<handle of {claim}>") for handle, claim in self._handles.items()),
            *((volume, f"<volume of {claim}>") for volume, claim in self._volumes.items()),
            *((name, f"<{meaning}>") for name, meaning in self._nodes.items()),
            *((driver, "<driver>") for driver in self._drivers),
            *made_up.items(),
            (f"{namespace}/", ""),
            (namespace, "<namespace>"),
        ]

    def anonymous(self, text: str) -> str:
        for name, meaning in self._replaced:
            text = text.replace(name, meaning)
        text = re.sub(r'Container image "[^"]*"', "Container image <image>", text)
        return re.sub(r"csi-[0-9a-f]{64}", "<attachment>", text)

    def subject(self, event: Event) -> str:
        """The role of what an Event is about; empty for what is not of this namespace."""
        return self._subjects.get(event.involved_object.uid, "")

    def call_role(self, volume_id: str, volume_name: str, begun: RpcStarted | None) -> str:
        """Whose calls it is one of: a volume's, and a node's where it concerns one."""
        claim = self._handles.get(volume_id) or self._volumes.get(volume_name)
        if claim is None:
            return ""
        node = (begun.node_id or begun.node_name) if begun and "olume" in begun.method else ""
        is_global = begun is not None and short_method(begun.method) in (
            "CreateVolume", "DeleteVolume", "ControllerExpandVolume",
        )  # fmt: skip
        where = "" if is_global else f"@{self._nodes.get(node, '')}"
        return f"calls {claim}{where}"

    def roles(self, obj: KubernetesObject) -> Iterator[tuple[str, Iterable[str]]]:
        """What the object is in this life, with its facts; nothing for what has no part in it."""
        match obj:
            case PersistentVolumeClaim() | Pod() if obj.namespace == self._namespace:
                yield self._subjects[obj.uid], self._facts(obj)
            case PersistentVolume() if obj.name in self._volumes:
                yield f"volume {self._volumes[obj.name]}", self._facts(obj)
            case VolumeAttachment() if obj.spec.source.persistent_volume_name in self._volumes:
                claim = self._volumes[obj.spec.source.persistent_volume_name]
                yield f"attachment {claim}@{self._nodes[obj.spec.node_name]}", self._facts(obj)
            case Node():
                # Two programs write them: kubelet on a period, the attach/detach controller when it is done.
                attached = [entry.name for entry in obj.status.volumes_attached]
                for handle, claim in self._handles.items():
                    for role, volumes in (
                        ("volumesInUse", obj.status.volumes_in_use),
                        ("volumesAttached", attached),
                    ):
                        listed = any(handle in name for name in volumes)
                        yield f"{role} {claim}@{self._nodes[obj.name]}", ["listed"] if listed else []

    def _facts(self, obj: KubernetesObject) -> Iterable[str]:
        """What matters of an object, as words; a step is a word that comes or goes."""
        if obj.is_terminating:
            yield "terminating"
        match obj:
            case PersistentVolumeClaim():
                yield f"phase={obj.status.phase}"
                yield from (f"finalizer={name}" for name in obj.metadata.finalizers)
                for mark in _CLAIM_MARKS:
                    if value := getattr(obj.metadata.annotations, mark):
                        yield f"{mark}={value}"
                if obj.spec.volume_name:
                    yield f"volume={obj.spec.volume_name}"
                if obj.status.capacity.storage:
                    yield f"capacity={obj.status.capacity.storage}"
                if obj.status.allocated_resource_statuses.storage:
                    yield f"resize={obj.status.allocated_resource_statuses.storage}"
                yield from (f"{c.type}={c.status} {c.message}".rstrip() for c in obj.status.conditions)
            case PersistentVolume():
                yield f"phase={obj.status.phase}"
                yield f"provisioned_by={obj.metadata.annotations.provisioned_by}"
                yield f"capacity={obj.spec.capacity.storage}"
                if not obj.is_terminating:  # they go one by one, in the order of a race
                    yield from (f"finalizer={name}" for name in obj.metadata.finalizers)
            case VolumeAttachment():
                if obj.status.attached:
                    yield "attached"
                if obj.status.attach_error:
                    yield f"attachError={obj.status.attach_error.message}"
                yield from (f"finalizer={name}" for name in obj.metadata.finalizers)
                if obj.metadata.annotations.csi_node_id:
                    yield f"node_id={obj.metadata.annotations.csi_node_id}"
            case Pod():
                yield f"phase={obj.status.phase}"
                if obj.spec.node_name:
                    yield f"node={obj.spec.node_name}"
                for condition in obj.status.conditions:
                    # Whether a pod is first seen before its claim, or after, is luck; FailedScheduling tells the rest.
                    if (condition.type, condition.status) != ("PodScheduled", "False"):
                        yield f"{condition.type}={condition.status} {condition.reason}".rstrip()
                for container in obj.status.container_statuses:
                    state = container.state
                    yield "running" if state.running else "terminated" if state.terminated else "waiting"
