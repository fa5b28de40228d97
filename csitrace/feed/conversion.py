"""The model's bodies on the wire and back: one row per body in `_ROWS`.

A driver, instance or node name equal to the origin's travels as an empty field. Reading never fails on content: an
event that this version does not know gives None, a payload that is no JSON object gives an empty one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from csitrace.feed import feed_pb2 as pb
from csitrace.feed import health
from csitrace.model.events import (
    FuseCounted,
    FuseObserved,
    FuseOpSampled,
    ListCompleted,
    MountAppeared,
    MountVanished,
    RpcFinished,
    RpcStarted,
    SourceDown,
    SourceGap,
    SourceUp,
    Stamp,
)
from csitrace.model.fuse import DaemonStatus, OpCount
from csitrace.model.mounts import Mount

FeedBody = (
    RpcStarted
    | RpcFinished
    | MountAppeared
    | MountVanished
    | FuseCounted
    | FuseOpSampled
    | FuseObserved
    | health.HealthBody
)
"""What a feed may tell: all but the last a driver, all of them an agent."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A node's agent: csitrace's `version`, and the node it hears."""

    version: str
    node_name: str


@dataclass(frozen=True, slots=True)
class Origin:
    """One run of a publisher. `node_name` is empty where it belongs to no node; `started_at` in ns since the epoch. With `agent`,
    driver and node are empty: it speaks for several."""

    instance: str
    driver: str
    node_name: str = ""
    started_at: int = 0
    agent: Agent | None = None

    @property
    def scope(self) -> str:
        """How the sources' states name it."""
        return f"{self.driver}@{self.node_name}"


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event of a feed. `total`: the counts of a FuseCounted are since the daemon's start, not of an interval."""

    sequence: int
    occurred_at: int
    body: FeedBody
    total: bool = False
    stamp: Stamp = Stamp.ORIGIN


def encode_origin(origin: Origin) -> pb.Origin:
    return pb.Origin(
        instance=origin.instance,
        driver=origin.driver,
        node_name=origin.node_name,
        started_at=origin.started_at,
        agent=None
        if origin.agent is None
        else pb.Agent(version=origin.agent.version, node_name=origin.agent.node_name),
    )


def decode_origin(message: pb.Origin) -> Origin:
    agent = Agent(message.agent.version, message.agent.node_name) if message.HasField("agent") else None
    return Origin(message.instance, message.driver, message.node_name, message.started_at, agent)


def encode(event: FeedEvent, origin: Origin) -> pb.Event:
    """An event as `origin` tells it."""
    name, to_wire, _ = _ROWS[type(event.body)]
    body = to_wire(event.body, origin)
    if event.total:
        body.total = True
    stamp = _STAMPS.get(event.stamp, pb.STAMP_ORIGIN)
    return pb.Event(sequence=event.sequence, occurred_at=event.occurred_at, stamp=stamp, **{name: body})


def decode(message: pb.Event, origin: Origin) -> FeedEvent | None:
    """An event that came from `origin`; None for a kind this version does not know."""
    name = message.WhichOneof("body")
    if name is None:
        return None
    wire = getattr(message, name)
    total = name == "fuse_counted" and wire.total
    stamp = _STAMPS_FROM_WIRE.get(message.stamp, Stamp.ORIGIN)
    return FeedEvent(message.sequence, message.occurred_at, _FROM_WIRE[name](wire, origin), total, stamp)


def _started_to_wire(body: RpcStarted, origin: Origin) -> pb.RpcStarted:
    return pb.RpcStarted(
        driver=_unless(body.driver, origin.driver),
        instance=_unless(body.instance, origin.instance),
        call_id=body.call_id,
        method=body.method,
        node_name=_unless(body.node_name, origin.node_name),
        volume_id=health.text(body.volume_id),
        volume_name=health.text(body.volume_name),
        node_id=health.text(body.node_id),
        staging_target_path=health.text(body.staging_target_path),
        target_path=health.text(body.target_path),
        attempt=body.attempt,
        request_json=_json(body.request),
    )


def _started(wire: pb.RpcStarted, origin: Origin) -> RpcStarted:
    return RpcStarted(
        driver=wire.driver or origin.driver,
        instance=wire.instance or origin.instance,
        call_id=wire.call_id,
        method=wire.method,
        node_name=wire.node_name or origin.node_name,
        volume_id=wire.volume_id,
        volume_name=wire.volume_name,
        node_id=wire.node_id,
        staging_target_path=wire.staging_target_path,
        target_path=wire.target_path,
        attempt=wire.attempt or 1,
        request=_object(wire.request_json),
    )


def _finished_to_wire(body: RpcFinished, origin: Origin) -> pb.RpcFinished:
    return pb.RpcFinished(
        driver=_unless(body.driver, origin.driver),
        instance=_unless(body.instance, origin.instance),
        call_id=body.call_id,
        method=body.method,
        code=body.code,
        message=health.text(body.message),
        duration_ns=body.duration_ns,
        node_name=_unless(body.node_name, origin.node_name),
        volume_id=health.text(body.volume_id),
        volume_name=health.text(body.volume_name),
        attempt=body.attempt,
        response_json=_json(body.response),
    )


def _finished(wire: pb.RpcFinished, origin: Origin) -> RpcFinished:
    return RpcFinished(
        driver=wire.driver or origin.driver,
        instance=wire.instance or origin.instance,
        call_id=wire.call_id,
        method=wire.method,
        code=wire.code,
        message=wire.message,
        duration_ns=wire.duration_ns,
        node_name=wire.node_name or origin.node_name,
        volume_id=wire.volume_id,
        volume_name=wire.volume_name,
        attempt=wire.attempt or 1,
        response=_object(wire.response_json),
    )


def _mount_to_wire(mount: Mount) -> pb.Mount:
    return pb.Mount(
        mount_id=mount.mount_id,
        parent_id=mount.parent_id,
        major=mount.major,
        minor=mount.minor,
        root=health.text(mount.root),
        mount_point=health.text(mount.mount_point),
        options=health.text(mount.options),
        propagation=health.text(mount.propagation),
        fs_type=health.text(mount.fs_type),
        source=health.text(mount.source),
        super_options=health.text(mount.super_options),
    )


def _mount(wire: pb.Mount) -> Mount:
    return Mount(
        mount_id=wire.mount_id,
        parent_id=wire.parent_id,
        major=wire.major,
        minor=wire.minor,
        root=wire.root,
        mount_point=wire.mount_point,
        options=wire.options,
        propagation=wire.propagation,
        fs_type=wire.fs_type,
        source=wire.source,
        super_options=wire.super_options,
    )


def _appeared_to_wire(body: MountAppeared, origin: Origin) -> pb.MountAppeared:
    return pb.MountAppeared(
        node_name=_unless(body.node_name, origin.node_name), mount=_mount_to_wire(body.mount)
    )


def _appeared(wire: pb.MountAppeared, origin: Origin) -> MountAppeared:
    return MountAppeared(node_name=wire.node_name or origin.node_name, mount=_mount(wire.mount))


def _vanished_to_wire(body: MountVanished, origin: Origin) -> pb.MountVanished:
    return pb.MountVanished(
        node_name=_unless(body.node_name, origin.node_name), mount=_mount_to_wire(body.mount)
    )


def _vanished(wire: pb.MountVanished, origin: Origin) -> MountVanished:
    return MountVanished(node_name=wire.node_name or origin.node_name, mount=_mount(wire.mount))


def _count_to_wire(count: OpCount) -> pb.OpCount:
    return pb.OpCount(
        count=count.count,
        errors=count.errors,
        bytes=count.bytes,
        latency_ns_sum=count.latency_ns_sum,
        buckets=count.buckets,
    )


def _count(wire: pb.OpCount) -> OpCount:
    return OpCount(
        count=wire.count,
        errors=dict(wire.errors),
        bytes=wire.bytes,
        latency_ns_sum=wire.latency_ns_sum,
        buckets=tuple(wire.buckets),
    )


def _counted_to_wire(body: FuseCounted, origin: Origin) -> pb.FuseCounted:
    return pb.FuseCounted(
        node_name=_unless(body.node_name, origin.node_name),
        connection=body.connection,
        volume_id=health.text(body.volume_id),
        interval_ns=body.interval_ns,
        ops={op: _count_to_wire(count) for op, count in body.ops.items()},
    )


def _counted(wire: pb.FuseCounted, origin: Origin) -> FuseCounted:
    return FuseCounted(
        node_name=wire.node_name or origin.node_name,
        connection=wire.connection,
        volume_id=wire.volume_id,
        interval_ns=wire.interval_ns,
        ops={op: _count(count) for op, count in wire.ops.items()},
    )


def _sampled_to_wire(body: FuseOpSampled, origin: Origin) -> pb.FuseOpSampled:
    return pb.FuseOpSampled(
        node_name=_unless(body.node_name, origin.node_name),
        connection=body.connection,
        volume_id=health.text(body.volume_id),
        op=body.op,
        duration_ns=body.duration_ns,
        errno=body.errno,
        inode=body.inode,
        bytes=body.bytes,
    )


def _sampled(wire: pb.FuseOpSampled, origin: Origin) -> FuseOpSampled:
    return FuseOpSampled(
        node_name=wire.node_name or origin.node_name,
        connection=wire.connection,
        volume_id=wire.volume_id,
        op=wire.op,
        duration_ns=wire.duration_ns,
        errno=wire.errno,
        inode=wire.inode,
        bytes=wire.bytes,
    )


def _daemon_to_wire(daemon: DaemonStatus) -> pb.DaemonStatus:
    return pb.DaemonStatus(
        pid=daemon.pid,
        name=health.text(daemon.name),
        state=daemon.state,
        started_at=daemon.started_at,
        cpu_ns=daemon.cpu_ns,
        rss_bytes=daemon.rss_bytes,
        exited=health.text(daemon.exited),
        pod_uid=health.text(daemon.pod_uid),
    )


def _daemon(wire: pb.DaemonStatus) -> DaemonStatus:
    return DaemonStatus(
        pid=wire.pid,
        name=wire.name,
        state=wire.state,
        started_at=wire.started_at if wire.HasField("started_at") else None,
        cpu_ns=wire.cpu_ns if wire.HasField("cpu_ns") else None,
        rss_bytes=wire.rss_bytes if wire.HasField("rss_bytes") else None,
        exited=wire.exited,
        pod_uid=wire.pod_uid,
    )


def _observed_to_wire(body: FuseObserved, origin: Origin) -> pb.FuseObserved:
    return pb.FuseObserved(
        node_name=_unless(body.node_name, origin.node_name),
        connection=body.connection,
        volume_id=health.text(body.volume_id),
        waiting=body.waiting,
        init_answered=body.init_answered,
        aborted=body.aborted,
        daemon=None if body.daemon is None else _daemon_to_wire(body.daemon),
    )


def _observed(wire: pb.FuseObserved, origin: Origin) -> FuseObserved:
    return FuseObserved(
        node_name=wire.node_name or origin.node_name,
        connection=wire.connection,
        volume_id=wire.volume_id,
        waiting=wire.waiting if wire.HasField("waiting") else None,
        init_answered=wire.init_answered if wire.HasField("init_answered") else None,
        aborted=wire.aborted,
        daemon=_daemon(wire.daemon) if wire.HasField("daemon") else None,
    )


_ROWS: dict[type, tuple[str, Callable[..., Any], Callable[..., FeedBody]]] = {
    RpcStarted: ("rpc_started", _started_to_wire, _started),
    RpcFinished: ("rpc_finished", _finished_to_wire, _finished),
    MountAppeared: ("mount_appeared", _appeared_to_wire, _appeared),
    MountVanished: ("mount_vanished", _vanished_to_wire, _vanished),
    FuseCounted: ("fuse_counted", _counted_to_wire, _counted),
    FuseOpSampled: ("fuse_op_sampled", _sampled_to_wire, _sampled),
    FuseObserved: ("fuse_observed", _observed_to_wire, _observed),
    SourceUp: ("source_up", health.up_to_wire, health.up),
    SourceDown: ("source_down", health.down_to_wire, health.down),
    SourceGap: ("source_gap", health.gap_to_wire, health.gap),
    ListCompleted: ("list_completed", health.completed_to_wire, health.completed),
}

_STAMPS: dict[Stamp, "pb.Stamp.ValueType"] = {
    Stamp.OBSERVED: pb.STAMP_OBSERVED,
    Stamp.INFERRED: pb.STAMP_INFERRED,
}
_STAMPS_FROM_WIRE = {wire: stamp for stamp, wire in _STAMPS.items()}

_FROM_WIRE = {name: from_wire for name, _, from_wire in _ROWS.values()}


def _unless(name: str, default: str) -> str:
    return "" if name == default else health.text(name)


def _json(payload: dict[str, Any]) -> str:
    return msgspec.json.encode(payload).decode() if payload else ""


def _object(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
