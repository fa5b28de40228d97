"""Collecting what a source says, and waiting for it without sleeping."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from csitrace.model.events import (
    Body,
    ListCompleted,
    ObjectAdded,
    ObjectDeleted,
    ObjectListed,
    ObjectModified,
    Observation,
)
from csitrace.model.kubernetes import KubernetesObject
from csitrace.sources.kubernetes.source import KubernetesSource

B = TypeVar("B")
PATIENCE = 20.0


class Listener:
    """Everything heard so far; `objects` is the state that follows from it, by uid."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.objects: dict[str, KubernetesObject] = {}
        self._heard = asyncio.Condition()

    async def hear(self, batch: list[Observation]) -> None:
        self.observations += batch
        for observation in batch:
            match observation.body:
                case ObjectListed(object=obj) | ObjectAdded(object=obj) | ObjectModified(object=obj):
                    self.objects[obj.uid] = obj
                case ObjectDeleted(object=obj):
                    self.objects.pop(obj.uid, None)
        async with self._heard:
            self._heard.notify_all()

    def of(self, kind: type[B]) -> list[B]:
        """The bodies of one type, in order."""
        return [item.body for item in self.observations if isinstance(item.body, kind)]

    @property
    def names(self) -> set[str]:
        return {obj.full_name for obj in self.objects.values()}

    @property
    def bodies(self) -> list[Body]:
        return [item.body for item in self.observations]

    async def until(self, condition: Callable[[], Any], what: str = "") -> None:
        """Wait until what was heard fulfils `condition`; its state is in the failure."""
        try:
            async with asyncio.timeout(PATIENCE), self._heard:
                await self._heard.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"never heard {what}: {self.bodies}") from None

    async def until_listed(self, scope: str) -> None:
        await self.until(
            lambda: any(body.scope == scope for body in self.of(ListCompleted)), f"list of {scope}"
        )


@asynccontextmanager
async def listening(source: KubernetesSource) -> AsyncIterator[Listener]:
    """Run `source` in the background."""
    listener = Listener()

    async def listen() -> None:
        async for observation in source.observe():
            await listener.hear([observation])

    task = asyncio.create_task(listen())
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]
