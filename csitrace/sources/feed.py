"""The driver as a witness: its trace feed, from addresses given (`FeedSource`) or from sockets found (`DiscoveredFeeds`).

A feed that hangs is told from one that is idle by its heartbeats: `SILENCE_S` without a sign of life and the source is down.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path

# Before its import: gRPC's core writes to stderr, over the screen.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc.aio

from csitrace.feed import feed_pb2 as pb
from csitrace.feed.address import UNIX_PATH_MAX, grpc_target, socket_path
from csitrace.feed.feed_pb2_grpc import TraceFeedStub
from csitrace.feed.reader import FeedReader
from csitrace.model.events import Observation, SourceDown, SourceUp, Witness
from csitrace.sources.backoff import Backoff

SILENCE_S = 1.75
"""The protocol promises a sign of life every second; with this, a driver that hangs is noticed within two."""

SOCKET_NAME = "csitrace-feed.sock"
RESCAN_S = 1.0

_QUEUE_SIZE = 1024
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
    """One feed, followed across restarts of the driver and loss of connection. `address`: `unix:///path` or `host:port`."""

    witness = Witness.DRIVER

    def __init__(self, address: str, *, silence_s: float = SILENCE_S, backoff: Backoff | None = None) -> None:
        self.name = address
        self._target = grpc_target(address)
        self._silence_s = silence_s
        self._backoff = backoff or Backoff(0.1, 2.0)
        self._reader = FeedReader()
        self._down = ""

    @property
    def scope(self) -> str:
        """`driver@node` once the driver has said who it is, else the address."""
        return self.name if self._reader.origin is None else self._reader.origin.scope

    async def observe(self) -> AsyncGenerator[Observation, None]:
        while True:
            try:
                async with aclosing(self._subscription()) as observations:
                    async for observation in observations:
                        yield observation
            except _LostError as lost:
                for observation in self.silenced(str(lost), lost.denied):
                    yield observation
            await asyncio.sleep(self._backoff.next())

    def silenced(self, reason: str, denied: bool = False) -> list[Observation]:
        """The source fell silent: said once per reason."""
        if reason == self._down:
            return []
        self._down = reason
        down = SourceDown(witness=Witness.DRIVER, scope=self.scope, reason=reason, denied=denied)
        return [Observation(body=down)]

    def _heard(self, before: str) -> list[Observation]:
        """The feed is heard (again). `before`: the scope under which it was known, or missed, until now."""
        self._down = ""
        self._backoff.reset()
        origin = self._reader.origin
        up = SourceUp(
            witness=Witness.DRIVER,
            scope=self.scope,
            detail=f"feed {self.name}",
            instance=origin.instance if origin is not None else "",
            formerly=before if before != self.scope else "",
        )
        return [Observation(body=up)]

    async def _subscription(self) -> AsyncGenerator[Observation, None]:
        """One connection, until it is lost."""
        before, heard = self.scope, False
        async with grpc.aio.insecure_channel(self._target, options=_OPTIONS) as channel:
            call = TraceFeedStub(channel).Subscribe(self._reader.request())
            try:
                while True:
                    batch = await self._next(call)
                    observations = self._reader.read(batch)
                    if not heard and batch.HasField("origin"):
                        heard = True
                        for observation in self._heard(before):
                            yield observation
                    for observation in observations:
                        yield observation
            finally:
                call.cancel()

    async def _next(self, call: grpc.aio.UnaryStreamCall[pb.SubscribeRequest, pb.Batch]) -> pb.Batch:
        try:
            async with asyncio.timeout(self._silence_s):
                batch = await call.read()
        except TimeoutError:
            raise _LostError(
                f"the driver's feed at {self.name} gave no sign of life for {self._silence_s:.1f} s"
            ) from None
        except grpc.aio.AioRpcError as error:
            raise self._lost(error) from None
        if not isinstance(batch, pb.Batch):
            raise _LostError(f"the driver ended its feed at {self.name}")
        return batch

    def _lost(self, error: grpc.aio.AioRpcError) -> _LostError:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return _LostError(f"{self.name} serves no trace feed (csitrace.feed.v1)", denied=True)
        details = error.details() or ""
        for sign, hint in _HINTS:
            if sign in details:
                return _LostError(
                    f"cannot hear the driver's feed at {self.name}: {hint}",
                    denied=sign == "Permission denied",
                )
        first_line = details.partition("\n")[0][:200]
        return _LostError(
            f"cannot hear the driver's feed at {self.name}: {error.code().name} {first_line}".rstrip()
        )


def discover(kubelet_root: str | os.PathLike[str]) -> list[str]:
    """Addresses of the feeds below a kubelet's root: `plugins/<driver>/csitrace-feed.sock`, sorted. Looks at no volume's path."""
    plugins = Path(kubelet_root) / "plugins"
    try:
        with os.scandir(plugins) as entries:
            directories = sorted(entry.name for entry in entries)
    except OSError:
        return []
    sockets = (plugins / name / SOCKET_NAME for name in directories)
    return [f"unix://{socket}" for socket in sockets if _is_there(socket)]


def _is_there(path: Path) -> bool:
    if len(os.fsencode(path)) > UNIX_PATH_MAX:
        return False  # nobody can connect to it
    try:
        return path.is_socket()
    except OSError:
        return False


class DiscoveredFeeds:
    """Every feed that appears below a kubelet's root, for as long as its socket is there.

    `besides`: addresses that another source listens to already; hearing them twice would count everything twice.
    `rescan_s`: how often to look.
    """

    witness = Witness.DRIVER

    def __init__(
        self, kubelet_root: str | os.PathLike[str], *, besides: Iterable[str] = (), rescan_s: float = RESCAN_S
    ) -> None:
        self.name = f"{Path(kubelet_root)}/plugins/*/{SOCKET_NAME}"
        self._kubelet_root = kubelet_root
        self._besides = frozenset(grpc_target(address) for address in besides)
        self._rescan_s = rescan_s
        self._sources: dict[str, FeedSource] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def observe(self) -> AsyncGenerator[Observation, None]:
        queue: asyncio.Queue[Observation] = asyncio.Queue(_QUEUE_SIZE)
        scanner = asyncio.create_task(self._follow(queue))
        try:
            while True:
                yield await _next_or_failure(queue, scanner)
        finally:
            ending = [scanner, *self._tasks.values()]
            self._tasks.clear()
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def _follow(self, queue: asyncio.Queue[Observation]) -> None:
        """Start listening to sockets that came, stop where they went; each keeps its place in the feed for when it returns."""
        while True:
            for task in self._tasks.values():
                if task.done():
                    task.result()  # a source ends by an error only
            present = set(await asyncio.to_thread(discover, self._kubelet_root))
            for address in sorted(present - self._tasks.keys()):
                self._start(address, queue)
            for address in sorted(self._tasks.keys() - present):
                task = self._tasks.pop(address)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                for observation in self._sources[address].silenced(
                    f"the driver's socket {socket_path(address)} is gone"
                ):
                    await queue.put(observation)
            await asyncio.sleep(self._rescan_s)

    def _start(self, address: str, queue: asyncio.Queue[Observation]) -> None:
        if grpc_target(address) in self._besides:
            return
        source = self._sources.setdefault(address, FeedSource(address))
        self._tasks[address] = asyncio.create_task(_pour(source, queue))


async def _pour(source: FeedSource, queue: asyncio.Queue[Observation]) -> None:
    async with aclosing(source.observe()) as observations:
        async for observation in observations:
            await queue.put(observation)


async def _next_or_failure(queue: asyncio.Queue[Observation], scanner: asyncio.Task[None]) -> Observation:
    """The next observation, or the scanner's error, should it ever have one."""
    waiting = asyncio.ensure_future(queue.get())
    try:
        await asyncio.wait({waiting, scanner}, return_when=asyncio.FIRST_COMPLETED)
        if scanner.done():
            scanner.result()
        return await waiting
    finally:
        waiting.cancel()
