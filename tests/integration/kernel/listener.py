"""Hears a kernel source on a test's behalf, and keeps the node's mounts as its observations tell them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from csitrace.model.events import (
    Body,
    ListCompleted,
    MountAppeared,
    MountVanished,
)
from csitrace.model.mounts import Mount
from csitrace.sources.kernel import KernelSource

_PATIENCE_SECONDS = 20.0

Heard = TypeVar("Heard", bound=Body)


class Listener:
    """`heard`: all bodies so far; `mounts`: what is mounted by their account."""

    def __init__(self, source: KernelSource) -> None:
        self._source = source
        self._more = asyncio.Event()
        self.heard: list[Body] = []
        self.mounts: dict[int, Mount] = {}

    async def listen(self) -> None:
        async with contextlib.aclosing(self._source.observe()) as observations:
            async for observation in observations:
                self._take(observation.body)
                self.heard.append(observation.body)
                self._more.set()

    def _take(self, body: Body) -> None:
        match body:
            case MountAppeared(mount=mount):
                self.mounts[mount.mount_id] = mount
            case MountVanished(mount=mount):
                assert self.mounts.pop(mount.mount_id) == mount, (
                    "a mount vanished that had not appeared like this"
                )

    async def until(self, claim: Callable[[], object], what: str) -> None:
        """Until the claim is true, which is asked again after every observation."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not claim():
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            recent = "\n".join(map(str, self.heard[-20:]))
            raise AssertionError(f"never {what}; heard last:\n{recent}") from None

    async def until_heard(self, kind: type[Heard], fits: Callable[[Heard], object] = lambda _: True) -> Heard:
        """The first body of this kind that fits, heard already or yet to come."""

        def found() -> list[Heard]:
            return [body for body in self.heard if isinstance(body, kind) and fits(body)]

        await self.until(found, f"a {kind.__name__} that fits")
        return found()[0]

    async def until_listed(self) -> None:
        await self.until_heard(ListCompleted)


@contextlib.asynccontextmanager
async def listening(source: KernelSource) -> AsyncIterator[Listener]:
    """Hear a source for the duration of the block. An exception of the source fails the block."""
    listener = Listener(source)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(listener.listen())
        yield listener
        task.cancel()
