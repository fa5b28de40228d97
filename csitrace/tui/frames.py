"""At most ten repaints a second, however many changes there are; the first change after a quiet while shows at once."""

import asyncio
from collections.abc import Callable

from textual.message_pump import MessagePump

FRAME_SECONDS = 0.1


def later(pump: MessagePump, seconds: float, callback: Callable[[], object]) -> None:
    """Call back after some time, in the pump's turn.

    Textual's own timers leave out the beats that are past by the time they begin, and of a single one that is the only one: who
    is held up by a busy machine for longer than the timer runs would never be called.
    """
    asyncio.get_running_loop().call_later(seconds, pump.call_later, callback)


class Frames:
    """Turns any number of `request()`s into few calls of `paint`.

    `later(seconds, callback)` calls back in time; `clock` tells the time in seconds.
    """

    def __init__(
        self,
        paint: Callable[[], None],
        later: Callable[[float, Callable[[], None]], object],
        clock: Callable[[], float],
    ) -> None:
        self._paint, self._later, self._clock = paint, later, clock
        self._waiting = False
        self._painted_at = float("-inf")
        self.painted = 0

    @property
    def pending(self) -> bool:
        """Whether a repaint is asked for and not yet done."""
        return self._waiting

    def request(self) -> None:
        """Something changed: paint within a frame's time."""
        if not self._waiting:
            self._waiting = True
            self._later(max(0.0, self._painted_at + FRAME_SECONDS - self._clock()), self._run)

    def _run(self) -> None:
        self._waiting = False
        self._painted_at = self._clock()
        self.painted += 1
        self._paint()
