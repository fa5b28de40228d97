"""Who is heard: why something cannot be seen now, in the words that follow "unknown, because"."""

from csitrace.lifecycle.state import SourceState, State
from csitrace.model.events import Witness


def kind_silence(state: State, kind: str, namespace: str = "") -> str:
    """Why objects of a kind cannot be seen now (those of one namespace, where it is given); "" when they can."""
    cluster_wide = state.sources.get((Witness.KUBERNETES, kind))
    if cluster_wide is not None and cluster_wide.up:
        return ""
    if namespace:
        scoped = state.sources.get((Witness.KUBERNETES, f"{kind}/{namespace}"))
        if scoped is not None:
            return "" if scoped.up else scoped.reason
    return cluster_wide.reason if cluster_wide is not None else f"nobody reads {kind} objects"


def kernel_silence(state: State, node_name: str) -> str:
    """Why a node's mounts cannot be seen; "" when they can."""
    source = state.sources.get((Witness.KERNEL, node_name))
    if source is None:
        return f"no one reports the mounts of node {node_name}"
    return "" if source.up and source.listed else source.reason or "its mounts are still being read"


def feeds(state: State) -> dict[tuple[str, str], SourceState]:
    """The feeds that have said who they are, by (driver, node)."""
    found = {}
    for (witness, scope), source in state.sources.items():
        driver, at, node_name = scope.partition("@")
        if witness is Witness.DRIVER and at and driver:
            found[driver, node_name] = source
    return found
