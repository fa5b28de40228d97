"""Between pyfuse3 and the handlers: whatever a handler does, the request gets an answer and is counted."""

import errno
import logging
from typing import Any

import pyfuse3
import pytest
import trio

from driver_ref.fs.channel import Fault, SlowOp
from driver_ref.fs.counters import OpCounters
from driver_ref.fs.faults import Faults
from driver_ref.fs.nodes import NodeTable
from driver_ref.fs.operations import Operations, Watch
from driver_ref.fs.passthrough import Passthrough
from driver_ref.fs.space import Space


class Broken(Passthrough):
    """A file system with bugs."""

    def getattr(self, ino: int, ctx: Any) -> Any:
        raise ZeroDivisionError("a bug")

    async def fsync(self, fh: int, datasync: bool) -> None:
        raise KeyError("another")

    def forget(self, inodes: Any) -> None:
        raise IndexError("and one where nobody waits")

    def statfs(self, ctx: Any) -> Any:
        raise OSError("without a number")


class Served:
    """Operations over a broken file system in a directory, with what was reported of them."""

    def __init__(self, source: object, *, counting: bool = True, sample_every: int = 0) -> None:
        self.counters = OpCounters()
        self.reported: list[SlowOp] = []
        self.faults = Faults()
        nodes = NodeTable(str(source), 16)
        handlers = Broken(nodes, Space(1 << 20), cache_seconds=1.0)
        watch = Watch(self.counters, self.reported.append, slow_ns=10**12, sample_every=sample_every)
        self.operations = Operations(handlers, self.faults, watch if counting else None)

    def ask(self, method: str, *request: Any) -> int:
        """The errno an operation is answered with; 0 for success."""

        async def call() -> int:
            try:
                await getattr(self.operations, method)(*request)
            except pyfuse3.FUSEError as error:
                return error.errno
            return 0

        return trio.run(call)


@pytest.mark.parametrize("counting", [True, False])
def test_a_bug_is_answered_with_eio_and_logged(
    tmp_path: object, caplog: pytest.LogCaptureFixture, counting: bool
) -> None:
    """Plain handlers, coroutines and errors without a number: EIO for the caller, a traceback in the log."""
    served = Served(tmp_path, counting=counting)
    with caplog.at_level(logging.ERROR):
        assert served.ask("getattr", 1, None) == errno.EIO
        assert served.ask("fsync", 3, False) == errno.EIO
        assert served.ask("statfs", None) == errno.EIO
        assert served.ask("forget", [(1, 1)]) == 0
    logged = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert logged == [ZeroDivisionError, KeyError, OSError, IndexError]


def test_errors_of_the_system_are_passed_on_and_counted(tmp_path: object) -> None:
    """ENOENT stays ENOENT; counters know it by name."""
    served = Served(tmp_path)
    assert served.ask("lookup", 1, b"absent", None) == errno.ENOENT
    assert served.ask("lookup", 999, b"absent", None) == errno.ESTALE
    assert served.counters.totals()["LOOKUP"].errors == {"ENOENT": 1, "ESTALE": 1}


def test_an_unimplemented_operation_is_refused_not_broken(tmp_path: object) -> None:
    """What has no handler is pyfuse3's ENOSYS, which tells the kernel not to ask again."""
    assert Served(tmp_path).ask("poll", 1, 1, None, None) == errno.ENOSYS


def test_every_nth_operation_is_a_sample(tmp_path: object) -> None:
    """sample_every=3: of ten look-ups three are reported, with inode, errno and duration."""
    served = Served(tmp_path, sample_every=3)
    for _ in range(10):
        served.ask("lookup", 1, b"absent", None)
    assert [(slow.op, slow.ino, slow.errno) for slow in served.reported] == [("LOOKUP", 1, "ENOENT")] * 3
    assert all(slow.duration_ns > 0 and slow.at > 10**18 for slow in served.reported)


def test_a_fault_is_suffered_instead_of_the_operation(tmp_path: object) -> None:
    """The operation is not carried out, and the fault is counted as its error."""
    served = Served(tmp_path)
    served.faults.replace([Fault("GETATTR", errno="ENOTCONN", count=1)])
    assert served.ask("getattr", 1, None) == errno.ENOTCONN
    assert served.counters.totals()["GETATTR"].errors == {"ENOTCONN": 1}
