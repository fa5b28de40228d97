"""Real sessions over told stories: the screens then take the same way as with a cluster, only the clock stands still."""

from csitrace.engine.session import Session
from csitrace.lifecycle.history import History
from csitrace.model import events
from csitrace.model.events import Witness
from csitrace.model.fuse import DaemonStatus, OpCount, bucket_of
from csitrace.model.times import MILLISECOND, SECOND
from csitrace.tui.session_view import SessionView
from tests.story import DRIVER, HANDLE, NODE, Story, attachment, straight_road, way_back_road

CONNECTION = 50


def session(story: Story, later: float = 0.0) -> SessionView:
    """A live session that has taken in the story and whose clock stands `later` seconds after its last fact."""
    history = History()
    for event in story.events:
        history.append(event)
    return SessionView(Session("prod-eu-1", lambda: story.at + int(later * SECOND), history))


def refused_attach() -> Story:
    """ControllerPublishVolume is refused three times."""
    story = dict(straight_road())["12"]
    for _ in range(3):
        story.rpc("ControllerPublishVolume", 9, "volume is attached to n9, which is not Ready", node_id=NODE)
        error = "rpc error: code = FailedPrecondition desc = volume is attached to n9, which is not Ready"
        story.put(attachment(finalizer=True, error=error))
        story.at += 15 * SECOND
    return story


def ops(count: int, latency_ns: int, size: int = 0, errors: dict[str, int] | None = None) -> OpCount:
    buckets = [0] * 24
    buckets[bucket_of(latency_ns)] = count
    return OpCount(
        count=count,
        bytes=size,
        latency_ns_sum=count * latency_ns,
        buckets=tuple(buckets),
        errors=errors or {},
    )


def busy_fuse() -> Story:
    """A published volume whose daemon serves reads and writes."""
    story = dict(straight_road())["17"]
    daemon = DaemonStatus(pid=4321, name="driver_ref.fs", state="S", started_at=story.at - 90 * SECOND,
                          cpu_ns=1_230 * MILLISECOND, rss_bytes=21 << 20)  # fmt: skip
    story.tell(
        events.FuseObserved(
            node_name=NODE,
            connection=CONNECTION,
            volume_id=HANDLE,
            waiting=0,
            init_answered=True,
            daemon=daemon,
        )
    )
    for second in range(20):
        counts = {
            "READ": ops(300 + 40 * (second % 5), 120_000, 4096 * 300),
            "WRITE": ops(80 + 10 * (second % 3), 900_000, 8192 * 80),
            "LOOKUP": ops(40, 60_000, errors={"ENOENT": 4}),
            "FSYNC": ops(2, 14 * MILLISECOND, errors={"EIO": 1} if second == 7 else None),
        }
        story.at += SECOND - 100 * MILLISECOND
        story.tell(
            events.FuseCounted(
                node_name=NODE, connection=CONNECTION, volume_id=HANDLE, interval_ns=SECOND, ops=counts
            )
        )
    story.tell(events.FuseOpSampled(node_name=NODE, connection=CONNECTION, volume_id=HANDLE, op="FSYNC",
                                    duration_ns=1_800 * MILLISECOND, errno="EIO", inode=77, bytes=0))  # fmt: skip
    story.tell(events.FuseOpSampled(node_name=NODE, connection=CONNECTION, volume_id=HANDLE, op="READ",
                                    duration_ns=240 * MILLISECOND, inode=12, bytes=131072))  # fmt: skip
    return story


def hung_fuse() -> Story:
    """The daemon of a published volume is stopped while requests wait."""
    story = busy_fuse()
    stopped = DaemonStatus(
        pid=4321, name="driver_ref.fs", state="T", cpu_ns=1_240 * MILLISECOND, rss_bytes=21 << 20
    )
    story.tell(
        events.FuseObserved(
            node_name=NODE, connection=CONNECTION, volume_id=HANDLE, waiting=3, daemon=stopped
        )
    )
    return story


def silent_kernel() -> Story:
    """The node is not heard any more while the volume is in use."""
    story = busy_fuse()
    story.tell(events.SourceDown(witness=Witness.KERNEL, scope=NODE, reason="agent: connection refused"))
    story.tell(
        events.SourceDown(witness=Witness.DRIVER, scope=f"{DRIVER}@{NODE}", reason="feed: connection refused")
    )
    return story


def gone() -> Story:
    """The whole way in, and back to nothing."""
    return way_back_road(dict(straight_road())["17"])
