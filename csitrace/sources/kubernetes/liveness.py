"""Is the API server there? Known within two seconds, also when nothing else would tell.

A killed server resets its connections; one that hangs, or a network that swallows packets, leaves watches that are merely
silent, for hours. So while nothing has been heard for a while, one small request asks: `/livez`, which every identity may
read and which the server exempts from its own throttling. Any answer, also an error, is a sign of life. Busy
watches need no probe.
"""

import asyncio
import contextlib
from collections import deque
from types import TracebackType

from csitrace.errors import ConfigError, UnreachableError
from csitrace.sources.backoff import Backoff
from csitrace.sources.kubernetes.connection import Connection, StatusError

_FARTHEST = 5.0  # s; who takes longer is as good as lost
_SLICES = 4  # of the time-out; a hold-up of our own event loop uses up one of them only


class Liveness:
    """One server's pulse, shared by all who talk to it. Times in seconds."""

    def __init__(
        self,
        connection: Connection,
        *,
        interval: float = 0.4,
        timeout: float = 1.0,
        backoff: Backoff | None = None,
    ) -> None:
        """Silence is noticed after `interval` + `timeout`; a lost server is asked again after `backoff`.

        A server that is far away, by what its quickest answers took, is given more time.
        """
        self._connection = connection
        self._interval = interval
        self._timeout = timeout
        self._backoff = backoff or Backoff(0.25, 2.0)
        self._heard_at = 0.0
        self._suspected = asyncio.Event()
        self._alive = asyncio.Event()
        self._alive.set()
        self._reason = ""
        self._guards: set[asyncio.Timeout] = set()
        self._answers: deque[float] = deque(maxlen=16)  # what the last ones took

    @property
    def alive(self) -> bool:
        """Until the opposite is known."""
        return self._alive.is_set()

    def heard(self) -> None:
        """Bytes came from the server."""
        self._heard_at = asyncio.get_running_loop().time()

    def suspect(self) -> None:
        """A connection failed: ask at once."""
        self._suspected.set()

    async def wait_alive(self) -> None:
        await self._alive.wait()

    def guard(self) -> "_Guard":
        """`async with`: the body is interrupted with `UnreachableError` as soon as the server is known to be lost."""
        return _Guard(self)

    async def run(self) -> None:
        """Keep asking, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            quiet_until = self._heard_at + self._interval
            if self.alive and not self._suspected.is_set() and loop.time() < quiet_until:
                await self._wait_suspicion(quiet_until - loop.time())
                continue
            self._suspected.clear()
            asked_at = loop.time()
            reason = await self._probe()
            if not reason or self._heard_at > asked_at:
                self._revive()
            else:
                self._lose(reason)
                await asyncio.sleep(self._backoff.next())

    async def _wait_suspicion(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._suspected.wait()
        except TimeoutError:
            pass

    async def _probe(self) -> str:
        """Why the server is lost, or empty."""
        loop = asyncio.get_running_loop()
        asked_at, patience = loop.time(), self._patience
        request = asyncio.ensure_future(self._connection.get("/livez"))
        try:
            for _ in range(_SLICES):
                done, _ = await asyncio.wait({request}, timeout=patience / _SLICES)
                if done:
                    with contextlib.suppress(StatusError, ConfigError):
                        request.result()
                    self._answers.append(loop.time() - asked_at)
                    return ""
        except UnreachableError as error:
            return str(error)
        finally:
            request.cancel()
        return f"API server {self._connection.server}: gave no answer in {patience:.2g} s"

    @property
    def _patience(self) -> float:
        """A new TLS connection takes four round trips, the quickest answer of late took one, at the first nothing is known."""
        if not self._answers:
            return _FARTHEST
        return min(max(self._timeout, 6 * min(self._answers)), _FARTHEST)

    def _revive(self) -> None:
        self.heard()
        self._backoff.reset()
        self._alive.set()

    def _lose(self, reason: str) -> None:
        self._reason = reason
        self._alive.clear()
        now = asyncio.get_running_loop().time()
        while self._guards:
            self._guards.pop().reschedule(now)


class _Guard:
    """See `Liveness.guard`. Only waiting for the network belongs in the body: a fact in hand must not be dropped."""

    def __init__(self, liveness: Liveness) -> None:
        self._liveness = liveness
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        if not self._liveness.alive:
            raise UnreachableError(self._liveness._reason)
        await self._timeout.__aenter__()
        self._liveness._guards.add(self._timeout)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._liveness._guards.discard(self._timeout)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise UnreachableError(self._liveness._reason) from None
