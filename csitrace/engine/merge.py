"""The merge: facts of many sources become one sequence of events."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from csitrace.engine.clock import Clock
from csitrace.model.events import Observation, SourceDown, TraceEvent
from csitrace.sources import Source

QUEUED = 10_000
"""Facts that may wait to be folded; a source that is faster is made to wait, it is not cut off."""

MAX_SKEW_NS = 5 * 60 * 1_000_000_000
"""An origin's time this far in our future is a wrong clock, and is not taken over."""


class Merge:
    """Runs sources side by side; `events()` yields their facts stamped with `seq`, from `first_seq` on."""

    def __init__(self, sources: Sequence[Source], clock: Clock, first_seq: int = 1) -> None:
        self._sources = sources
        self._clock = clock
        self._next_seq = first_seq
        self._queue: asyncio.Queue[Observation] = asyncio.Queue(QUEUED)

    async def batches(self) -> AsyncIterator[list[TraceEvent]]:
        """Whatever is there each time something is, in order; ends when every source has ended."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._pump(source)) for source in self._sources]
            done = group.create_task(_all(tasks))
            try:
                while not (done.done() and self._queue.empty()):
                    batch = await self._take(done)
                    if batch:
                        yield [self.stamp(observation) for observation in batch]
            finally:
                for task in tasks:
                    task.cancel()

    def stamp(self, observation: Observation) -> TraceEvent:
        """The next event: our time beside the origin's, where it tells one that can be."""
        observed_at = self._clock()
        told = observation.occurred_at
        occurred_at = told if told is not None and told <= observed_at + MAX_SKEW_NS else observed_at
        event = TraceEvent(
            seq=self._next_seq,
            observed_at=observed_at,
            occurred_at=occurred_at,
            stamp=observation.stamp,
            body=observation.body,
        )
        self._next_seq += 1
        return event

    async def _take(self, done: "asyncio.Task[None]") -> list[Observation]:
        waiting = asyncio.ensure_future(self._queue.get())
        await asyncio.wait({waiting, done}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            return []
        batch = [waiting.result()]
        while len(batch) < 1000 and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    async def _pump(self, source: Source) -> None:
        """One source's facts into the queue. A source that breaks is silent from then on; the others go on."""
        try:
            async for observation in source.observe():
                await self._queue.put(observation)
        except Exception as error:  # noqa: BLE001 - the boundary where a source's fault becomes a fact
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            body = SourceDown(witness=source.witness, scope=source.name, reason=reason)
            await self._queue.put(Observation(body=body))


async def _all(tasks: Sequence["asyncio.Task[None]"]) -> None:
    if tasks:
        await asyncio.wait(tasks)
