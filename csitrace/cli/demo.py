"""`csitrace demo`: volumes on their way on this machine, without a cluster."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from csitrace.cli.flags import SHOWN, add_filter_flag, add_output_flag
from csitrace.cli.hearing import local_sources
from csitrace.cli.recording import recordings
from csitrace.cli.showing import show
from csitrace.errors import UsageError

if TYPE_CHECKING:
    from csitrace.lab.sandbox import Sandbox
    from csitrace.sources import Source

DESCRIPTION = (
    "An embedded control plane, the reference driver, real gRPC and real FUSE mounts, and the screen on them."
)

SCENARIO_NAMES = (
    "healthy",
    "wait-for-consumer",
    "stuck-attach",
    "failing-stage",
    "hung-fuse",
    "teardown",
    "expand",
    "move-node",
    "shared",
    "mixed",
)
"""The demo's scenarios, named here too so that `--help` need not load the lab."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "--scenario",
        default="mixed",
        metavar="NAME",
        help=f"what happens: {', '.join(SCENARIO_NAMES)} (default: mixed)",
    )
    add_filter_flag(parser)
    add_output_flag(parser, SHOWN, "default: screen on a terminal, else lines")


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from csitrace.lab.demo import SCENARIOS, enter
    from csitrace.lifecycle.filter import parse_volume_filter

    parse_volume_filter(arguments.filter)
    if arguments.scenario not in SCENARIOS:
        raise UsageError(f"--scenario {arguments.scenario!r} is none of {', '.join(SCENARIOS)}")
    sandbox = enter()  # forks, so before any thread or loop is there
    if sandbox.missing:
        print(f"csitrace: {sandbox.missing}", file=sys.stderr)
    return asyncio.run(_demo(sandbox, arguments))


async def _demo(sandbox: "Sandbox", arguments: argparse.Namespace) -> int:
    from csitrace.engine.session import Session
    from csitrace.lab.demo import running_lab
    from csitrace.sources.kubernetes.config import ConnectionOptions
    from csitrace.sources.kubernetes.source import KubernetesSource
    from csitrace.tui.hints import DEMO_HINTS

    async with running_lab(sandbox, arguments.scenario) as lab:
        cluster = await KubernetesSource.open(ConnectionOptions(kubeconfig=lab.ready.kubeconfig))
        sources: list[Source] = [
            cluster,
            *local_sources([(node.kubelet_root, node.name) for node in lab.ready.nodes], []),
        ]
        title = f"demo {arguments.scenario}" + (f" ({sandbox.missing})" if sandbox.missing else "")
        hint = DEMO_HINTS[arguments.scenario]
        session = Session(title)
        async with recordings(session) as recorder:
            return await show(session, sources, arguments.output, arguments.filter, hint, recorder)
