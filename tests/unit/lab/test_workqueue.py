"""The work queue works on each key alone, once per reason, and backs off."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.lab.status import StatusError
from csitrace.lab.workqueue import Backoff, RetryError, WorkQueue


async def run_until(queue: WorkQueue[str], done: Callable[[], Awaitable[None]]) -> None:
    running = asyncio.create_task(queue.run())
    try:
        await done()
    finally:
        running.cancel()


@given(st.integers(1, 10_000), st.floats(0.001, 10), st.floats(10, 600))
def test_backoff_grows_to_its_limit(failures: int, first: float, limit: float) -> None:
    """Never less than the first delay, never more than the limit, and never shrinking."""
    backoff = Backoff(first, limit)
    assert first <= backoff.delay(failures) <= backoff.delay(failures + 1) <= limit


async def test_a_key_that_waits_is_worked_on_once() -> None:
    """Added many times before its turn, a key has one turn."""
    worked: list[str] = []
    finished = asyncio.Event()

    async def work(key: str) -> None:
        worked.append(key)
        if key == "last":
            finished.set()

    queue = WorkQueue(work)
    for key in ("a", "a", "b", "a", "last"):
        queue.add(key)

    async def done() -> None:
        await finished.wait()

    await run_until(queue, done)
    assert worked == ["a", "b", "last"]


async def test_a_key_added_while_it_is_worked_on_has_another_turn() -> None:
    """A change that comes in the middle is not lost, and two turns of a key never overlap."""
    turns, at_once = 0, 0
    begun, second = asyncio.Event(), asyncio.Event()
    go_on = asyncio.Event()

    async def work(key: str) -> None:
        nonlocal turns, at_once
        turns += 1
        at_once += 1
        assert at_once == 1
        begun.set()
        if turns == 2:
            second.set()
        await go_on.wait()
        at_once -= 1

    queue = WorkQueue(work)
    queue.add("a")

    async def done() -> None:
        await begun.wait()
        queue.add("a")
        queue.add("a")
        go_on.set()
        await second.wait()

    await run_until(queue, done)
    assert turns == 2


@pytest.mark.parametrize("error", [RetryError(), StatusError(409, "Conflict", "stale")])
async def test_a_failure_is_tried_again(error: Exception) -> None:
    """Failures and refused requests come again by themselves; success forgets them."""
    left = 3
    succeeded = asyncio.Event()

    async def work(key: str) -> None:
        nonlocal left
        left -= 1
        if left:
            raise error
        succeeded.set()

    queue = WorkQueue(work, Backoff(first=0.001, limit=0.01))
    queue.add("a")

    async def done() -> None:
        await succeeded.wait()

    await run_until(queue, done)
    assert left == 0


async def test_a_failing_key_can_be_left_to_its_backoff() -> None:
    """`add_unless_failing` does not shorten a back-off, `add` does."""
    turns: asyncio.Queue[str] = asyncio.Queue()

    async def work(key: str) -> None:
        turns.put_nowait(key)
        raise RetryError

    queue = WorkQueue(work, Backoff(first=600, limit=600))
    queue.add("a")

    async def done() -> None:
        await turns.get()
        queue.add_unless_failing("a")
        queue.add_unless_failing("b")
        assert await turns.get() == "b"
        queue.add("a")
        assert await turns.get() == "a"

    await run_until(queue, done)
