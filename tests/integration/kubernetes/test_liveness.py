"""Noticing that a server is lost, and only then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from csitrace.errors import UnreachableError
from csitrace.sources.backoff import Backoff
from csitrace.sources.kubernetes.access import Access
from csitrace.sources.kubernetes.connection import Connection
from csitrace.sources.kubernetes.liveness import Liveness
from tests.integration.kubernetes.api_server import ApiServer


@asynccontextmanager
async def liveness_of(server: ApiServer) -> AsyncIterator[Liveness]:
    """With short times; running."""
    async with Connection(Access(server=server.url)) as connection:
        liveness = Liveness(connection, interval=0.02, timeout=0.4, backoff=Backoff(0.01, 0.01))
        task = asyncio.create_task(liveness.run())
        try:
            yield liveness
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_guard_is_interrupted_when_the_server_hangs() -> None:
    """Whoever waits for a hung server is told, those who come later at once, and both can wait for its return."""
    async with ApiServer() as server, liveness_of(server) as liveness:
        await server.until_asked(1)
        server.hung.clear()
        with pytest.raises(UnreachableError, match="gave no answer"):
            async with liveness.guard():
                await asyncio.Event().wait()
        with pytest.raises(UnreachableError, match="gave no answer"):
            async with liveness.guard():
                pytest.fail("the body ran although the server is known to be lost")
        server.hung.set()
        await liveness.wait_alive()
        async with liveness.guard():
            assert liveness.alive


async def test_server_that_is_far_away_is_not_lost() -> None:
    """Where every answer takes longer than the usual time-out, that is the distance, not silence."""
    async with ApiServer() as server:
        server.delay = 0.5
        async with liveness_of(server) as liveness, liveness.guard():
            await server.until_asked(4)


async def test_errors_are_signs_of_life() -> None:
    """A server that refuses the probe is there."""
    async with ApiServer() as server:
        server.tokens = {"another"}
        async with liveness_of(server) as liveness, liveness.guard():
            await server.until_asked(3)


async def test_held_up_event_loop_is_not_the_servers_silence() -> None:
    """When this process itself does not get to run, the server's answer is still waited for."""
    async with ApiServer() as server, liveness_of(server) as liveness:
        await server.until_asked(2)
        async with liveness.guard():
            server.delay = 0.03
            await server.until_asked(len(server.requests) + 1)
            stop = asyncio.get_running_loop().time() + 0.6
            while asyncio.get_running_loop().time() < stop:
                pass
            await server.until_asked(len(server.requests) + 2)


async def test_bytes_elsewhere_spare_the_probe() -> None:
    """While something is heard, nothing is asked; one suspicion is enough to ask at once."""
    async with ApiServer() as server, Connection(Access(server=server.url)) as connection:
        liveness = Liveness(connection, interval=60.0)
        liveness.heard()
        task = asyncio.create_task(liveness.run())
        await asyncio.sleep(0)
        liveness.suspect()
        await server.until_asked(1)
        task.cancel()
        await asyncio.wait({task})
    assert len(server.requests) == 1
