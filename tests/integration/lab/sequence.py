"""What csitrace sees of one volume's life, in a form in which two clusters can be compared.

Names, uids and times are replaced by what they stand for, and each object's changes are told in their order. Between
objects the order is that of a race more often than not, so it is not part of the form; what must come before what is asked of
the steps that `STRAIGHT_ROAD` names.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
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
    "claim: ADDED",
    "volume: ADDED",
    "claim: +phase=Bound",
    "pod: +node=<node>",
    "attachment: ADDED",
    "attachment: +attached",
    "volumesAttached: +listed",
    "pod: +phase=Running",
    "pod: +terminating",
    "volumesInUse: -listed",
    "volumesAttached: -listed",
    "attachment: +terminating",
    "attachment: DELETED",
    "volume: +terminating",
    "volume: DELETED",
)
"""What happens to a claim with a pod, on an attachable volume, in the one order that all programs together allow."""


_CLAIM_MARKS = (
    "selected_node",
    "storage_provisioner",
    "storage_provisioner_beta",
    "bind_completed",
    "bound_by_controller",
)


@dataclass
class Recording:
    """What the API and the driver's feed told, in the order of arrival."""

    observations: list[Observation] = field(default_factory=list)
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, observation: Observation) -> None:
        self.observations.append(observation)
        self._grown.set()

    async def until(self, holds: Callable[[list[Observation]], bool]) -> None:
        """TimeoutError when it does not come to hold."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not holds(self.observations):
                self._grown.clear()
                await self._grown.wait()


@asynccontextmanager
async def recording(kubeconfig: str, feed: str) -> AsyncIterator[Recording]:
    """Begins once everything that is there has been told."""
    kubernetes = await KubernetesSource.open(ConnectionOptions(kubeconfig=kubeconfig))
    made = Recording()

    async def follow(source: KubernetesSource | FeedSource) -> None:
        async for observation in source.observe():
            made.add(observation)

    tasks = [asyncio.create_task(follow(source)) for source in (kubernetes, FeedSource(feed))]
    try:
        scopes = len(KINDS) + 1
        await made.until(lambda seen: sum(isinstance(o.body, ListCompleted) for o in seen) >= scopes)
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def walk(
    recording: Recording,
    namespace: str,
    claim: Object,
    pod: Object,
    create: Callable[[Object], Awaitable[None]],
    delete: Callable[[], Awaitable[None]],
) -> list[str]:
    """There and back: the claim, then the pod, until it runs; then both are deleted, until the volume is gone. The steps."""

    def any_object(
        kind: type[KubernetesObject], holds: Callable[[Any], bool]
    ) -> Callable[[list[Observation]], bool]:
        def is_seen(seen: list[Observation]) -> bool:
            objects = (getattr(o.body, "object", None) for o in seen if not isinstance(o.body, ObjectDeleted))
            return any(isinstance(obj, kind) and holds(obj) for obj in objects)

        return is_seen

    bound = any_object(
        PersistentVolumeClaim, lambda c: c.namespace == namespace and c.status.phase == "Bound"
    )
    waits = any_object(
        Event, lambda e: e.involved_object.namespace == namespace and e.reason == "WaitForFirstConsumer"
    )
    running = any_object(Pod, lambda p: p.namespace == namespace and p.status.phase == "Running")
    await create(claim)
    # A pod that comes before its claim is bound is refused a number of times that is chance.
    await recording.until(lambda seen: bound(seen) or waits(seen))
    await create(pod)
    await recording.until(running)
    await delete()
    await recording.until(lambda seen: _is_over(seen, namespace))
    return steps(recording.observations, namespace)


def _is_over(seen: list[Observation], namespace: str) -> bool:
    """The PV is gone, and its last call is told: the feed has a delay of its own, and may come after."""
    handles = {
        obj.spec.csi.volume_handle
        for obj in (o.body.object for o in seen if isinstance(o.body, ObjectDeleted))
        if isinstance(obj, PersistentVolume)
        and obj.spec.csi
        and obj.spec.claim_ref
        and obj.spec.claim_ref.namespace == namespace
    }
    return any(
        isinstance(o.body, RpcFinished)
        and short_method(o.body.method) == "DeleteVolume"
        and o.body.volume_id in handles
        for o in seen
    )


def steps(observations: Iterable[Observation], namespace: str) -> list[str]:
    """`role: change`, for the one claim and the one pod of a namespace: objects in the order of writing, calls of answering.

    Each kind comes by a stream of its own, so their order of arrival is a race. Both servers count all writes in one number,
    the resourceVersion, which is an order that a test may use, though csitrace itself must not.
    """
    seen = sorted(observations, key=_written)
    names = _Names(seen, namespace)
    told: list[str] = []
    known: dict[str, frozenset[str]] = {}
    for observation in seen:
        match observation.body:
            case ObjectListed(object=obj) | ObjectAdded(object=obj) | ObjectModified(object=obj) if (
                isinstance(obj, Event)
            ):
                if names.concerns(obj):
                    told.append(f"event: {obj.type} {obj.reason} {names.anonymous(obj.message)}")
            case ObjectListed(object=obj) | ObjectAdded(object=obj) | ObjectModified(object=obj):
                for role, words in names.roles(obj):
                    facts = frozenset(map(names.anonymous, words))
                    if role not in known and not isinstance(obj, Node):
                        told.append(f"{role}: ADDED")
                    told += [f"{role}: -{fact}" for fact in sorted(known.get(role, frozenset()) - facts)]
                    told += [f"{role}: +{fact}" for fact in sorted(facts - known.get(role, frozenset()))]
                    known[role] = facts
            case ObjectDeleted(object=obj):
                told += [f"{role}: DELETED" for role, _ in names.roles(obj)]
            case RpcFinished() as rpc if names.is_ours(rpc.volume_id, rpc.volume_name):
                method = short_method(rpc.method)
                if RPC_BY_METHOD[method].span:  # the others are looks, on a period
                    told.append(f"rpc: {method} {'OK' if rpc.code == 0 else rpc.code}")
            case _:
                pass
    return told


def normal_form(told: Iterable[str]) -> dict[str, list[str]]:
    """By role, what it went through. Repeated Events are one, and where one comes among others depends on nothing but luck;
    an answered call that is made again is one, too: callers may repeat what is idempotent, and do after reading a stale cache."""
    form: dict[str, list[str]] = {}
    for step in told:
        role, _, change = step.partition(": ")
        changes = form.setdefault(role, [])
        if (role == "event" and change in changes) or (role == "rpc" and changes[-1:] == [change]):
            continue
        changes.append(change)
    if "event" in form:
        form["event"].sort()
    return form


def _written(observation: Observation) -> int:
    """Calls have no version: they keep their order, at the end."""
    obj = getattr(observation.body, "object", None)
    return int(obj.metadata.resource_version) if obj is not None else sys.maxsize


class _Names:
    """Who is who in a recording: the objects of one claim, and what their names stand for."""

    def __init__(self, seen: list[Observation], namespace: str) -> None:
        self._namespace = namespace
        objects = [getattr(o.body, "object", None) for o in seen]
        self.volume = next(
            o
            for o in objects
            if isinstance(o, PersistentVolume)
            and o.spec.claim_ref
            and o.spec.claim_ref.namespace == namespace
        )
        claim = next(o for o in objects if isinstance(o, PersistentVolumeClaim) and o.namespace == namespace)
        pod = next(o for o in objects if isinstance(o, Pod) and o.namespace == namespace and o.spec.node_name)
        assert self.volume.spec.csi is not None
        self.handle = self.volume.spec.csi.volume_handle
        self._uids = {claim.uid, pod.uid, self.volume.uid}
        self._replaced = (
            (f"{namespace}/{claim.name}", "<claim>"),
            (f"{namespace}/{pod.name}", "<pod>"),
            (self.volume.name, "<volume>"),
            (self.handle, "<handle>"),
            (pod.spec.node_name, "<node>"),
            (self.volume.spec.csi.driver, "<driver>"),
        )

    def anonymous(self, text: str) -> str:
        for name, meaning in self._replaced:
            text = text.replace(name, meaning)
        text = re.sub(r'Container image "[^"]*"', "Container image <image>", text)
        return re.sub(r"csi-[0-9a-f]{64}", "<attachment>", text)

    def concerns(self, event: Event) -> bool:
        return event.involved_object.uid in self._uids

    def is_ours(self, volume_id: str, volume_name: str) -> bool:
        return volume_id == self.handle or volume_name == self.volume.name

    def roles(self, obj: KubernetesObject) -> Iterator[tuple[str, Iterable[str]]]:
        """What the object is in this life, with its facts; nothing for what has no part in it."""
        match obj:
            case PersistentVolumeClaim() if obj.namespace == self._namespace:
                yield "claim", self._facts(obj)
            case Pod() if obj.namespace == self._namespace:
                yield "pod", self._facts(obj)
            case PersistentVolume() if obj.name == self.volume.name:
                yield "volume", self._facts(obj)
            case VolumeAttachment() if obj.spec.source.persistent_volume_name == self.volume.name:
                yield "attachment", self._facts(obj)
            case Node():
                # Two programs write them: kubelet on a period, the attach/detach controller when it is done.
                attached = [entry.name for entry in obj.status.volumes_attached]
                for role, volumes in (
                    ("volumesInUse", obj.status.volumes_in_use),
                    ("volumesAttached", attached),
                ):
                    yield role, ["listed"] if any(self.handle in name for name in volumes) else []

    def _facts(self, obj: KubernetesObject) -> Iterable[str]:
        """What matters of an object, as words; a step is a word that comes or goes."""
        if obj.is_terminating:
            yield "terminating"
        match obj:
            case PersistentVolumeClaim():
                yield f"phase={obj.status.phase}"
                yield from (f"finalizer={name}" for name in obj.metadata.finalizers)
                for mark in (
                    "selected_node",
                    "storage_provisioner",
                    "storage_provisioner_beta",
                    "bind_completed",
                    "bound_by_controller",
                ):
                    if value := getattr(obj.metadata.annotations, mark):
                        yield f"{mark}={value}"
                if obj.spec.volume_name:
                    yield f"volume={obj.spec.volume_name}"
            case PersistentVolume():
                yield f"phase={obj.status.phase}"
                yield f"provisioned_by={obj.metadata.annotations.provisioned_by}"
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
                    yield f"{condition.type}={condition.status} {condition.reason}".rstrip()
                for container in obj.status.container_statuses:
                    state = container.state
                    yield "running" if state.running else "terminated" if state.terminated else "waiting"
