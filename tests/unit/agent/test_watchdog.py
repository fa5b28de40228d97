"""A process whose event loop hangs does not stay."""

import asyncio
import subprocess
import sys

from csitrace.agent.watchdog import STUCK, Watchdog

HANG = """
import asyncio, threading
from csitrace.agent.watchdog import Watchdog
async def main():
    Watchdog(0.01, 2).start()
    threading.Event().wait()
asyncio.run(main())
"""


def test_a_loop_that_does_not_turn_ends_the_process() -> None:
    """With an exit code that tells it from other ends."""
    assert subprocess.run([sys.executable, "-c", HANG], check=False, timeout=60).returncode == STUCK


async def test_a_loop_that_turns_is_left_alone() -> None:
    """Every question is answered, and counted anew from there."""
    answered = asyncio.Event()

    class Watched(Watchdog):
        def _answer(self) -> None:
            super()._answer()
            assert self._unanswered == 0
            answered.set()

    watchdog = Watched(0.01, 1_000)
    watchdog.start()
    for _ in range(3):
        async with asyncio.timeout(20):
            await answered.wait()
        answered.clear()
    watchdog.stop()
