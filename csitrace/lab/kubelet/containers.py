"""A pod's container: one real process, which works in the volumes that were published for the pod."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from csitrace.lab.clock import timestamp
from csitrace.lab.status import Object


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended."""

    code: int
    started_at: str
    finished_at: str

    def to_state(self) -> Object:
        terminated = {
            "exitCode": self.code,
            "reason": "Completed" if self.code == 0 else "Error",
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
        }
        return {"terminated": terminated}


class Container:
    """Running from `start` on."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.started_at = timestamp()
        self._process = process

    @classmethod
    async def start(cls, directories: Sequence[Path]) -> "Container":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "csitrace.lab.workload",
            *map(str, directories),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
        )
        if process.stdout is not None:
            await (
                process.stdout.readline()
            )  # an interpreter takes its time; a container counts as started when its program is
        return cls(process)

    async def wait(self) -> Exit:
        code = await self._process.wait()
        # The runtime's convention for a process that a signal ended.
        return Exit(code if code >= 0 else 128 - code, self.started_at, timestamp())

    async def stop(self, grace_seconds: float) -> Exit:
        """SIGTERM, and SIGKILL when the grace period is over; waits for as long as the kernel holds the process."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                return await self.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
        return await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)
