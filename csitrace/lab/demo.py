"""The lab for `csitrace demo`: started as a process inside the sandbox, watched like any cluster, ended with the view.

sandbox = enter()                              # first of all: forks, and goes on inside
async with running_lab(sandbox, "mixed") as lab:
    ...                                        # watch lab.ready.kubeconfig and each of lab.ready.nodes
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from csitrace.errors import UnreachableError
from csitrace.lab.names import LabReady
from csitrace.lab.sandbox import Sandbox, enter
from csitrace.lab.scenarios import DEFAULT_SCENARIO, SCENARIOS
from csitrace.lab.supervisor import ENVIRONMENT_MARK

__all__ = ["DEFAULT_SCENARIO", "SCENARIOS", "Lab", "LabReady", "enter", "running_lab"]

DEMO_SPEED = 4.0
"""Waits of a quarter: a volume's way takes seconds, and each step can still be seen."""

_START_SECONDS = 30.0
_STOP_SECONDS = 5.0


class Lab:
    """A running lab. `ready`: where everything is."""

    def __init__(self, ready: LabReady) -> None:
        self.ready = ready
        self._reached: dict[str, asyncio.Event] = {}

    async def wait_reached(self, story: str) -> None:
        """Return once a story of the scenario got where it leads."""
        await self._reached.setdefault(story, asyncio.Event()).wait()

    async def follow(self, output: asyncio.StreamReader) -> None:
        """Read what the lab says until it ends."""
        while line := await output.readline():
            story = msgspec.json.decode(line, type=dict[str, str]).get("reached", "")
            self._reached.setdefault(story, asyncio.Event()).set()


@asynccontextmanager
async def running_lab(
    sandbox: Sandbox, scenario: str = DEFAULT_SCENARIO, *, speed: float = DEMO_SPEED, once: bool = False
) -> AsyncIterator[Lab]:
    """Run a scenario until left. UnreachableError when the lab does not come up."""
    log = sandbox.directory / "lab.log"
    arguments = ["--directory", str(sandbox.directory), "--scenario", scenario, "--speed", str(speed)]
    with log.open("ab") as log_file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "csitrace.lab",
            *arguments,
            *(["--once"] if once else []),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log_file,
            env=os.environ | {ENVIRONMENT_MARK: str(sandbox.directory)},
            start_new_session=True,  # the terminal's Ctrl-C is for the view; the lab is ended by it
        )
    if process.stdout is None or process.stdin is None:
        raise RuntimeError("pipes were asked for")
    try:
        line = b""
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await process.stdout.readline()
        except TimeoutError:
            pass
        if not line:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise UnreachableError(f"the lab did not start: {''.join(last) or 'it said nothing'}")
        lab = Lab(msgspec.json.decode(line, type=LabReady))
        following = asyncio.create_task(lab.follow(process.stdout))
        try:
            yield lab
        finally:
            following.cancel()
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
