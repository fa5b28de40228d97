"""Faults on demand, under trio's virtual clock."""

import errno
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from driver_ref.fs.channel import Fault
from driver_ref.fs.faults import Faults


def _in_virtual_time(scenario: Callable[[], Awaitable[None]]) -> None:
    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


def test_an_errno_is_raised_for_its_operation_as_often_as_said() -> None:
    """count=2 hits two READs, no WRITE, and then nothing; what is spent is no longer active."""

    async def scenario() -> None:
        faults = Faults()
        faults.replace([Fault("READ", errno="EIO", count=2)])
        await faults.suffer("WRITE")
        for _ in range(2):
            with pytest.raises(OSError, match="fault on demand") as raised:
                await faults.suffer("READ")
            assert raised.value.errno == errno.EIO
        assert not faults.active
        await faults.suffer("READ")

    _in_virtual_time(scenario)


def test_a_delay_comes_before_the_errno() -> None:
    """An operation that is to be late and fail is both."""

    async def scenario() -> None:
        faults = Faults()
        faults.replace([Fault("*", errno="EAGAIN", delay_ms=1500)])
        started = trio.current_time()
        with pytest.raises(BlockingIOError):
            await faults.suffer("FSYNC")
        assert trio.current_time() - started == pytest.approx(1.5)

    _in_virtual_time(scenario)


@pytest.mark.parametrize(
    "fault", [Fault("*", hang=True), Fault("*", delay_ms=10**9), Fault("*", hang=True, errno="EIO")]
)
def test_replacing_the_faults_lets_go_of_what_they_held(fault: Fault) -> None:
    """A held operation goes on, unharmed, when its fault is withdrawn."""

    async def scenario() -> None:
        faults = Faults()
        faults.replace([fault])
        released = trio.Event()

        async def operation() -> None:
            await faults.suffer("OPEN")
            released.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(operation)
            await trio.testing.wait_all_tasks_blocked()
            assert not released.is_set()
            faults.replace([])
            await released.wait()
        assert trio.current_time() < 1e6

    _in_virtual_time(scenario)
