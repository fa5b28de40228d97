"""Starting the FUSE process of a volume, and finding one that an earlier driver started."""

import asyncio
import fcntl
import hashlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from csitrace.errors import UsageError
from driver_ref.daemon import UCRED, Daemon, DaemonError

START_TIMEOUT = 30.0
ADOPT_TIMEOUT = 5.0
KILL_TIMEOUT = 5.0
END_TIMEOUT = 10.0
"""Seconds that a FUSE process gets to write back, unmount and end, before it is killed."""

_SOCKET_PATH_LIMIT = 107  # bytes, of sun_path in unix(7), without the final NUL
_RETRY_INTERVAL = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class FuseVolume:
    """What a FUSE process is to serve: `source`, the directory with the bytes, at `mountpoint`, with `size` bytes."""

    volume_id: str
    source: Path
    mountpoint: str
    size: int


class Launcher(Protocol):
    """How FUSE processes come about: as processes here (below), or in pods (driver_ref.pods.launcher)."""

    restarts: bool
    """Whether a FUSE process that dies is started again by somebody else."""

    async def start(self, volume: FuseVolume) -> Daemon:
        """Have the volume served at its mount point; returns when it is. Raises DaemonError, and then nothing is there."""

    async def adopt(self, volume_id: str) -> Daemon | None:
        """The volume's FUSE process if one lives, whoever started it. Raises DaemonError when it does not answer."""

    async def stop(self, volume_id: str, daemon: Daemon | None) -> None:
        """The volume is not staged any more. `daemon`: its FUSE process, as far as known; none is fine. Raises DaemonError
        for a process that ought to end and lives on."""

    async def show(self, daemon: Daemon, path: str) -> None:
        """Have at `path`, and nothing else there, what an adopted FUSE process serves. Raises DaemonError, OSError."""

    async def sweep(self, volume_ids: Collection[str]) -> None:
        """Remove what was left of volumes that are not attached here; `volume_ids` are."""


class ProcessLauncher:
    """FUSE processes by exec. They outlive the driver, and are found again by a lock that each holds while it lives.

    The lock (flock on `<id>.lock`, inherited over exec) is the one certain sign of life: it goes with the process however that
    ends, no number is reused, and it is there before the control socket is.
    """

    restarts = False

    def __init__(self, run: Path, logs: Path) -> None:
        """`run`: for locks and sockets; `logs`: for what the processes write. Raises UsageError for too long a path."""
        self._run = run
        self._logs = logs
        for directory in (run, logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_socket_room(self._socket("any"), "--state-dir")

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
            daemon = await greeting(control, volume.volume_id, lambda: not ended.done(), START_TIMEOUT)
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
        return await greeting(
            self._socket(volume_id), volume_id, lambda: self._is_locked(volume_id), ADOPT_TIMEOUT
        )

    async def stop(self, volume_id: str, daemon: Daemon | None) -> None:
        """See Launcher: the process ends, by force where it must."""
        if daemon is not None and daemon.alive:
            await daemon.end(END_TIMEOUT)
        else:
            await self._kill(volume_id)

    async def show(self, daemon: Daemon, path: str) -> None:
        """See Launcher: the process has mounted there by itself."""

    async def sweep(self, volume_ids: Collection[str]) -> None:
        """See Launcher: nothing is left of a process but its log."""

    async def _kill(self, volume_id: str) -> None:
        """End a process that `adopt` could not speak to. The kernel tells whose socket it is, even if that one is stopped."""
        if not self._is_locked(volume_id):
            return
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.setblocking(False)
                connection.connect(str(self._socket(volume_id)))
                credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
            os.kill(UCRED.unpack(credentials)[0], signal.SIGKILL)
        except OSError as error:
            raise DaemonError(
                f"a FUSE process of this volume lives and cannot be reached: {error}"
            ) from error
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_TIMEOUT):
                while self._is_locked(volume_id):  # noqa: ASYNC110 - the end of a foreign process is no event of ours
                    await asyncio.sleep(_RETRY_INTERVAL)

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


async def greeting(path: Path, volume_id: str, lives: Callable[[], bool], timeout: float) -> Daemon | None:
    """Connect as soon as the process listens; None when it is not there (any more), DaemonError when neither happens."""
    try:
        async with asyncio.timeout(timeout):
            while lives():
                try:
                    return await Daemon.connect(path, volume_id)
                except (FileNotFoundError, ProcessLookupError, ConnectionError):
                    # The process makes its socket when it mounts; there is nothing to wait on before that.
                    await asyncio.sleep(_RETRY_INTERVAL)
    except TimeoutError:
        raise DaemonError(f"the FUSE process did not answer in {timeout:.0f} s") from None
    return None


def require_socket_room(path: Path, option: str) -> None:
    """Raises UsageError where a unix socket cannot have that path; `option` is what to make shorter."""
    excess = len(os.fsencode(path)) - _SOCKET_PATH_LIMIT
    if excess > 0:
        raise UsageError(f"{path.parent}: {excess} bytes too long for a unix socket; use a shorter {option}")


def _key(volume_id: str) -> str:
    """A short name: the path of a unix socket has little room."""
    return hashlib.sha256(volume_id.encode()).hexdigest()[:16]


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"
