"""The clock: wall time for stamps, monotonic so that time never runs backwards within a session."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Nanoseconds since the Unix epoch."""


def session_clock() -> Clock:
    """A clock that starts at the wall's time and then advances steadily, whatever is done to the wall's clock."""
    origin = time.time_ns() - time.monotonic_ns()
    return lambda: origin + time.monotonic_ns()
