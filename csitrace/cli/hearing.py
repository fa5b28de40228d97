"""Which sources there are for what the flags say, and the session that takes in what they tell."""

import argparse
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from csitrace.cli.flags import DEFAULT_KUBELET_ROOT, connection_options
from csitrace.cli.resources import watch_filter
from csitrace.errors import UsageError

if TYPE_CHECKING:
    from csitrace.engine.session import Session
    from csitrace.sources import Source
    from csitrace.sources.kubernetes.source import KubernetesSource


@dataclass(frozen=True, slots=True)
class Hearing:
    """What the flags of a command on a cluster ask for. `wanted`: the filter of what is to be shown."""

    session: "Session"
    sources: "list[Source]"
    wanted: str


async def hear(arguments: argparse.Namespace) -> Hearing:
    """The sources that resources, kubectl's and witness flags choose; nothing is connected yet. Raises `CsitraceError`."""
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
    local = local_sources(nodes, arguments.feed, pod_feeds=arguments.pod_feeds)
    sources: list[Source] = [cluster, *local, *agent_sources(cluster, local, arguments)]
    return Hearing(Session(cluster.title), sources, wanted)


def agent_sources(
    cluster: "KubernetesSource", local: "Sequence[Source]", arguments: argparse.Namespace
) -> "list[Source]":
    """The agents of the cluster's nodes, but for those nodes and drivers that are heard locally; none, where none are wanted."""
    if arguments.no_agents:
        return []
    from csitrace.sources.agents.pods import LABEL
    from csitrace.sources.agents.source import AgentsSource
    from csitrace.sources.feed import FeedSource
    from csitrace.sources.kernel import KernelSource

    agents = AgentsSource(
        cluster.connection,
        namespace=arguments.agent_namespace,
        selector=arguments.agent_selector or LABEL,
        besides=[source.node_name for source in local if isinstance(source, KernelSource)],
        feeds=[source for source in local if isinstance(source, FeedSource)],
    )
    return [agents]


def given_nodes(kubelet_roots: Sequence[str], node_names: Sequence[str]) -> list[tuple[str, str]]:
    """The nodes that this machine is, as (kubelet root, name): what was given, in pairs, else what can be found.

    Raises UsageError when roots and names cannot be paired.
    """
    roots = kubelet_roots or ([DEFAULT_KUBELET_ROOT] if Path(DEFAULT_KUBELET_ROOT).is_dir() else [])
    names = node_names or [socket.gethostname().lower()]
    if len(names) > max(1, len(roots)) or 1 < len(roots) != len(names):
        raise UsageError(
            f"{len(roots)} --kubelet-root and {len(names)} --node-name: give each kubelet root the name of its node"
        )
    return list(zip(roots, names, strict=False))


def local_sources(
    nodes: Sequence[tuple[str, str]], feeds: Sequence[str], *, pod_feeds: bool = True
) -> "list[Source]":
    """What can be heard from this machine: kernel and drivers of the nodes that it is, and the feeds that were named.

    `nodes`: as (kubelet root, node name). More than one where several kubelets share a machine. `pod_feeds`: whether feeds in
    pods' emptyDirs are believed.
    """
    from csitrace.sources.discovery import DiscoveredFeeds
    from csitrace.sources.feed import FeedSource

    sources: list[Source] = [FeedSource(address) for address in feeds]
    for root, name in nodes:
        from csitrace.sources.kernel import KernelSource

        sources.append(DiscoveredFeeds(root, in_pods=pod_feeds, besides=feeds))
        sources.append(KernelSource(node_name=name, kubelet_root=root))
    return sources
