"""What the driver tells the trace feed beside its RPCs: FUSE processes, their operations, and mounts made or taken away."""

from csitrace.feed.publisher import Publisher
from csitrace.model.events import FuseCounted, FuseObserved, FuseOpSampled, MountAppeared, MountVanished
from csitrace.model.fuse import DaemonStatus, OpCount
from csitrace.model.mounts import Mount
from driver_ref.daemon import Daemon
from driver_ref.fs import channel


class Witness:
    """Turns what happens to a node's FUSE processes and mounts into facts of the feed."""

    def __init__(self, publisher: Publisher, node_name: str) -> None:
        self._publisher = publisher
        self._node_name = node_name

    def daemon_serves(self, daemon: Daemon) -> None:
        """A FUSE process answered INIT, or was adopted."""
        self._observed(daemon, "", daemon.hello.init_at)

    def daemon_ended(self, daemon: Daemon, how: str) -> None:
        """A FUSE process is gone; `how` says in which way."""
        self._observed(daemon, how, None)

    def counted(self, daemon: Daemon, counters: channel.Counters) -> None:
        """New totals since the start of the FUSE process; the feed tells what moved."""
        hello = daemon.hello
        self._publisher.publish_fuse_totals(
            FuseCounted(
                node_name=self._node_name,
                connection=hello.connection,
                volume_id=hello.volume_id,
                interval_ns=max(0, counters.at - hello.started_at),
                ops={op: _model(count) for op, count in counters.ops.items()},
            ),
            counters.at,
        )

    def sampled(self, daemon: Daemon, operation: channel.SlowOp) -> None:
        """A slow or sampled operation; its time in the feed is when it ended."""
        self._publisher.publish(
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
        self._publisher.publish(MountAppeared(node_name=self._node_name, mount=mount))

    def unmounted(self, mount: Mount) -> None:
        """We took a mount away."""
        self._publisher.publish(MountVanished(node_name=self._node_name, mount=mount))

    def _observed(self, process: Daemon, exited: str, at: int | None) -> None:
        hello = process.hello
        daemon = DaemonStatus(
            pid=process.pid, name="driver_ref.fs", started_at=hello.started_at, exited=exited
        )
        self._publisher.publish(
            FuseObserved(
                node_name=self._node_name,
                connection=hello.connection,
                volume_id=hello.volume_id,
                init_answered=True,
                aborted=bool(exited),
                daemon=daemon,
            ),
            at,
        )


def _model(count: channel.OpCount) -> OpCount:
    return OpCount(
        count=count.count,
        errors=count.errors,
        bytes=count.bytes,
        latency_ns_sum=count.latency_ns_sum,
        buckets=tuple(count.buckets),
    )
