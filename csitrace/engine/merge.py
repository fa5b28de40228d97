"""The merge: the facts of many sources become one sequence."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from csitrace.model.events import Observation, SourceDown
from csitrace.sources import Source

QUEUED = 10_000
"""Facts that may wait to be folded; a source that is faster is made to wait, it is not cut off."""

BATCH = 1_000


async def merge(sources: Sequence[Source]) -> AsyncGenerator[list[Observation], None]:
    """Run sources side by side; yield whatever is there each time something is. Ends when every source has ended.

    Closing the iterator ends the sources and waits until they have let go of what they hold.
    """
    queue: asyncio.Queue[Observation] = asyncio.Queue(QUEUED)
    pumps = [asyncio.create_task(_pump(source, queue)) for source in sources]
    ended = asyncio.create_task(_all(pumps))
    try:
        while not (ended.done() and queue.empty()):
            if batch := await _take(queue, ended):
                yield batch
    finally:
        left: set[asyncio.Task[None]] = {*pumps, ended}
        while left:  # a time-out that fires in the same moment can swallow a cancellation: say it again
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=1.0)


async def _take(queue: asyncio.Queue[Observation], ended: "asyncio.Task[None]") -> list[Observation]:
    waiting = asyncio.ensure_future(queue.get())
    try:
        await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        waiting.cancel()
        raise
    if not waiting.done():
        waiting.cancel()
        return []
    batch = [waiting.result()]
    while len(batch) < BATCH and not queue.empty():
        batch.append(queue.get_nowait())
    return batch


async def _pump(source: Source, queue: asyncio.Queue[Observation]) -> None:
    """One source's facts into the queue. A source that breaks is silent from then on; the others go on."""
    try:
        async with aclosing(source.observe()) as observations:
            async for observation in observations:
                await queue.put(observation)
    except Exception as error:  # noqa: BLE001 - the boundary where a source's fault becomes a fact
        cause: BaseException = error
        while isinstance(
            cause, BaseExceptionGroup
        ):  # what broke is within, not that something in a group did
            cause = cause.exceptions[0]
        reason = f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
        await queue.put(
            Observation(body=SourceDown(witness=source.witness, scope=source.name, reason=reason))
        )


async def _all(tasks: Sequence["asyncio.Task[None]"]) -> None:
    if tasks:
        await asyncio.wait(tasks)
