"""Any events: every kind of body, with whatever its fields may hold."""

from hypothesis import strategies as st

from csitrace.model import events
from csitrace.model.events import Body, Stamp, TraceEvent, Witness
from csitrace.model.fuse import DaemonStatus, OpCount
from csitrace.model.mounts import Mount
from tests import story

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NUMBER = st.integers(0, 2**53)
TIME = st.integers(0, 2**62)

OBJECTS = st.sampled_from(
    (story.claim(), story.pv(), story.pod(), story.attachment(), story.node(), story.storage_class(), story.csi_driver(),
     story.happened("FailedMount", "no \u2028 such\n", story.pod()))
)  # fmt: skip

BODIES: st.SearchStrategy[Body] = st.one_of(
    st.builds(events.ObjectListed, object=OBJECTS),
    st.builds(events.ObjectDeleted, object=OBJECTS, missed=st.booleans()),
    st.builds(events.Marked, text=TEXT),
    st.builds(events.SourceUp, witness=st.sampled_from(Witness), scope=TEXT, detail=TEXT),
    st.builds(events.SourceGap, witness=st.sampled_from(Witness), scope=TEXT, reason=TEXT, lost=st.none() | NUMBER),
    st.builds(
        events.RpcStarted, driver=TEXT, instance=TEXT, call_id=NUMBER, method=TEXT,
        request=st.dictionaries(TEXT, st.recursive(st.none() | NUMBER | TEXT, st.lists, max_leaves=4), max_size=3),
    ),
    st.builds(
        events.MountAppeared, node_name=TEXT,
        mount=st.builds(
            Mount, mount_id=NUMBER, parent_id=NUMBER, major=NUMBER, minor=NUMBER, root=TEXT, mount_point=TEXT
        ),
    ),
    st.builds(
        events.FuseCounted, node_name=TEXT, connection=NUMBER, interval_ns=NUMBER,
        ops=st.dictionaries(TEXT, st.builds(OpCount, count=NUMBER, buckets=st.tuples(NUMBER, NUMBER)), max_size=3),
    ),
    st.builds(
        events.FuseObserved, node_name=TEXT, connection=NUMBER, waiting=st.none() | NUMBER,
        daemon=st.none() | st.builds(DaemonStatus, pid=NUMBER, name=TEXT),
    ),
    st.builds(events.VolumeRecalled, key=TEXT, seen=st.lists(
        st.builds(events.StepSeen, step=TEXT, witness=st.sampled_from(Witness), at=st.none() | NUMBER), max_size=2
    ).map(tuple)),
)  # fmt: skip


def told(bodies: list[tuple[Body, int, int, Stamp]]) -> list[TraceEvent]:
    return [
        TraceEvent(seq=seq, observed_at=observed, occurred_at=occurred, stamp=stamp, body=body)
        for seq, (body, observed, occurred, stamp) in enumerate(bodies, 1)
    ]


EVENTS = st.lists(st.tuples(BODIES, TIME, TIME, st.sampled_from(Stamp)), max_size=30).map(told)
