"""The control socket: who connects is told what happens in the file system, and may command it."""

import os
import socket
import stat
import time
from collections.abc import Callable

import trio

from driver_ref.fs.channel import (
    ChannelError,
    Counters,
    Error,
    Hello,
    LineBuffer,
    Message,
    Ok,
    SetFaults,
    SetSize,
    SlowOp,
    Stop,
    ToDaemon,
    decode_to_daemon,
    encode,
)
from driver_ref.fs.counters import OpCounters
from driver_ref.fs.faults import Faults
from driver_ref.fs.space import Space

_SLOW_QUEUE = 256
"""Slow operations that may wait for one connection; more are dropped and counted."""


def listen(path: str) -> socket.socket:
    """A listening unix socket at ``path``, mode 0600. A dead daemon's socket is replaced, a living one's is not.

    Raises :class:`OSError`; :class:`FileExistsError` when something answers at ``path`` or it is not a socket.
    """
    if os.path.lexists(path):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(f"{path} exists and is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(path) == 0:
                raise FileExistsError(f"another process is listening at {path}")
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o177)
    try:
        listener.bind(path)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(umask)
    return listener


class ControlServer:
    """Serves every connection to the control socket; they see the same counters and all may command."""

    def __init__(
        self,
        counters: OpCounters,
        space: Space,
        faults: Faults,
        stop: Callable[[], None],
        interval_seconds: float,
    ) -> None:
        self._counters = counters
        self._space = space
        self._faults = faults
        self._stop = stop
        self._interval = interval_seconds
        self._connections: set[_Connection] = set()

    def report(self, slow: SlowOp) -> None:
        """Offer a slow operation to every connection."""
        for connection in self._connections:
            connection.offer(slow)

    async def serve(self, listener: socket.socket, hello: Hello) -> None:
        """Accept connections until cancelled."""

        async def handle(stream: trio.SocketStream) -> None:
            connection = _Connection(stream)
            try:
                await connection.send(hello)
                self._connections.add(connection)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send_counters, connection)
                    nursery.start_soon(connection.send_slow)
                    await self._obey(connection)
                    nursery.cancel_scope.cancel()
            except* (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # it went away while we were talking
            finally:
                self._connections.discard(connection)

        await trio.serve_listeners(handle, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])

    async def _obey(self, connection: "_Connection") -> None:
        lines = LineBuffer()
        async for chunk in connection.stream:
            try:
                for line in lines.feed(bytes(chunk)):
                    try:
                        command = decode_to_daemon(line)
                    except ChannelError as error:
                        await connection.send(Error(str(error)))
                    else:
                        await self._carry_out(command, connection)
            except ChannelError as error:
                await connection.send(Error(str(error)))
                return

    async def _carry_out(self, command: ToDaemon, connection: "_Connection") -> None:
        match command:
            case SetFaults(faults=faults):
                self._faults.replace(faults)
                await connection.send(Ok())
            case SetSize(bytes=size):
                self._space.size_bytes = size
                await connection.send(Ok())
            case Stop():
                await connection.send(Ok())
                self._stop()

    async def _send_counters(self, connection: "_Connection") -> None:
        sent: object = None
        while True:
            space = self._space
            now = (
                self._counters.totals(),
                space.size_bytes,
                space.used_bytes,
                space.used_inodes,
                connection.slow_dropped,
            )
            if now != sent:
                await connection.send(Counters(time.time_ns(), *now))
                sent = now
            await trio.sleep(self._interval)


class _Connection:
    """One client. Slow operations wait in a bounded queue, so that a client that does not read cannot hurt us."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.slow_dropped = 0
        self._writing = trio.Lock()
        self._offer, self._slow = trio.open_memory_channel[SlowOp](_SLOW_QUEUE)

    async def send(self, message: Message) -> None:
        """Send one message, whole."""
        async with self._writing:
            await self.stream.send_all(encode(message))

    def offer(self, slow: SlowOp) -> None:
        """Queue a slow operation, or count it as dropped."""
        try:
            self._offer.send_nowait(slow)
        except trio.WouldBlock:
            self.slow_dropped += 1

    async def send_slow(self) -> None:
        """Send queued slow operations until cancelled."""
        async for slow in self._slow:
            await self.send(slow)
