"""How long to wait before asking again."""

import random
from collections.abc import Callable


class Backoff:
    """Exponential delays with jitter, so that many clients of a server that comes back do not come all at once.

    The n-th delay since the last `reset` is drawn evenly from the upper half of `initial * factor**n`, capped at `maximum`
    (all in seconds): never so short that a failing server is hammered, never longer than promised.
    """

    def __init__(
        self,
        initial: float = 0.25,
        maximum: float = 5.0,
        factor: float = 2.0,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`draw` returns a number in [0, 1); tests give their own."""
        if not (0 < initial <= maximum and factor >= 1):
            raise ValueError(f"back-off of {initial} s, at most {maximum} s, times {factor}: not increasing")
        self._initial = initial
        self._maximum = maximum
        self._factor = factor
        self._draw = draw
        self._ceiling = initial

    def next(self) -> float:
        """Seconds to wait now; each call doubles (by `factor`) the next one."""
        ceiling = self._ceiling
        self._ceiling = min(ceiling * self._factor, self._maximum)
        return ceiling * (0.5 + 0.5 * self._draw())

    def reset(self) -> None:
        """It worked: start again with the shortest delay."""
        self._ceiling = self._initial
