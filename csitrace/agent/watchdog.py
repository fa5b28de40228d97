"""Ends a process whose event loop no longer turns, so that whoever started it starts it again."""

import asyncio
import os
import threading

STUCK = 70
"""The exit code, EX_SOFTWARE of sysexits.h."""


class Watchdog:
    """Asks the running loop for a sign of life every `interval_s`; after `patience` times without one the process ends.

    It counts askings and no time, so that a process that was stopped and goes on is not taken for one that hangs.
    """

    def __init__(self, interval_s: float = 10.0, patience: int = 6) -> None:
        self._interval_s = interval_s
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._ended = threading.Event()
        self._unanswered = 0

    def start(self) -> None:
        threading.Thread(target=self._watch, name="csitrace-watchdog", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval_s):
            if self._unanswered >= self._patience:
                os._exit(STUCK)
            self._unanswered += 1
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:  # the loop is closed: the process ends already
                return

    def _answer(self) -> None:
        self._unanswered = 0
