"""What every controller program is made of: a client, shared informers, an event recorder, tasks that run until it ends."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp

from csitrace.lab.apiserver.resources import Resource
from csitrace.lab.client import Client, Endpoint
from csitrace.lab.informer import Informer
from csitrace.lab.pace import Pace


class Program:
    """`name`: as in a User-Agent. Loops register their informers and tasks when built; `run` runs them all."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint, name: str, pace: Pace) -> None:
        self.client = Client(session, endpoint, name)
        self.pace = pace
        self._informers: dict[tuple[Resource, str], Informer] = {}
        self._tasks: list[Callable[[], Coroutine[Any, Any, None]]] = []

    def informer(self, resource: Resource, field_selector: str = "") -> Informer:
        """The program's one cache of this selection."""
        key = (resource, field_selector)
        if key not in self._informers:
            self._informers[key] = Informer(self.client, resource, field_selector)
        return self._informers[key]

    def task(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run this once the caches are filled, until the program ends."""
        self._tasks.append(run)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run())
            for informer in self._informers.values():
                await informer.wait_synced()
            for run in self._tasks:
                group.create_task(run())
