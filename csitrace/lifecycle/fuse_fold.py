"""Folding FUSE facts: totals, a bounded window of recent intervals for rates, and a bounded tail of sampled operations."""

from typing import TypeVar

from immutables import Map
from msgspec.structs import replace

from csitrace.lifecycle import index
from csitrace.lifecycle.fuse import mounts_heard
from csitrace.lifecycle.state import FuseState, FuseWindow, State
from csitrace.model.events import FuseCounted, FuseObserved, FuseOpSampled, TraceEvent
from csitrace.model.fuse import DaemonStatus, OpCount

WINDOWS_KEPT = 120
SAMPLES_KEPT = 64

T = TypeVar("T")


def fold_fuse(state: State, event: TraceEvent, body: FuseCounted | FuseOpSampled | FuseObserved) -> State:
    """The state with one connection's facts updated; a connection that was never heard of begins here."""
    identity = (body.node_name, body.connection)
    connection = state.fuse.get(identity) or FuseState(body.node_name, body.connection)
    if body.volume_id and body.volume_id != connection.volume_id:
        former = [(index.FUSE_OF, connection.volume_id, identity, None)] if connection.volume_id else []
        if former:  # the kernel gave the number to a new mount: nothing of the old one is this one's
            connection = FuseState(body.node_name, body.connection)
        connection = replace(connection, volume_id=body.volume_id)
        links = index.relink(state.links, former, [(index.FUSE_OF, body.volume_id, identity, None)])
        state = replace(state, links=links)
    match body:
        case FuseCounted():
            connection = _counted(connection, event, body)
        case FuseOpSampled():
            samples = _kept(connection.samples, (event.occurred_at, event.seq, body), SAMPLES_KEPT)
            connection = replace(connection, samples=samples)
        case FuseObserved():
            connection = _observed(connection, event, body)
    connection = replace(connection, changed_at=event.occurred_at, changed_seq=event.seq)
    state = replace(state, fuse=state.fuse.set(identity, connection))
    return fuse_unmounted(state, *identity) if mounts_heard(state, body.node_name) else state


def fuse_mounted(state: State, node_name: str, minor: int) -> State:
    """The state before a new mount is put on a connection. Once the last mount of a connection is gone, the kernel gives its
    number to the next one: what had ended is then not the one that is mounted now."""
    connection = state.fuse.get((node_name, minor))
    if connection is None or not connection.ended:
        return state
    if _is_mounted(state, node_name, minor):
        return state
    return replace(state, fuse=state.fuse.set((node_name, minor), _anew(connection)))


def fuse_unmounted(state: State, node_name: str, minor: int) -> State:
    """The state without a connection that has ended and is mounted no more. One that nobody says has ended may be held open,
    by a lazily unmounted file system: it is kept for as long as the volume that it is told to be of."""
    connection = state.fuse.get((node_name, minor))
    if connection is None or _is_mounted(state, node_name, minor):
        return state
    if connection.volume_id and not connection.ended:
        return state
    return forget_connection(state, connection)


def forget_connection(state: State, connection: FuseState) -> State:
    identity = (connection.node_name, connection.connection)
    old = [(index.FUSE_OF, connection.volume_id, identity, None)]
    return replace(state, fuse=state.fuse.delete(identity), links=index.relink(state.links, old, ()))


def _is_mounted(state: State, node_name: str, minor: int) -> bool:
    return bool(index.members(state, index.MOUNTS_ON, index.connection_key(node_name, minor)))


def _anew(connection: FuseState) -> FuseState:
    return FuseState(connection.node_name, connection.connection, connection.volume_id)


def _counted(connection: FuseState, event: TraceEvent, body: FuseCounted) -> FuseState:
    totals: Map[str, OpCount] = connection.totals
    for op, count in body.ops.items():
        before = connection.totals.get(op)
        totals = totals.set(op, before + count if before is not None else count)
    active = any(count.count for count in body.ops.values())
    window = FuseWindow(event.occurred_at, body.interval_ns, body.ops)
    return replace(
        connection,
        totals=totals,
        windows=_kept(connection.windows, window, WINDOWS_KEPT),
        first_op_at=connection.first_op_at or (event.occurred_at - body.interval_ns if active else None),
        last_op_at=event.occurred_at if active else connection.last_op_at,
    )


def _observed(connection: FuseState, event: TraceEvent, body: FuseObserved) -> FuseState:
    """What an observer does not tell (None) leaves standing what another one told; what has ended does not come back to life."""
    if connection.ended and _lives_instead(body.daemon, connection.daemon):
        connection = _anew(connection)
    waiting = connection.waiting if body.waiting is None else body.waiting
    answered = connection.init_answered if body.init_answered is None else body.init_answered
    return replace(
        connection,
        waiting=waiting,
        waiting_since=(connection.waiting_since or event.occurred_at) if waiting else None,
        init_answered=answered,
        aborted=body.aborted or connection.aborted,
        daemon=connection.daemon
        if connection.ended and not _tells_end(body)
        else body.daemon or connection.daemon,
    )


def _tells_end(body: FuseObserved) -> bool:
    return body.daemon is not None and bool(body.daemon.exited)


def _lives_instead(daemon: DaemonStatus | None, ended: DaemonStatus | None) -> bool:
    return daemon is not None and not daemon.exited and (ended is None or daemon.pid != ended.pid)


def _kept(items: tuple[T, ...], new: T, limit: int) -> tuple[T, ...]:
    return (*items, new)[-limit:]
