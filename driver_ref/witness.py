"""What the driver tells the trace feed beside its RPCs: FUSE processes, their operations, and mounts made or taken away."""

from collections.abc import Callable
from typing import TypeAlias

from csitrace.model.events import (
    Body,
    FuseCounted,
    FuseObserved,
    FuseOpSampled,
    MountAppeared,
    MountVanished,
)
from csitrace.model.fuse import DaemonStatus, OpCount
from csitrace.model.mounts import Mount
from driver_ref.daemon import Daemon
from driver_ref.fs import channel

Publish: TypeAlias = Callable[[Body, int | None], None]
"""Takes a fact and the time it happened (ns since the epoch; None: now)."""


class Witness:
    """Turns what happens to a node's FUSE processes and mounts into facts of the feed."""

    def __init__(self, publish: Publish, node_name: str) -> None:
        self._publish = publish
        self._node_name = node_name
        self._totals: dict[int, channel.Counters] = {}

    def daemon_serves(self, daemon: Daemon) -> None:
        """A FUSE process answered INIT, or was adopted."""
        self._observed(daemon.hello, "", daemon.hello.init_at)

    def daemon_ended(self, daemon: Daemon, how: str) -> None:
        """A FUSE process is gone; `how` says in which way."""
        self._totals.pop(daemon.hello.pid, None)
        self._observed(daemon.hello, how, None)

    def counted(self, daemon: Daemon, counters: channel.Counters) -> None:
        """New totals: publishes what came since the last ones.

        The first totals of a process that an earlier driver started are only where we begin to count: that driver
        has told them.
        """
        hello, before = daemon.hello, self._totals.get(daemon.hello.pid)
        self._totals[hello.pid] = counters
        if before is None and daemon.adopted:
            return
        ops = {
            op: difference(count, before.ops.get(op) if before else None)
            for op, count in counters.ops.items()
        }
        changed = {op: count for op, count in ops.items() if count.count}
        if changed:
            self._publish(
                FuseCounted(
                    node_name=self._node_name,
                    connection=hello.connection,
                    volume_id=hello.volume_id,
                    interval_ns=counters.at - (before.at if before else hello.started_at),
                    ops=changed,
                ),
                counters.at,
            )

    def sampled(self, daemon: Daemon, operation: channel.SlowOp) -> None:
        """A slow or sampled operation; its time in the feed is when it ended."""
        self._publish(
            FuseOpSampled(
                node_name=self._node_name,
                connection=daemon.hello.connection,
                volume_id=daemon.hello.volume_id,
                op=operation.op,
                duration_ns=operation.duration_ns,
                errno=operation.errno or "",
                inode=operation.ino or 0,
                bytes=operation.bytes,
            ),
            operation.at + operation.duration_ns,
        )

    def mounted(self, mount: Mount) -> None:
        """We made a mount."""
        self._publish(MountAppeared(node_name=self._node_name, mount=mount), None)

    def unmounted(self, mount: Mount) -> None:
        """We took a mount away."""
        self._publish(MountVanished(node_name=self._node_name, mount=mount), None)

    def _observed(self, hello: channel.Hello, exited: str, at: int | None) -> None:
        self._publish(
            FuseObserved(
                node_name=self._node_name,
                connection=hello.connection,
                volume_id=hello.volume_id,
                init_answered=True,
                aborted=bool(exited),
                daemon=DaemonStatus(
                    pid=hello.pid, name="driver_ref.fs", started_at=hello.started_at, exited=exited
                ),
            ),
            at,
        )


def difference(now: channel.OpCount, before: channel.OpCount | None) -> OpCount:
    """What was counted between two totals of one operation; all of it where there is no earlier total."""
    if before is None:
        before = channel.OpCount(
            count=0, errors={}, bytes=0, latency_ns_sum=0, buckets=[0] * len(now.buckets)
        )
    errors = {name: count - before.errors.get(name, 0) for name, count in now.errors.items()}
    return OpCount(
        count=now.count - before.count,
        errors={name: count for name, count in errors.items() if count},
        bytes=now.bytes - before.bytes,
        latency_ns_sum=now.latency_ns_sum - before.latency_ns_sum,
        buckets=tuple(a - b for a, b in zip(now.buckets, before.buckets, strict=True)),
    )
