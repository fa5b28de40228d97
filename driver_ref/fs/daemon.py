"""Mount, serve, unmount: the life of the FUSE process."""

import logging
import os
import re
import resource
import signal
import time
from dataclasses import dataclass
from typing import Final

import pyfuse3
import trio

from driver_ref.fs import mountpoint as mounts
from driver_ref.fs.channel import PROTOCOL_VERSION, Hello
from driver_ref.fs.control import ControlServer, listen
from driver_ref.fs.counters import OpCounters
from driver_ref.fs.faults import Faults
from driver_ref.fs.nodes import NodeTable
from driver_ref.fs.operations import Operations, Watch
from driver_ref.fs.passthrough import Passthrough
from driver_ref.fs.space import Space, measure

_log = logging.getLogger(__name__)

SUBTYPE: Final = "driver_ref"
"""The mount's type in mountinfo is ``fuse.`` and this."""

_MAX_FILES: Final = 1 << 20
_MAX_REQUESTS: Final = 512
"""Requests in progress at a time. Each may hang by a fault; with so many hung, the mount hangs, as a real one would."""
_PATIENCE_SECONDS: Final = 2.0
"""How long an unmount may take before the connection is closed under whoever still uses it."""


class StartError(Exception):
    """The file system cannot be started; the text says what, where and what to do."""


@dataclass(frozen=True)
class Options:
    """What the command line says; sizes in bytes, ``control`` is the control socket's path.

    ``cached_files`` is how many descriptors of idle inodes are kept open, 0 for a quarter of what the process may open.
    ``counting`` False leaves the operations uncounted, to measure what counting costs. ``succeed``: a mount that is at the mount
    point is a dead daemon's, and is detached.
    """

    volume_id: str
    source: str
    mountpoint: str
    control: str
    size_bytes: int
    interval_seconds: float = 0.25
    slow_seconds: float = 0.1
    sample_every: int = 0
    cache_seconds: float = 1.0
    cached_files: int = 0
    counting: bool = True
    succeed: bool = False


def run(options: Options) -> None:
    """Serve the volume until it is unmounted, SIGTERM or SIGINT comes, or the control socket says stop.

    Raises :class:`StartError`.
    """
    started_at = time.time_ns()
    mountpoint = _absolute(options.mountpoint)
    if not options.succeed:
        _check(options.source, mountpoint)
    files = _raise_file_limit()
    try:
        listener = listen(options.control)
    except OSError as error:
        raise StartError(f"cannot start: {error}") from None
    try:
        if options.succeed:  # nobody else listens, so whoever mounted there is dead
            _make_way(mountpoint)
            _check(options.source, mountpoint)
        os.umask(0)
        try:
            nodes = NodeTable(options.source, capacity=options.cached_files or min(files // 4, 65536))
            space = Space(options.size_bytes, *_measure(options.source))
        except OSError as error:
            raise StartError(f"cannot start: {error}") from None
        faults = Faults()
        counters = OpCounters()
        stop = trio.Event()
        control = ControlServer(counters, space, faults, stop.set, options.interval_seconds)
        watch = Watch(counters, control.report, int(options.slow_seconds * 1e9), options.sample_every)
        handlers = Passthrough(nodes, space, options.cache_seconds)
        operations = Operations(handlers, faults, watch if options.counting else None)
        connection = _mount(operations, mountpoint, options.volume_id)

        async def serve() -> None:
            async with trio.open_nursery() as nursery:
                unmounted = trio.Event()
                nursery.start_soon(_serve_kernel, unmounted, stop)
                nursery.start_soon(_stop_on_signal, stop)
                await _either(operations.initialised, stop)
                hello = Hello(
                    PROTOCOL_VERSION, os.getpid(), options.volume_id, connection, started_at, time.time_ns()
                )
                nursery.start_soon(control.serve, listener, hello)
                _log.info("volume %s is mounted at %s", options.volume_id, mountpoint)
                await stop.wait()
                faults.replace([])  # what hangs on purpose must not hang the end
                await _leave(mountpoint, connection, unmounted)
                nursery.cancel_scope.cancel()

        try:
            trio.run(serve)
        finally:
            pyfuse3.close(unmount=False)
            if mounts.connection_at(mountpoint) == connection:
                mounts.detach(mountpoint)
            _log.info("volume %s is unmounted", options.volume_id)
    finally:
        listener.close()
        os.unlink(options.control)


def _absolute(path: str) -> str:
    """The path as mountinfo will write it; only the directory above is looked at, for the mount point may be dead."""
    above, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(above), name)


def _make_way(mountpoint: str) -> None:
    try:
        while mounts.connection_at(mountpoint) is not None:
            mounts.detach(mountpoint)
        if not os.path.lexists(mountpoint):
            os.makedirs(mountpoint, 0o755)
    except OSError as error:
        raise StartError(f"cannot take over {mountpoint}: {error}") from None


def _check(source: str, mountpoint: str) -> None:
    if not os.path.isdir(source):
        raise StartError(f"source {source} is not a directory")
    if mounts.connection_at(mountpoint) is not None:
        raise StartError(f"something is mounted at {mountpoint} already; unmount it first")
    if not os.path.isdir(mountpoint):
        raise StartError(f"mount point {mountpoint} is not a directory")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise StartError("/dev/fuse cannot be opened: load the fuse module, or give this process the device")


def _raise_file_limit() -> int:
    """Allow ourselves as many open files as we may; the number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, _MAX_FILES), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        except (ValueError, OSError):
            continue
        return limit
    return soft


def _measure(source: str) -> tuple[int, int]:
    fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return measure(fd)
    finally:
        os.close(fd)


def _mount(operations: Operations, mountpoint: str, volume_id: str) -> int:
    """Mount and return the connection number."""
    options = {
        "default_permissions",
        f"subtype={SUBTYPE}",
        f"fsname={re.sub('[^A-Za-z0-9._:/=-]', '_', volume_id)}",
    }
    if os.geteuid() == 0:
        options.add(
            "allow_other"
        )  # pods run as any user; anybody else needs user_allow_other in fuse.conf for it
    try:
        pyfuse3.init(operations, mountpoint, options)
    except RuntimeError as error:
        raise StartError(f"cannot mount at {mountpoint}: {error} (libfuse says why, above)") from None
    connection = mounts.connection_at(mountpoint)
    if connection is None:
        pyfuse3.close()
        raise StartError(f"mounted at {mountpoint}, but the mount is not in /proc/self/mountinfo")
    return connection


async def _serve_kernel(unmounted: trio.Event, stop: trio.Event) -> None:
    await pyfuse3.main(max_tasks=_MAX_REQUESTS)
    unmounted.set()
    stop.set()


async def _stop_on_signal(stop: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            if number != signal.SIGHUP:  # outlives the terminal and the driver that started it
                _log.info("stopping: %s", signal.Signals(number).name)
                stop.set()


async def _either(one: trio.Event, other: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        for event in (one, other):

            async def wait(event: trio.Event = event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait)


async def _leave(mountpoint: str, connection: int, unmounted: trio.Event) -> None:
    """Unmount politely; whoever still uses the mount gets his data written before it is taken from him."""
    if unmounted.is_set() or mounts.connection_at(mountpoint) != connection:
        return
    # Bind mounts do not keep the unmount from succeeding, and go with us: what they have not written yet is asked for now.
    await mounts.write_back(mountpoint, _PATIENCE_SECONDS)
    if await mounts.unmount(mountpoint, _PATIENCE_SECONDS):
        with trio.move_on_after(_PATIENCE_SECONDS):  # other mounts of it (bind mounts) may keep it alive
            await unmounted.wait()
        return
    _log.info("%s is busy: its mount is detached", mountpoint)
    await mounts.write_back(mountpoint, _PATIENCE_SECONDS)  # whoever used it may have gone on writing
