"""Between pyfuse3 and the handlers: every request is answered, counted, and made to suffer its faults.

pyfuse3 allows a handler no exception but FUSEError; any other ends its main loop, with the request unanswered and its
caller asleep for good. So each handler is wrapped: an :class:`OSError` is answered with its errno, anything else (a bug)
with EIO and a traceback in the log, and the daemon carries on.
"""

import errno
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyfuse3
import trio

from driver_ref.fs.channel import SlowOp
from driver_ref.fs.counters import OpCounters
from driver_ref.fs.faults import Faults
from driver_ref.fs.passthrough import Passthrough

_log = logging.getLogger(__name__)

_METHODS: Final = {
    "LOOKUP": "lookup", "GETATTR": "getattr", "SETATTR": "setattr", "READLINK": "readlink", "SYMLINK": "symlink",
    "MKNOD": "mknod", "MKDIR": "mkdir", "UNLINK": "unlink", "RMDIR": "rmdir", "RENAME": "rename", "LINK": "link",
    "OPEN": "open", "READ": "read", "WRITE": "write", "STATFS": "statfs", "RELEASE": "release", "FSYNC": "fsync",
    "SETXATTR": "setxattr", "GETXATTR": "getxattr", "LISTXATTR": "listxattr", "REMOVEXATTR": "removexattr",
    "FLUSH": "flush", "OPENDIR": "opendir", "READDIRPLUS": "readdir", "RELEASEDIR": "releasedir",
    "FSYNCDIR": "fsyncdir", "CREATE": "create",
}  # fmt: skip
"""Kernel operation to the method that pyfuse3 calls for it (pyfuse3 lists directories with READDIRPLUS only)."""

_BY_HANDLE: Final = {"READ", "WRITE", "RELEASE", "FSYNC", "FLUSH", "READDIRPLUS", "RELEASEDIR", "FSYNCDIR"}
"""Operations whose first argument is a file handle; the others, STATFS apart, begin with an inode."""

_DATA_SIZE: Final[dict[str, Callable[[Any], int]]] = {"READ": len, "WRITE": int}
"""How many bytes of data an operation's result stands for."""


@dataclass(frozen=True)
class Watch:
    """What is kept of each operation: its counter, and a :class:`SlowOp` for the slow ones and for every n-th.

    ``slow_ns`` is the duration from which an operation is reported, ``sample_every`` is n (0: no samples).
    """

    counters: OpCounters
    report: Callable[[SlowOp], None]
    slow_ns: int
    sample_every: int = 0


class Operations(pyfuse3.Operations):
    """What pyfuse3 is given. ``watch`` None counts nothing (a benchmark measures what counting costs)."""

    supports_dot_lookup = False
    enable_writeback_cache = False  # see driver_ref.fs.passthrough
    enable_acl = True

    def __init__(self, handlers: Passthrough, faults: Faults, watch: Watch | None) -> None:
        super().__init__()
        self.initialised = trio.Event()
        self._forget = handlers.forget
        self._forget_counter = watch.counters.of("FORGET") if watch else None
        for op, method in _METHODS.items():
            answer = _answering(op, getattr(handlers, method), faults)
            setattr(self, method, _watched(op, answer, handlers, watch) if watch else _silent(op, answer))

    def init(self) -> None:
        """The kernel's INIT is being answered.

        libfuse sends the answer before the event loop runs anything else, so whoever waits for ``initialised`` wakes up
        when it has been sent.
        """
        self.initialised.set()

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """The kernel waits for no answer, so there is nothing to fail or to be slow for."""
        started = time.perf_counter_ns()
        try:
            self._forget(inode_list)
        except Exception:  # noqa: BLE001  anything raised here would end the main loop
            _log.exception("FORGET failed")
        if self._forget_counter is not None:
            self._forget_counter.succeeded(time.perf_counter_ns() - started, 0)


def _answering(op: str, handler: Callable[..., Any], faults: Faults) -> Callable[..., Awaitable[Any]]:
    """The handler as a coroutine that suffers the faults for ``op`` first."""
    if inspect.iscoroutinefunction(handler):

        async def answer(*request: Any) -> Any:
            if faults.active:
                await faults.suffer(op)
            return await handler(*request)

    else:

        async def answer(*request: Any) -> Any:
            if faults.active:
                await faults.suffer(op)
            return handler(*request)

    return answer


def _errno_of(op: str, error: Exception) -> int:
    """What the caller is told; a bug is logged."""
    if isinstance(error, pyfuse3.FUSEError):
        return error.errno
    if isinstance(error, OSError) and error.errno:
        return error.errno
    _log.error("%s failed unexpectedly and is answered with EIO", op, exc_info=error)
    return errno.EIO


def _silent(op: str, answer: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def handle(*request: Any) -> Any:
        try:
            return await answer(*request)
        except Exception as error:  # noqa: BLE001  an unanswered request hangs its caller for good
            raise pyfuse3.FUSEError(_errno_of(op, error)) from None

    return handle


def _ino_of(op: str, handlers: Passthrough) -> Callable[[Any], int | None]:
    """How to tell the inode from an operation's first argument."""
    if op == "STATFS":
        return lambda _: None
    return handlers.ino_of if op in _BY_HANDLE else int


def _watched(
    op: str, answer: Callable[..., Awaitable[Any]], handlers: Passthrough, watch: Watch
) -> Callable[..., Awaitable[Any]]:
    counter = watch.counters.of(op)
    data_size = _DATA_SIZE.get(op)
    ino_of = _ino_of(op, handlers)
    clock = time.perf_counter_ns
    slow_ns, sample_every = watch.slow_ns, watch.sample_every

    def report(request: tuple[Any, ...], duration: int, errno_name: str | None, size: int) -> None:
        watch.report(SlowOp(op, time.time_ns() - duration, duration, errno_name, ino_of(request[0]), size))

    async def handle(*request: Any) -> Any:
        started = clock()
        try:
            result = await answer(*request)
        except Exception as error:  # noqa: BLE001  an unanswered request hangs its caller for good
            duration = clock() - started
            number = _errno_of(op, error)
            name = errno.errorcode.get(number, str(number))
            counter.failed(duration, name)
            if duration >= slow_ns or (sample_every and counter.count % sample_every == 0):
                report(request, duration, name, 0)
            raise pyfuse3.FUSEError(number) from None
        duration = clock() - started
        size = data_size(result) if data_size else 0
        counter.succeeded(duration, size)
        if duration >= slow_ns or (sample_every and counter.count % sample_every == 0):
            report(request, duration, None, size)
        return result

    return handle
