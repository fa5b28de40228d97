"""A volume's FUSE side: its connections, rates over the last seconds, and whether its daemon is well."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from csitrace.lifecycle import index
from csitrace.lifecycle.state import FuseState, State, Volume
from csitrace.model.events import Witness
from csitrace.model.fuse import OpCount, percentile_ns
from csitrace.model.times import SECOND

RATE_NS = 5 * SECOND
HANG_NS = 5 * SECOND
"""Requests that wait this long while none is answered: the daemon does not answer."""

EXPECTED_ERRORS = frozenset({"ENOENT", "ENODATA", "EAGAIN", "EINTR", "EEXIST"})
"""Answers that programs ask for all day: looking for what is not there is no fault of the file system."""


@dataclass(frozen=True, slots=True)
class FuseRate:
    """Over the last `RATE_NS`: operations a second, and upper bounds of latency in ns (None without operations)."""

    ops_per_second: float
    p50_ns: int | None
    p99_ns: int | None


def fuse_states(state: State, volume: Volume) -> tuple[FuseState, ...]:
    """The volume's FUSE connections, of all nodes: those its mounts are served by, and those a driver says are its.

    A connection that has ended is the volume's only while it is mounted, or while nobody can tell whether it is: every daemon
    ends after its last mount is taken away.
    """
    mounted = {(fact.node_name, fact.mount.minor): None for fact in volume.mounts if fact.mount.is_fuse}
    told = index.members(state, index.FUSE_OF, volume.volume_id) if volume.volume_id else ()
    known = {identity: state.fuse[identity] for identity in (*mounted, *told) if identity in state.fuse}
    served = tuple(found for identity, found in known.items() if identity in mounted or not found.ended)
    return served or tuple(found for found in known.values() if not mounts_heard(state, found.node_name))


def mounts_heard(state: State, node_name: str) -> bool:
    """Whether a connection that no known mount is on has none: the node's mount table is heard, and was read to its end."""
    source = state.sources.get((Witness.KERNEL, node_name))
    return source is not None and source.up and source.listed


def rate(counts: Iterable[FuseState], now: int, op: str = "") -> FuseRate | None:
    """The rates of some connections together, of one kind of operation or all; None where nobody counts."""
    heard, total = False, OpCount()
    for connection in counts:
        heard = heard or bool(connection.windows) or bool(connection.totals)
        for window in connection.windows:
            if window.at > now - RATE_NS:
                for name, count in window.ops.items():
                    if op in ("", name):
                        total = total + count
    if not heard:
        return None
    return FuseRate(
        total.count / (RATE_NS / SECOND),
        percentile_ns(total.buckets, 0.5),
        percentile_ns(total.buckets, 0.99),
    )


def unexpected_errors(connections: Iterable[FuseState]) -> Counter[str]:
    """Errors by errno since the connections were first seen, without those that programs ask for."""
    errors: Counter[str] = Counter()
    for connection in connections:
        for count in connection.totals.values():
            errors.update({name: n for name, n in count.errors.items() if name not in EXPECTED_ERRORS})
    return errors


def trouble(connection: FuseState, now: int) -> str:
    """What is wrong with a connection, in words; "" when nothing is known to be."""
    daemon = connection.daemon
    if daemon is not None and daemon.exited:
        return f"FUSE daemon (pid {daemon.pid}) is gone, {daemon.exited}: its files answer ENOTCONN"
    if connection.aborted:
        return "FUSE connection was aborted: its files answer ENOTCONN"
    if connection.init_answered is False:
        return "FUSE daemon has not answered INIT"
    if daemon is not None and daemon.state == "T":
        return f"FUSE daemon (pid {daemon.pid}) is stopped: {requests_wait(connection.waiting or 0)}"
    since = connection.waiting_since
    silent = since is not None and now - max(since, connection.last_op_at or 0) >= HANG_NS
    if connection.waiting and silent:
        return f"FUSE daemon does not answer: {requests_wait(connection.waiting or 0)}"
    return ""


def requests_wait(count: int) -> str:
    """How many requests wait, in words: `1 request waits`."""
    return "1 request waits" if count == 1 else f"{count} requests wait"
