"""The driver as a witness: its trace feed, at an address. Agents speak the same protocol, and are heard in the same way.

A feed that hangs is told from one that is idle by its heartbeats: `SILENCE_S` without a sign of life and the source is down.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing

import msgspec

# Before its import: gRPC's core writes to stderr, over the screen.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc.aio

from csitrace.feed import feed_pb2 as pb
from csitrace.feed.conversion import Origin
from csitrace.feed.feed_pb2_grpc import TraceFeedStub
from csitrace.feed.reader import FeedReader
from csitrace.model.events import Observation, SourceDown, SourceUp, Witness
from csitrace.sources.backoff import Backoff
from csitrace.sources.sockets import checked, connectable

SILENCE_S = 1.75
"""The protocol promises a sign of life every second; with this, a driver that hangs is noticed within two."""

_OPTIONS = (
    (
        "grpc.use_local_subchannel_pool",
        1,
    ),  # no connection state, no back-off of gRPC's own, shared between attempts
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
)

_HINTS = (
    ("No such file", "there is no such socket"),
    ("Connection refused", "nobody listens there"),
    ("Permission denied", "no permission to open it"),
    ("Connection reset", "the connection broke"),
    ("Socket closed", "the connection broke"),
)


class _LostError(Exception):
    """A subscription ended; the text says why. `denied`: it will not come back by itself."""

    def __init__(self, reason: str, denied: bool = False) -> None:
        super().__init__(reason)
        self.denied = denied


class FeedSource:
    """One feed, a driver's or an agent's, followed across restarts of the publisher and loss of connection.

    `address`: `unix:///path` or `host:port`; `name`: what people call who speaks there; `missed_as`: the source that is missing
    until the publisher has said who it is; `node_name`: the node a driver is on that names none; `silence_s`: how long a silence
    is the end; `open_s`: how long the first word may take; `heartbeat_ms`: how often to ask for a sign of life; `gate`: held
    until the first word, where many are opened at once; `why`: asked for the reason, and whether it is a refusal, when the
    connection broke.
    """

    witness = Witness.DRIVER

    def __init__(
        self,
        address: str,
        *,
        name: str = "",
        missed_as: tuple[Witness, str] | None = None,
        node_name: str = "",
        silence_s: float = SILENCE_S,
        open_s: float = SILENCE_S,
        heartbeat_ms: int = 0,
        backoff: Backoff | None = None,
        gate: asyncio.Semaphore | None = None,
        why: Callable[[], tuple[str, bool]] | None = None,
    ) -> None:
        self.name = name or address
        self.called = name or f"the driver's feed at {address}"
        self._target = checked(address)
        self._missed_as = missed_as or (Witness.DRIVER, address)
        self._silence_s = silence_s
        self._open_s = open_s
        self._backoff = backoff or Backoff(0.1, 2.0)
        self._gate = gate or contextlib.nullcontext()
        self._why = why
        self._reader = FeedReader(self.name, node_name, heartbeat_ms)
        self._down = ""
        self._is_missed = False  # told as `missed_as`

    @property
    def origin(self) -> Origin | None:
        """Who speaks, once it has said so."""
        return self._reader.origin

    async def observe(self) -> AsyncGenerator[Observation, None]:
        while True:
            try:
                async with aclosing(self._subscription()) as observations:
                    async for observation in observations:
                        yield self._said_who(observation)
            except _LostError as lost:
                for observation in self.silenced(str(lost), lost.denied):
                    yield observation
            await asyncio.sleep(self._backoff.next())

    def renamed(self, name: str) -> None:
        """Another process is to be heard in the same place."""
        self.name = self.called = self._reader.name = name
        self._backoff.reset()

    def silenced(self, reason: str, denied: bool = False) -> list[Observation]:
        """The source fell silent: said once per reason."""
        if reason == self._down:
            return []
        self._down = reason
        observations = self._reader.silenced(reason, denied)
        if not observations or self._is_missed:
            self._is_missed = True
            witness, scope = self._missed_as
            down = SourceDown(witness=witness, scope=scope, reason=reason, denied=denied)
            observations.append(Observation(body=down))
        return observations

    def _said_who(self, observation: Observation) -> Observation:
        """What was missed until now is heard under the name that it gives itself."""
        witness, scope = self._missed_as
        body = observation.body
        if not (self._is_missed and isinstance(body, SourceUp) and body.witness is witness):
            return observation
        self._is_missed = False
        if body.scope == scope:
            return observation
        return msgspec.structs.replace(observation, body=msgspec.structs.replace(body, formerly=scope))

    async def _subscription(self) -> AsyncGenerator[Observation, None]:
        """One connection, until it is lost."""
        async with AsyncExitStack() as opened:
            async with self._gate:
                with self._connectable() as target:
                    channel = await opened.enter_async_context(
                        grpc.aio.insecure_channel(target, options=_OPTIONS)
                    )
                    call = TraceFeedStub(channel).Subscribe(self._reader.request())
                    opened.callback(call.cancel)
                    batch = await self._next(call, self._open_s)
            observations = self._reader.read(batch)
            self._down = ""
            self._backoff.reset()
            observations = [*self._reader.opened(batch), *observations]
            while True:
                for observation in observations:
                    yield observation
                observations = self._reader.read(await self._next(call, self._silence_s))

    @contextlib.contextmanager
    def _connectable(self) -> Iterator[str]:
        with contextlib.ExitStack() as opened:
            try:
                target = opened.enter_context(connectable(self._target))
            except OSError as error:
                hint = (
                    "no permission to open it"
                    if isinstance(error, PermissionError)
                    else "there is no such socket"
                )
                raise self._lost_to(f"cannot hear {self.called}: {hint}") from None
            yield target

    async def _next(
        self, call: grpc.aio.UnaryStreamCall[pb.SubscribeRequest, pb.Batch], within_s: float
    ) -> pb.Batch:
        try:
            async with asyncio.timeout(within_s):
                batch = await call.read()
        except TimeoutError:
            raise self._lost_to(f"{self.called} gave no sign of life for {within_s:.3g} s") from None
        except grpc.aio.AioRpcError as error:
            raise self._lost(error) from None
        if not isinstance(batch, pb.Batch):
            raise self._lost_to(f"{self.called} ended its feed")
        return batch

    def _lost_to(self, reason: str) -> _LostError:
        """For the reason that whoever made the connection has, or else for this one."""
        known, denied = self._why() if self._why is not None else ("", False)
        return _LostError(known or reason, denied)

    def _lost(self, error: grpc.aio.AioRpcError) -> _LostError:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return _LostError(f"{self.name} serves no trace feed (csitrace.feed.v1)", denied=True)
        details = error.details() or ""
        for sign, hint in _HINTS:
            if sign in details:
                lost = self._lost_to(f"cannot hear {self.called}: {hint}")
                lost.denied = lost.denied or sign == "Permission denied"
                return lost
        first_line = details.partition("\n")[0][:200]
        return self._lost_to(f"cannot hear {self.called}: {error.code().name} {first_line}".rstrip())
