"""client-go's rate-limited work queue: keys wait their turn once, each is worked on by one at a time, failures back off."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import aiohttp

from csitrace.lab.status import StatusError

K = TypeVar("K", bound=Hashable)

_FIRST_RETRY_SECONDS = 0.005  # client-go's default rate limiter
_CONCURRENCY = 16


class RetryError(Exception):
    """Raised by a worker: not done, try this key again after its back-off."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential: `first` seconds, doubled each time, `limit` at most."""

    first: float = _FIRST_RETRY_SECONDS
    limit: float = 300.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after `failures` failures in a row (1 or more)."""
        return min(self.first * 2.0 ** min(failures - 1, 60), self.limit)


class WorkQueue(Generic[K]):
    """`work(key)` is called for each added key; it retries on `RetryError`, on a refused request and on a lost connection."""

    def __init__(self, work: Callable[[K], Awaitable[None]], backoff: Backoff | None = None) -> None:
        self._work = work
        self._backoff = backoff or Backoff()
        self._queue: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}

    def add(self, key: K) -> None:
        """Ask for `key` to be worked on; while it waits or is worked on, once more is enough."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._queue.put_nowait(key)

    def add_unless_failing(self, key: K) -> None:
        """As `add`, but a key that failed waits for its back-off, whatever changed (external-provisioner's way)."""
        if key not in self._failures:
            self.add(key)

    def add_after(self, key: K, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.add, key)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONCURRENCY):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            key = await self._queue.get()
            self._waiting.discard(key)
            self._busy.add(key)
            try:
                await self._work(key)
                self._failures.pop(key, None)
            except (RetryError, StatusError, aiohttp.ClientError):
                failures = self._failures.get(key, 0) + 1
                self._failures[key] = failures
                self.add_after(key, self._backoff.delay(failures))
            finally:
                self._busy.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)
