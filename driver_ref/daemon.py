"""The driver's end of a FUSE process's control socket (protocol: driver_ref.fs.channel)."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from driver_ref.faults import Fault
from driver_ref.fs import channel

REQUEST_TIMEOUT = 5.0

UCRED = struct.Struct("3i")
"""pid, uid, gid: unix(7), SO_PEERCRED."""


class DaemonError(Exception):
    """A FUSE process did not start, did not answer or refused; the text says which and why."""


class Listener(Protocol):
    """Who wants to hear what a FUSE process says."""

    def counted(self, daemon: "Daemon", counters: channel.Counters) -> None:
        """New totals."""

    def slow(self, daemon: "Daemon", operation: channel.SlowOp) -> None:
        """A slow or sampled operation."""

    def ended(self, daemon: "Daemon") -> None:
        """The process is gone (or closed its socket, which only an end does)."""


class Daemon:
    """A FUSE process that serves. Made by `connect`; of no use once `alive` is false.

    `pid`: as we see it, 0 where our PID namespace does not show it. What the greeting says is the process's own view.
    """

    def __init__(
        self, hello: channel.Hello, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.hello = hello
        self.pid = pid
        self.counters: channel.Counters | None = None
        self.exit_status: asyncio.Future[int] | None = None
        self.stopping = False
        self._reader = reader
        self._writer = writer
        self._requests = asyncio.Lock()
        self._answers: asyncio.Queue[channel.Ok | channel.Error] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._counted = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._pidfd = os.pidfd_open(pid) if pid else -1

    @classmethod
    async def connect(cls, path: Path, volume_id: str) -> "Daemon":
        """Connect and wait for the greeting, which comes when the mount serves requests.

        Raises OSError when nobody listens or who listened has gone, DaemonError when it is not the FUSE process of
        this volume.
        """
        reader, writer = await asyncio.open_unix_connection(str(path), limit=channel.MAX_LINE_BYTES)
        try:
            line = await reader.readline()
            if not line:
                raise ConnectionResetError(f"{path}: closed before the greeting")
            hello = channel.decode_from_daemon(line)
            if not isinstance(hello, channel.Hello) or hello.version != channel.PROTOCOL_VERSION:
                raise DaemonError(f"{path}: speaks another protocol than version {channel.PROTOCOL_VERSION}")
            if hello.volume_id != volume_id:
                raise DaemonError(f"{path}: serves volume {hello.volume_id}, not {volume_id}")
            return cls(hello, _peer(writer), reader, writer)
        except BaseException as error:
            writer.close()
            if isinstance(error, ValueError):
                raise DaemonError(f"{path}: {error}") from error
            raise

    @property
    def alive(self) -> bool:
        """Whether the process was there when last heard of; its end is heard at once."""
        return not self._gone.is_set()

    def listen(self, listener: Listener) -> None:
        """Begin to hear; `listener` gets everything from here on."""
        self._reading = asyncio.create_task(self._read(listener), name=f"fuse {self.hello.volume_id}")

    async def first_counters(self, timeout: float) -> channel.Counters | None:
        """The latest totals; waits for the first ones, None when they do not come."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._counted.wait(), timeout)
        return self.counters

    async def set_size(self, size_bytes: int) -> None:
        """Tell the volume's new size. Raises DaemonError."""
        await self._request(channel.SetSize(bytes=size_bytes))

    async def set_faults(self, faults: Iterable[Fault]) -> None:
        """Replace the FUSE faults. Raises DaemonError."""
        await self._request(channel.SetFaults(faults=[_wire(fault) for fault in faults]))

    async def end(self, timeout: float) -> None:
        """Make the process end, by force when it does not answer or not end in time. Returns when it is gone."""
        self.stopping = True
        try:
            await self._request(channel.Stop())
            gone = await self._wait_gone(timeout)
        except DaemonError:
            gone = False
        if not gone:
            self.kill()
            await self._wait_gone(timeout)

    def kill(self) -> bool:
        """SIGKILL the process; by a descriptor of the process, so never another one with the same number.

        False where it cannot be: our PID namespace does not show it.
        """
        if self._pidfd < 0:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        return True

    async def disconnect(self) -> None:
        """Leave the process to itself: the driver goes, it stays."""
        self.stopping = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._close()

    async def how_it_ended(self, timeout: float = 1.0) -> str:
        """`killed by SIGKILL`, `exited with 1`; `ended` where that is not known (it was another driver's child)."""
        if self.exit_status is None:
            return "ended"
        try:
            status = await asyncio.wait_for(asyncio.shield(self.exit_status), timeout)
        except TimeoutError:
            return "closed its control socket"
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"

    async def _wait_gone(self, timeout: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), timeout)
        return self._gone.is_set()

    async def _request(self, message: channel.ToDaemon) -> None:
        async with self._requests:
            if self._gone.is_set():
                raise DaemonError(f"the FUSE process {self.pid} is gone")
            try:
                self._writer.write(channel.encode(message))
                await self._writer.drain()
                answer = await asyncio.wait_for(self._answer(), REQUEST_TIMEOUT)
            except OSError as error:
                raise DaemonError(f"the FUSE process {self.pid} does not answer: {error}") from error
        if isinstance(answer, channel.Error):
            raise DaemonError(f"the FUSE process {self.pid} refused: {answer.message}")

    async def _answer(self) -> channel.Ok | channel.Error:
        """The next answer; Error when the process goes before it gives one."""
        answer = asyncio.ensure_future(self._answers.get())
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else channel.Error(message="it ended")
        finally:
            answer.cancel()
            gone.cancel()

    async def _read(self, listener: Listener) -> None:
        try:
            while line := await self._reader.readline():
                self._hear(channel.decode_from_daemon(line), listener)
        except (OSError, ValueError):
            self.kill()  # what it says makes no sense: better dead, and noticed, than half heard
        self._gone.set()
        self._close()
        listener.ended(self)

    def _hear(self, message: channel.FromDaemon, listener: Listener) -> None:
        if isinstance(message, channel.Counters):
            self.counters = message
            self._counted.set()
            listener.counted(self, message)
        elif isinstance(message, channel.SlowOp):
            listener.slow(self, message)
        elif isinstance(message, channel.Ok | channel.Error):
            self._answers.put_nowait(message)

    def _close(self) -> None:
        self._writer.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _peer(writer: asyncio.StreamWriter) -> int:
    """The pid of whoever listens at the other end; 0 if it is not in our PID namespace."""
    credentials = writer.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size
    )
    pid: int = UCRED.unpack(credentials)[0]
    return pid


def _wire(fault: Fault) -> channel.Fault:
    return channel.Fault(
        op=fault.operation,
        errno=fault.errno or None,
        delay_ms=fault.delay_ns // 1_000_000 or None,
        hang=fault.hang,
        count=fault.count,
    )
