"""`python -m csitrace.lab`: the lab as a process of its own, as `csitrace demo` and the tests start it.

On stdout, one JSON object a line: first how to watch it (LabReady), then `{"reached": "<story>"}` whenever a story got where it
leads. On stdin, one order a line: `kill kube-scheduler`, `restart driver-2`, `suspend kubelet-1`, `resume kubelet-1`; each is
answered with `{"done": "<order>"}`. Ends on SIGTERM, SIGINT, or when its standard input is closed.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from csitrace.lab import sandbox
from csitrace.lab.controlplane import LabSettings, run_lab
from csitrace.lab.names import LabReady
from csitrace.lab.pace import Pace
from csitrace.lab.parts import Parts
from csitrace.lab.scenarios import DEFAULT_SCENARIO, SCENARIOS, Scenario

_NO_STORY = "none"
"""A lab in which nothing happens, for those who act themselves."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m csitrace.lab", description=__doc__)
    parser.add_argument(
        "--directory",
        type=Path,
        help="an empty directory with a short path (default: enter a sandbox of its own)",
    )
    parser.add_argument("--scenario", choices=[*SCENARIOS, _NO_STORY], default=DEFAULT_SCENARIO)
    parser.add_argument("--speed", type=float, default=1.0, help="divide all waiting by this (default: 1)")
    parser.add_argument(
        "--nodes", type=int, metavar="N", help="how many (default: as many as the scenario needs)"
    )
    parser.add_argument("--once", action="store_true", help="tell each story once, and stay where it leads")
    parser.add_argument(
        "--unattached", action="store_true", help="a driver that is never attached, and offers inline volumes"
    )
    given = parser.parse_args(arguments)
    directory = given.directory or sandbox.enter().directory
    scenario = SCENARIOS.get(given.scenario, Scenario())
    settings = LabSettings(
        directory=directory,
        stories=scenario.stories,
        pace=Pace(given.speed),
        nodes=given.nodes or scenario.nodes,
        once=given.once,
        attaches=not given.unattached,
    )
    with suppress(asyncio.CancelledError):
        asyncio.run(_run(settings))
    return 0


async def _run(settings: LabSettings) -> None:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is None:
        raise RuntimeError("not in a task")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    parts = Parts()
    orders: asyncio.Queue[str] = asyncio.Queue()
    loop.add_reader(sys.stdin.fileno(), lambda: _watch_stdin(task, orders))
    async with asyncio.TaskGroup() as group:
        group.create_task(_obey(parts, orders))
        await run_lab(settings, parts, _say_ready, _say_reached)


def _watch_stdin(task: "asyncio.Task[None]", orders: "asyncio.Queue[str]") -> None:
    """Whoever started the lab holds the other end: when it goes, however it goes, so does the lab."""
    told = os.read(sys.stdin.fileno(), 4096)
    for line in told.decode().splitlines():
        orders.put_nowait(line)
    if not told:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        task.cancel()


async def _obey(parts: Parts, orders: "asyncio.Queue[str]") -> None:
    while True:
        order = await orders.get()
        await parts.obey(order)
        _say(msgspec.json.encode({"done": order}))


def _say_ready(ready: LabReady) -> None:
    _say(msgspec.json.encode(ready))


def _say_reached(story: str) -> None:
    _say(msgspec.json.encode({"reached": story}))


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
