"""The lab's programs by name, as parts that end and come back while the others go on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Parts:
    """Runs them all. Names are those of the harness of the real cluster (`kube-scheduler`, `driver-2`)."""

    def __init__(self) -> None:
        self._lives: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        self._reach: dict[str, asyncio.Event] = {}
        self._alive: dict[str, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()

    def add(
        self, name: str, live: Callable[[], Coroutine[Any, Any, None]], reach: asyncio.Event | None = None
    ) -> None:
        """`live`: one life of it, from nothing on, until it is cancelled; `reach`: cleared while it is suspended."""
        self._lives[name] = live
        if reach is not None:
            self._reach[name] = reach

    async def run(self) -> None:
        """Until cancelled; one that fails fails all."""
        async with self._group:
            for name in self._lives:
                self._begin(name)
            await asyncio.Event().wait()

    async def obey(self, order: str) -> None:
        """`kill kube-scheduler`, or `restart`, `suspend`, `resume`; returns when it is done. KeyError for what is none."""
        action, _, name = order.partition(" ")
        await _ACTIONS[action](self, name)

    async def kill(self, name: str) -> None:
        """It is gone, without having been told to end, until it is restarted; what it began goes on where others do it."""
        self._alive[name].cancel()
        await asyncio.wait({self._alive[name]})

    async def restart(self, name: str) -> None:
        await self.kill(name)
        self._begin(name)

    async def suspend(self, name: str) -> None:
        """It neither hears nor says anything to the API server, until it is resumed."""
        self._reach[name].clear()

    async def resume(self, name: str) -> None:
        self._reach[name].set()

    def _begin(self, name: str) -> None:
        self._alive[name] = self._group.create_task(self._lives[name]())


_ACTIONS: dict[str, Callable[[Parts, str], Coroutine[Any, Any, None]]] = {
    "kill": Parts.kill,
    "restart": Parts.restart,
    "suspend": Parts.suspend,
    "resume": Parts.resume,
}
