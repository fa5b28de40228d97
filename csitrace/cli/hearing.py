"""Which sources there are for what the flags say."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from csitrace.cli.flags import DEFAULT_KUBELET_ROOT

if TYPE_CHECKING:
    from csitrace.sources import Source


def local_sources(kubelet_root: str, node_name: str, feeds: Sequence[str]) -> "list[Source]":
    """What can be heard from this machine: its kernel and its drivers, where it is a node, and the feeds that were named."""
    from csitrace.sources.feed import DiscoveredFeeds, FeedSource

    sources: list[Source] = [FeedSource(address) for address in feeds]
    root = kubelet_root or (DEFAULT_KUBELET_ROOT if Path(DEFAULT_KUBELET_ROOT).is_dir() else "")
    if root:
        from csitrace.sources.kernel import KernelSource

        sources.append(DiscoveredFeeds(root, besides=feeds))
        sources.append(KernelSource(node_name=node_name or socket.gethostname().lower(), kubelet_root=root))
    return sources
