"""Who is heard: why something cannot be seen now, in the words that follow "unknown, because"."""

from csitrace.lifecycle import index
from csitrace.lifecycle.state import SourceState, State
from csitrace.model.events import ALL_NODES, Witness
from csitrace.model.rpc import RPC_BY_METHOD


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


def node_is_gone(state: State, node_name: str) -> bool:
    """Whether the cluster has no such node (any more), where its nodes are heard: then nothing there counts as left."""
    source = state.sources.get((Witness.KUBERNETES, "Node"))
    heard = source is not None and source.up and source.listed
    return heard and ("Node", "", node_name) not in state.names


def kernel_silence(state: State, node_name: str) -> str:
    """Why a node's mounts cannot be seen; "" when they can."""
    source = state.sources.get((Witness.KERNEL, node_name))
    if source is None:
        of_all = state.sources.get((Witness.KERNEL, ALL_NODES))
        why = f": {of_all.reason}" if of_all is not None and not of_all.up else ""
        return f"no one reports the mounts of node {node_name}{why}"
    return "" if source.up and source.listed else source.reason or "its mounts are still being read"


def call_silence(state: State, driver: str, method: str, node_name: str = "") -> str:
    """Why a driver's calls of a method would not be heard now; "" when they would.

    What a node plugin is asked is told by the feed of its node alone; what the controller plugin is asked by the feeds that have
    told such calls before, or, as long as none has, by any.
    """
    rpc = RPC_BY_METHOD.get(method)
    scopes = index.members(state, index.FEEDS_OF, driver)
    if rpc is not None and rpc.service == "Node" and node_name:
        wanted = [scope for scope in (f"{driver}@{node_name}", f"{driver}@") if scope in scopes][:1]
        nobody = f"no feed of {driver or 'the driver'} on node {node_name} is heard"
    else:
        wanted = sorted(scope for scope, controls in scopes.items() if controls) or sorted(scopes)
        nobody = f"{driver or 'the driver'} publishes no feed that is heard"
    sources = [
        state.sources[Witness.DRIVER, scope] for scope in wanted if (Witness.DRIVER, scope) in state.sources
    ]
    if any(source.up for source in sources):
        return ""
    return next((source.reason for source in sources if source.reason), nobody)


def feeds(state: State) -> dict[tuple[str, str], SourceState]:
    """The feeds that have said who they are, by (driver, node)."""
    found = {}
    for (witness, scope), source in state.sources.items():
        driver, at, node_name = scope.partition("@")
        if witness is Witness.DRIVER and at and driver:
            found[driver, node_name] = source
    return found
