"""From the sources' observations to the feed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import get_args

from csitrace.feed.conversion import FeedBody
from csitrace.feed.publisher import Publisher
from csitrace.model.events import ListCompleted, Observation, SourceDown, Witness

_TOLD = get_args(FeedBody)


class Relay:
    """Publishes what the sources tell, as they tell it: an observation keeps its time, and where that comes from.

    `settled`: the sources that have told all that was there when they were first heard, or that they are not heard.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._changed = asyncio.Event()
        self.settled: set[tuple[Witness, str]] = set()

    async def run(self, batches: AsyncGenerator[list[Observation], None]) -> None:
        """Until the sources end. The loop gets its turn between batches."""
        async with aclosing(batches):
            async for batch in batches:
                for observation in batch:
                    self.take(observation)
                await asyncio.sleep(0)

    def take(self, observation: Observation) -> None:
        """Publish one observation."""
        body = observation.body
        if not isinstance(body, _TOLD):
            return
        self._publisher.relay(body, observation.occurred_at, observation.stamp)
        if isinstance(body, ListCompleted | SourceDown):
            self.settled.add((body.witness, body.scope))
            self._changed.set()

    async def next_settled(self) -> None:
        """Wait until another source is settled."""
        self._changed.clear()
        await self._changed.wait()
