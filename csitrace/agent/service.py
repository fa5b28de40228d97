"""The agent's process, from its first look at the node until SIGTERM."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

import grpc.aio

from csitrace import __version__
from csitrace.agent.relay import Relay
from csitrace.agent.watchdog import Watchdog
from csitrace.engine.merge import merge
from csitrace.errors import UsageError
from csitrace.feed.address import socket_path
from csitrace.feed.conversion import Agent
from csitrace.feed.publisher import Publisher
from csitrace.feed.server import listen
from csitrace.model.events import Witness
from csitrace.sources import Source
from csitrace.sources.discovery import DiscoveredFeeds
from csitrace.sources.feed import FeedSource
from csitrace.sources.kernel import KernelSource
from csitrace.sources.rooted import root_of

SETTLE_S = 3.0
"""How long to wait for the kernel's and the drivers' first word before the feed is served: to subscribers who knew a former run
of the agent, what is not told then is gone."""

RESCAN_S = 2.0
_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the agent is told. `host_pid`: a process that sees the node's mounts and files, or "self"; `listen`: the address;
    `pod_feeds`: whether feeds in pods' emptyDirs are believed."""

    node_name: str
    kubelet_root: str
    host_pid: str = "self"
    listen: str = "127.0.0.1:9779"
    feeds: tuple[str, ...] = ()
    pod_feeds: bool = True

    def __post_init__(self) -> None:
        if self.host_pid != "self" and not self.host_pid.isdecimal():
            raise UsageError(f"--host-pid {self.host_pid!r}: give a process's number, such as 1, or self")


async def serve(settings: Settings, ready: Callable[[str], None] | None = None) -> None:
    """Be the agent until SIGTERM or SIGINT. `ready` is called with the address once it is served; else a line says so on stderr.

    Raises as `csitrace.feed.server.listen`.
    """
    publisher = Publisher("", agent=Agent(__version__, settings.node_name))
    relay = Relay(publisher)
    kernel = KernelSource(
        node_name=settings.node_name, kubelet_root=settings.kubelet_root, pid=settings.host_pid
    )
    found = DiscoveredFeeds(
        settings.kubelet_root,
        pid=settings.host_pid,
        in_pods=settings.pod_feeds,
        besides=settings.feeds,
        node_name=settings.node_name,
        rescan_s=RESCAN_S,
    )
    given = [_given(address, settings) for address in settings.feeds]
    sources: list[Source] = [kernel, found, *given]
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    watchdog = Watchdog()
    watchdog.start()
    relaying = asyncio.create_task(relay.run(merge(sources)))
    try:
        await _settled(relay, found, settings, ended)
        server = grpc.aio.server()
        publisher.add_to(server)
        address = listen(server, settings.listen)
        await server.start()
        (ready or _say)(address)
        ending = asyncio.create_task(ended.wait())
        await asyncio.wait({ending, relaying}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        publisher.close()
        await server.stop(_GRACE_S)
        if relaying.done():
            relaying.result()
    finally:
        watchdog.stop()
        relaying.cancel()
        await asyncio.wait({relaying})


async def _settled(relay: Relay, found: DiscoveredFeeds, settings: Settings, ended: asyncio.Event) -> None:
    """Until every source has told what there is, or that it is not heard; or for as long as that may take."""

    def is_settled() -> bool:
        drivers = sum(witness is Witness.DRIVER for witness, _ in relay.settled)
        is_kernel_settled = (Witness.KERNEL, settings.node_name) in relay.settled
        return is_kernel_settled and drivers >= found.found + len(settings.feeds)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_S):
            await found.scanned.wait()
            while not (is_settled() or ended.is_set()):
                await relay.next_settled()


def _given(address: str, settings: Settings) -> FeedSource:
    """A feed at an address of the node: a path is one that the node's processes see."""
    called = f"{address} on {settings.node_name}"
    path = socket_path(address)
    seen_here = address if path is None else f"unix://{root_of(settings.host_pid)}{path}"
    return FeedSource(
        seen_here, name=called, missed_as=(Witness.DRIVER, called), node_name=settings.node_name
    )


def _say(address: str) -> None:
    print(f"csitrace agent {__version__}: serving on {address}", file=sys.stderr, flush=True)
