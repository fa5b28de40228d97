"""`csitrace record` beside a road, killed at its end: what it has kept shows the road again."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from csitrace.engine.session import Session
from csitrace.trace.reader import TraceReader
from tests.cluster.conftest import Target
from tests.roads.replayed import not_replayed
from tests.roads.traveller import Told

_LOOKS, _LOOK_AGAIN_S = 60, 0.5
"""A file tells nobody that it grows."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """The process, and the file it writes."""

    process: asyncio.subprocess.Process
    recording: Path

    async def expect(self, session: Session) -> None:
        """Kill it once it has recorded every moment of the roads that a session has seen to their end. AssertionError where its
        recording then lacks one, or shows them in another order."""
        assert isinstance(session.history, Told)
        assert session.history.awaited
        for _ in range(_LOOKS):
            if not self._missing(session.history):
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        assert self.process.returncode is None, f"it ended by itself: {self.process.returncode}"
        self.process.kill()
        await self.process.wait()
        assert self._missing(session.history) == []

    def _missing(self, told: Told) -> list[str]:
        with TraceReader.open(self.recording) as reader:
            return not_replayed(reader.events(), told.awaited)


@asynccontextmanager
async def recording(target: Target, directory: Path, feeds: Sequence[str] = ()) -> AsyncIterator[Recorder]:
    """A recorder of all that can be heard of a cluster, begun. `feeds`: of drivers besides the usual one."""
    path = directory / "road.csitrace"
    heard = [
        *(target.cluster.hearing() if target.cluster is not None else []),
        *(f"--feed={feed}" for feed in feeds),
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "csitrace", "record", "-o", str(path), *heard,
        env=os.environ | {"KUBECONFIG": str(target.kubectl.kubeconfig)},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(_LOOKS):
            if _has_begun(path):
                break
            assert process.returncode is None, f"no recording: exit code {process.returncode}"
            await asyncio.sleep(_LOOK_AGAIN_S)
        yield Recorder(process, path)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _has_begun(path: Path) -> bool:
    if not path.exists() or not path.stat().st_size:
        return False
    with TraceReader.open(path) as reader:
        return next(reader.events(), None) is not None
