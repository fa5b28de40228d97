"""A session over some sources, and conditions of its state to wait for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from csitrace.engine.merge import merge
from csitrace.engine.session import Session
from csitrace.lifecycle.state import SourceState, State
from csitrace.model.events import Witness
from csitrace.sources import Source

PATIENCE_SECONDS = 60.0

T = TypeVar("T")


class Hearing:
    """What is heard so far."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @property
    def state(self) -> State:
        return self.session.state

    def kernel(self, node_name: str) -> SourceState | None:
        return self.state.sources.get((Witness.KERNEL, node_name))

    async def until(self, what: str, condition: Callable[[State], T | None]) -> T:
        """What `condition` returns for the first state, from now on, for which that is true."""
        changed = asyncio.Event()
        forget = self.session.on_change(changed.set)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not (found := condition(self.state)):
                    changed.clear()
                    await changed.wait()
                return found
        except TimeoutError:
            sources = "\n".join(
                f"{witness.value} {scope}: {'up' if source.up else source.reason}"
                for (witness, scope), source in self.state.sources.items()
            )
            raise AssertionError(f"never {what}; heard are:\n{sources}") from None
        finally:
            forget()

    async def until_heard(self, *node_names: str) -> None:
        """Until the kernels of these nodes are heard, and have told all there is."""
        await self.until(f"heard: {node_names}", lambda state: all(map(self._is_heard, node_names)))

    async def until_missed(self, node_name: str, because: str) -> SourceState:
        """Until a node's kernel is not heard, for a reason that has these words in it."""

        def missed(state: State) -> SourceState | None:
            source = state.sources.get((Witness.KERNEL, node_name))
            return source if source is not None and not source.up and because in source.reason else None

        return await self.until(f"missed: {node_name}, because {because!r}", missed)

    def _is_heard(self, node_name: str) -> bool:
        source = self.kernel(node_name)
        return source is not None and source.up and source.listed


@asynccontextmanager
async def hearing(*sources: Source) -> AsyncIterator[Hearing]:
    """A session for the duration of the block; a source that breaks is a source that is down."""
    session = Session("test")
    running = asyncio.create_task(session.run(merge(sources)))
    try:
        yield Hearing(session)
    finally:
        running.cancel()
        await asyncio.wait({running})


def calls(state: State) -> list[tuple[str, int]]:
    """All calls that the state knows, as (instance, call id); one that is there twice was told twice."""
    return sorted((call.instance, call.call_id) for of_one in state.calls.values() for call in of_one)
