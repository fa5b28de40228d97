"""How a sidecar lives: it waits for its driver, works while the connection stands, and exits with it to be started again."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc

from csitrace.csi import csi_pb2
from csitrace.lab.csi_client import DriverClient, connected
from csitrace.lab.pace import Pace
from csitrace.lab.program import Program

_PROBE_SECONDS = 0.2
_RESTART_SECONDS = 10.0  # the first back-off of a crashed container


class DriverLostError(Exception):
    """The connection to the driver broke: a sidecar exits then."""


async def run_sidecar(
    socket: Path,
    pace: Pace,
    new_program: Callable[[], Program],
    install: Callable[[Program, DriverClient], Awaitable[None]],
) -> None:
    """Run one sidecar for ever. `install` asks the driver what it can do, and builds the loops accordingly."""
    while True:
        async with connected(socket) as driver:
            await _wait_ready(driver)
            program = new_program()
            try:
                await install(program, driver)
                async with asyncio.TaskGroup() as group:
                    group.create_task(program.run())
                    group.create_task(_exit_with(driver))
            except* (DriverLostError, grpc.aio.AioRpcError):
                pass  # lost while it worked, or already while it was asked
        await asyncio.sleep(pace.scaled(_RESTART_SECONDS))


async def _wait_ready(driver: DriverClient) -> None:
    while True:
        try:
            answer = await driver.identity.Probe(csi_pb2.ProbeRequest(), timeout=1)
            if not answer.HasField("ready") or answer.ready.value:
                return
        except grpc.aio.AioRpcError:
            pass
        await asyncio.sleep(_PROBE_SECONDS)


async def _exit_with(driver: DriverClient) -> None:
    await driver.wait_lost()
    raise DriverLostError
