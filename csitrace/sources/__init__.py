"""PRODUCERS: each source listens to one witness and yields what it hears as observations.

A source is an async iterator and nothing more: it knows neither the session nor any other source. It reports its own
health in the same stream (`SourceUp`, `SourceDown`, `SourceGap`, `ListCompleted`), so that what it could not hear is
never taken for "nothing there".

* `kubernetes`: list and watch of the API server's objects.
* `kernel`: a node's mounts and FUSE connections, of `mountinfo` (the mount table, followed), `fuse` (waiting requests) and
  `processes` (the daemons behind them).
* `feed`: a driver's or an agent's word, at an address; `discovery`: the drivers' on this node, found by their sockets.
* `agents`: the agents of a cluster's nodes, through its API server.
* `backoff`: how long to wait before asking again, shared by all sources.
"""

from collections.abc import AsyncGenerator
from typing import Protocol

from csitrace.model.events import Observation, Witness


class Source(Protocol):
    """Where observations come from."""

    @property
    def witness(self) -> Witness:
        """Whose word the observations are."""
        ...

    @property
    def name(self) -> str:
        """What is listened to, for people: a server's address, a node, a socket."""
        ...

    def observe(self) -> AsyncGenerator[Observation, None]:
        """Listen until the iterator is closed or its task cancelled; either ends every connection of the source.

        Lost connections are the source's own affair: it reports them and tries again. What it raises is a `CsitraceError`,
        and only for what trying again cannot mend.
        """
        ...
