"""`csitrace watch`: the volumes of a cluster, live."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING

from csitrace.cli.flags import add_kubectl_flags, add_view_flags, add_witness_flags, connection_options
from csitrace.cli.hearing import given_nodes, local_sources
from csitrace.cli.resources import watch_filter
from csitrace.cli.showing import show

if TYPE_CHECKING:
    from csitrace.sources import Source

DESCRIPTION = (
    "Follow the volumes of the current kubeconfig's cluster: a screen on a terminal, lines without one."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "resources", nargs="*", metavar="KIND/NAME", help="only these: pvc/x, pod/y, pv/z, node/n, sc/c"
    )
    add_kubectl_flags(parser)
    add_witness_flags(parser)
    add_view_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    return asyncio.run(_watch(arguments))


async def _watch(arguments: argparse.Namespace) -> int:
    from csitrace.engine.session import Session
    from csitrace.lifecycle.filter import parse_volume_filter
    from csitrace.sources.kubernetes.source import KubernetesSource

    wanted = watch_filter(arguments.namespace, arguments.resources, arguments.filter)
    nodes = given_nodes(arguments.kubelet_root, arguments.node_name)
    parse_volume_filter(arguments.filter)  # a wrong one is told before anything is opened
    cluster = await KubernetesSource.open(
        connection_options(arguments),
        all_namespaces=not arguments.namespace,
        selectors={"PersistentVolumeClaim": arguments.selector} if arguments.selector else None,
        interactive=sys.stdin.isatty(),
    )
    sources: list[Source] = [
        cluster,
        *local_sources(nodes, arguments.feed),
    ]
    session = Session(arguments.context or cluster.name)
    return await show(session, sources, arguments.output, wanted)
