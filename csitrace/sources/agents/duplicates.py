"""Whom we hear without an agent, so that an agent's word on the same is passed over: all would count twice."""

from collections.abc import Iterable

from csitrace.model.events import (
    FuseCounted,
    FuseObserved,
    FuseOpSampled,
    ListCompleted,
    MountAppeared,
    MountVanished,
    Observation,
    RpcFinished,
    RpcStarted,
    SourceDown,
    SourceGap,
    SourceUp,
    Stamp,
    Witness,
)
from csitrace.sources.feed import FeedSource


class Duplicates:
    """The feeds that were given by address (`feeds`). A run of a driver is known by its instance, wherever it is heard."""

    def __init__(self, feeds: Iterable[FeedSource]) -> None:
        self._feeds = tuple(feeds)
        self._relayed: dict[str, dict[str, str]] = {}

    def among(self, node_name: str, observation: Observation) -> bool:
        """Whether what the agent of a node tells is heard from the driver itself."""
        if not self._feeds:
            return False
        body = observation.body
        direct = {feed.origin.instance for feed in self._feeds if feed.origin is not None}
        relayed = self._relayed.setdefault(node_name, {})
        match body:
            case RpcStarted() | RpcFinished():
                return body.instance in direct
            case SourceUp() if body.witness is Witness.DRIVER:
                relayed[body.scope] = body.instance
                return body.instance in direct
            case SourceDown() | SourceGap() | ListCompleted() if body.witness is Witness.DRIVER:
                return relayed.get(body.scope, "") in direct
            case FuseCounted() | FuseObserved() | FuseOpSampled() | MountAppeared() | MountVanished():
                # These name no driver: they are known to be one's that we hear only where all of the node's are.
                by_driver = observation.stamp is Stamp.ORIGIN
                return by_driver and bool(relayed) and direct.issuperset(relayed.values())
        return False
