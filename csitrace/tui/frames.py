"""At most ten repaints a second, however many changes there are; the first change after a quiet while shows at once."""

from collections.abc import Callable

FRAME_SECONDS = 0.1


class Frames:
    """Turns any number of `request()`s into few calls of `paint`.

    `later(seconds, callback)` is the loop's timer; `clock` its time in seconds.
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
