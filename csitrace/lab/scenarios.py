"""What happens in the lab: stories of a user's actions and of a driver's faults, told again and again.

Nothing else is scripted: what the control plane, the driver and the kernel make of it is their own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from csitrace.lab.names import IMMEDIATE, WAIT

if TYPE_CHECKING:  # the names of the scenarios are also asked by a command line that runs none
    from csitrace.lab.user import User

_REST_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Story:
    """`act` leads to the state the story is about, which is then held for `hold_seconds`; `undo` ends it, with nothing left."""

    name: str
    act: Callable[["User"], Awaitable[None]]
    undo: Callable[["User"], Awaitable[None]]
    hold_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Stories told side by side, and how many nodes they need."""

    stories: tuple[Story, ...] = ()
    nodes: int = 1


async def run_story(story: Story, user: "User", reached: Callable[[str], None], once: bool = False) -> None:
    """Tell a story for ever, or `once`, to where it leads. `reached` is called with its name each time it got there."""
    await user.until_registered()
    while True:
        await story.act(user)
        reached(story.name)
        if once:
            return
        await user.pause(story.hold_seconds)
        await story.undo(user)
        await user.pause(_REST_SECONDS)


async def _healthy(user: "User") -> None:
    for name in ("web", "db", "cache"):
        await user.start(name, IMMEDIATE)
    for name in ("web", "db", "cache"):
        await user.until_running(name)


async def _replace_cache(user: "User") -> None:
    """The others stay, so that the screen always shows a volume at work."""
    await user.remove("cache")


async def _wait_for_consumer(user: "User") -> None:
    await user.create_claim("report", WAIT)
    await user.pause(20)
    await user.create_pod("report", "report")
    await user.until_running("report")


async def _stuck_attach(user: "User") -> None:
    effect = {"fault.ControllerPublishVolume": "INTERNAL"}
    await user.create_class("csitrace-stuck-attach", **effect)
    await user.start("orders", "csitrace-stuck-attach")
    await user.until_attach_fails("orders")


async def _failing_stage(user: "User") -> None:
    effect = {"fault.NodeStageVolume": "UNAVAILABLE:count=6"}
    await user.create_class("csitrace-failing-stage", **effect)
    await user.start("images", "csitrace-failing-stage")
    await user.until_mount_fails("images")


async def _hung_fuse(user: "User") -> None:
    await user.start("uploads", IMMEDIATE)
    await user.until_running("uploads")
    await user.pause(20)
    await user.driver.set_fault("fuse.*", user.volume_handle("uploads"), "hang")
    await user.pause(5)


async def _let_go(user: "User") -> None:
    await user.driver.clear_faults(user.volume_handle("uploads"))
    await user.pause(20)
    await user.remove("uploads")


async def _teardown(user: "User") -> None:
    for name in ("batch-1", "batch-2"):
        await user.start(name, IMMEDIATE)
    for name in ("batch-1", "batch-2"):
        await user.until_running(name)
    await user.pause(20)
    async with asyncio.TaskGroup() as group:
        for name in ("batch-1", "batch-2"):
            group.create_task(user.remove(name))


async def _move_node(user: "User") -> None:
    """A second pod wants, on another node, what the first one has there; it waits until the first one has let go."""
    await user.create_claim("ledger", IMMEDIATE)
    await user.create_pod("ledger-1", "ledger", node=1)
    await user.until_running("ledger-1")
    await user.pause(20)
    await user.create_pod("ledger-2", "ledger", node=2)
    await user.until_held_elsewhere("ledger-2")
    await user.pause(20)
    await user.delete_pod("ledger-1")
    await user.until_running("ledger-2")


async def _shared(user: "User") -> None:
    """One volume on two nodes; on one of them the pod is replaced."""
    await user.create_claim("assets", IMMEDIATE, "ReadWriteMany")
    for number in (1, 2):
        await user.create_pod(f"assets-{number}", "assets", node=number)
    for number in (1, 2):
        await user.until_running(f"assets-{number}")
    await user.pause(20)
    await user.delete_pod("assets-2")
    await user.until_pod_gone("assets-2")
    await user.pause(20)
    await user.create_pod("assets-2", "assets", node=2)
    await user.until_running("assets-2")


async def _expand(user: "User") -> None:
    await user.start("archive", IMMEDIATE)
    await user.until_running("archive")
    await user.pause(20)
    await user.grow("archive", "128Mi")


def _removal_of(*names: str) -> Callable[["User"], Awaitable[None]]:
    async def remove(user: "User") -> None:
        for name in names:
            await user.remove(name)

    return remove


HEALTHY = Story("healthy", _healthy, _replace_cache)
WAIT_FOR_CONSUMER = Story("wait-for-consumer", _wait_for_consumer, _removal_of("report"))
STUCK_ATTACH = Story("stuck-attach", _stuck_attach, _removal_of("orders"), hold_seconds=180)
FAILING_STAGE = Story("failing-stage", _failing_stage, _removal_of("images"), hold_seconds=180)
HUNG_FUSE = Story("hung-fuse", _hung_fuse, _let_go, hold_seconds=90)
MOVE_NODE = Story("move-node", _move_node, lambda user: user.remove("ledger", "ledger-1", "ledger-2"))
SHARED = Story("shared", _shared, lambda user: user.remove("assets", "assets-1", "assets-2"))
EXPAND = Story("expand", _expand, _removal_of("archive"))
TEARDOWN = Story("teardown", _teardown, _removal_of(), hold_seconds=10)

SCENARIOS = {
    **{
        story.name: Scenario((story,))
        for story in (HEALTHY, WAIT_FOR_CONSUMER, STUCK_ATTACH, FAILING_STAGE, HUNG_FUSE, TEARDOWN)
    },
    EXPAND.name: Scenario((EXPAND,)),
    MOVE_NODE.name: Scenario((MOVE_NODE,), nodes=2),
    SHARED.name: Scenario((SHARED,), nodes=2),
    "mixed": Scenario((HEALTHY, WAIT_FOR_CONSUMER, STUCK_ATTACH, FAILING_STAGE, HUNG_FUSE, TEARDOWN)),
}
"""By the name given to `--scenario`."""

DEFAULT_SCENARIO = "mixed"
