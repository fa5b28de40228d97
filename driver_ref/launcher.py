"""Starting the FUSE process of a volume, and finding one that an earlier driver started."""

import asyncio
import fcntl
import hashlib
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from csitrace.errors import UsageError
from driver_ref.daemon import Daemon, DaemonError

START_TIMEOUT = 30.0
ADOPT_TIMEOUT = 5.0
KILL_TIMEOUT = 5.0

_SOCKET_PATH_LIMIT = 107  # bytes, of sun_path in unix(7), without the final NUL
_RETRY_INTERVAL = 0.02
_UCRED = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


@dataclass(frozen=True, slots=True, kw_only=True)
class FuseVolume:
    """What a FUSE process is to serve: `source`, the directory with the bytes, at `mountpoint`, with `size` bytes."""

    volume_id: str
    source: Path
    mountpoint: str
    size: int


class Launcher(Protocol):
    """How FUSE processes come about: as processes here (below), or as pods elsewhere."""

    async def start(self, volume: FuseVolume) -> Daemon:
        """Start the volume's FUSE process; returns when it serves. Raises DaemonError, and then nothing runs."""

    async def adopt(self, volume_id: str) -> Daemon | None:
        """The volume's FUSE process if one lives, whoever started it. Raises DaemonError when it does not answer."""

    async def kill(self, volume_id: str) -> None:
        """End a FUSE process that `adopt` could not speak to; nothing to do is fine. Raises DaemonError if it lives on."""


class ProcessLauncher:
    """FUSE processes by exec. They outlive the driver, and are found again by a lock that each holds while it lives.

    The lock (flock on `<id>.lock`, inherited over exec) is the one certain sign of life: it goes with the process however that
    ends, no number is reused, and it is there before the control socket is.
    """

    def __init__(self, run: Path, logs: Path) -> None:
        """`run`: for locks and sockets; `logs`: for what the processes write. Raises UsageError for too long a path."""
        self._run = run
        self._logs = logs
        for directory in (run, logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        length = len(os.fsencode(self._socket("any")))
        if length > _SOCKET_PATH_LIMIT:
            raise UsageError(
                f"{run}: {length - _SOCKET_PATH_LIMIT} bytes too long for a unix socket; use a shorter --state-dir"
            )

    async def start(self, volume: FuseVolume) -> Daemon:
        """See Launcher."""
        lock = self._lock(volume.volume_id)
        if lock is None:
            raise DaemonError("a FUSE process of this volume is already running")
        control = self._socket(volume.volume_id)
        control.unlink(missing_ok=True)
        log = self._logs / f"{volume.volume_id}.log"
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "driver_ref.fs",
                f"--volume-id={volume.volume_id}",
                f"--source={volume.source}",
                f"--mountpoint={volume.mountpoint}",
                f"--control={control}",
                f"--size={volume.size}",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(lock,),
            )
        finally:
            os.close(output)
            os.close(lock)
        ended = asyncio.ensure_future(process.wait())
        try:
            daemon = await self._greeting(volume.volume_id, lambda: not ended.done(), START_TIMEOUT)
        except BaseException:
            if process.returncode is None:
                process.kill()
            await ended
            raise
        if daemon is None:
            raise DaemonError(f"the FUSE process ended with status {await ended}: {_last_line(log)}")
        daemon.exit_status = ended
        return daemon

    async def adopt(self, volume_id: str) -> Daemon | None:
        """See Launcher."""
        return await self._greeting(volume_id, lambda: self._is_locked(volume_id), ADOPT_TIMEOUT)

    async def kill(self, volume_id: str) -> None:
        """See Launcher. The kernel tells whose socket it is, even if that process is stopped."""
        if not self._is_locked(volume_id):
            return
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.setblocking(False)
                connection.connect(str(self._socket(volume_id)))
                credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            os.kill(_UCRED.unpack(credentials)[0], signal.SIGKILL)
        except OSError as error:
            raise DaemonError(
                f"a FUSE process of this volume lives and cannot be reached: {error}"
            ) from error
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_TIMEOUT):
                while self._is_locked(volume_id):  # noqa: ASYNC110 - the end of a foreign process is no event of ours
                    await asyncio.sleep(_RETRY_INTERVAL)

    async def _greeting(self, volume_id: str, lives: Callable[[], bool], timeout: float) -> Daemon | None:
        """Connect as soon as the process listens; None when it ends before, DaemonError when neither happens."""
        try:
            async with asyncio.timeout(timeout):
                while lives():
                    try:
                        return await Daemon.connect(self._socket(volume_id), volume_id)
                    except (FileNotFoundError, ProcessLookupError, ConnectionError):
                        # The process makes its socket when it mounts; there is nothing to wait on before that.
                        await asyncio.sleep(_RETRY_INTERVAL)
        except TimeoutError:
            raise DaemonError(f"the FUSE process did not answer in {timeout:.0f} s") from None
        return None

    def _lock(self, volume_id: str) -> int | None:
        """A descriptor that holds the volume's lock; None when a living process has it."""
        descriptor = os.open(
            self._run / f"{_key(volume_id)}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _is_locked(self, volume_id: str) -> bool:
        lock = self._lock(volume_id)
        if lock is not None:
            os.close(lock)
        return lock is None

    def _socket(self, volume_id: str) -> Path:
        return self._run / f"{_key(volume_id)}.sock"


def _key(volume_id: str) -> str:
    """A short name: the path of a unix socket has little room."""
    return hashlib.sha256(volume_id.encode()).hexdigest()[:16]


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"
