"""A recorder beside the roads: what it has written when they are over, without having been ended, shows them again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from csitrace.engine.recorder import Recorder
from csitrace.engine.session import Session
from csitrace.trace.reader import TraceReader
from tests.roads.replayed import not_replayed
from tests.roads.traveller import Told

_LOOKS, _LOOK_AGAIN_S = 60, 0.5
"""A file tells nobody that it grows."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A session and the file that it is recorded in."""

    session: Session
    path: Path

    async def expect(self) -> None:
        """What a kill would leave of the recording now has every moment of the roads that the session has seen to their end, each
        road's in their order; AssertionError where it does not come to that."""
        told = self.session.history
        assert isinstance(told, Told)
        assert told.awaited
        for _ in range(_LOOKS):
            if not (missing := self._missing(told)):
                return
            await asyncio.sleep(_LOOK_AGAIN_S)
        raise AssertionError("\n".join(["not in the recording:", *missing]))

    def _missing(self, told: Told) -> list[str]:
        with TraceReader.open(self.path) as reader:
            return not_replayed(reader.events(), told.awaited)


@asynccontextmanager
async def recording(session: Session, directory: Path) -> AsyncIterator[Recorded]:
    """Record the session meanwhile; in its own thread, as a recorder is begun there."""
    path = directory / "road.csitrace"
    recorder = Recorder(session, path)
    recorder.start()
    try:
        yield Recorded(session, path)
    finally:
        await recorder.stop()
