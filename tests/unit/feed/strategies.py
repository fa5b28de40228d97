"""Bodies as a driver may publish them."""

from hypothesis import strategies as st

from csitrace.feed.conversion import FeedBody
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
    Witness,
)
from csitrace.model.fuse import DaemonStatus, OpCount
from csitrace.model.mounts import Mount

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
numbers = st.integers(0, 2**31 - 1)
durations = st.integers(0, 2**62)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(texts, json_values, max_size=3)

rpc_started = st.builds(
    RpcStarted,
    driver=names,
    instance=names,
    call_id=numbers,
    method=texts,
    node_name=names,
    volume_id=texts,
    volume_name=texts,
    node_id=texts,
    staging_target_path=texts,
    target_path=texts,
    attempt=st.integers(1, 1000),
    request=payloads,
)
rpc_finished = st.builds(
    RpcFinished,
    driver=names,
    instance=names,
    call_id=numbers,
    method=texts,
    code=st.integers(0, 16),
    message=texts,
    duration_ns=durations,
    node_name=names,
    volume_id=texts,
    volume_name=texts,
    attempt=st.integers(1, 1000),
    response=payloads,
)
mounts = st.builds(
    Mount,
    mount_id=numbers,
    parent_id=numbers,
    major=numbers,
    minor=numbers,
    root=texts,
    mount_point=texts,
    options=texts,
    propagation=texts,
    fs_type=texts,
    source=texts,
    super_options=texts,
)
op_counts = st.builds(
    OpCount,
    count=st.integers(1, 2**62),
    errors=st.dictionaries(st.sampled_from(["EIO", "ENOENT"]), st.integers(1, 2**31)),
    bytes=durations,
    latency_ns_sum=durations,
    buckets=st.lists(numbers, max_size=24).map(tuple),
)
fuse_counted = st.builds(
    FuseCounted,
    node_name=names,
    connection=numbers,
    volume_id=texts,
    interval_ns=durations,
    ops=st.dictionaries(st.sampled_from(["READ", "WRITE", "LOOKUP"]), op_counts, max_size=3),
)
fuse_op_sampled = st.builds(
    FuseOpSampled,
    node_name=names,
    connection=numbers,
    volume_id=texts,
    op=texts,
    duration_ns=durations,
    errno=texts,
    inode=durations,
    bytes=durations,
)
daemons = st.builds(
    DaemonStatus,
    pid=numbers,
    name=texts,
    state=st.sampled_from(["", "R", "S", "D"]),
    started_at=st.none() | durations,
    cpu_ns=st.none() | durations,
    rss_bytes=st.none() | durations,
    exited=texts,
    pod_uid=texts,
)
fuse_observed = st.builds(
    FuseObserved,
    node_name=names,
    connection=numbers,
    volume_id=texts,
    waiting=st.none() | numbers,
    init_answered=st.none() | st.booleans(),
    aborted=st.booleans(),
    daemon=st.none() | daemons,
)
witnesses = st.sampled_from(Witness)
health: st.SearchStrategy[FeedBody] = st.one_of(
    st.builds(SourceUp, witness=witnesses, scope=texts, detail=texts, instance=texts, formerly=texts),
    st.builds(SourceDown, witness=witnesses, scope=texts, reason=texts, denied=st.booleans()),
    st.builds(SourceGap, witness=witnesses, scope=texts, reason=texts, lost=st.none() | numbers),
    st.builds(ListCompleted, witness=witnesses, scope=texts, count=numbers),
)
bodies: st.SearchStrategy[FeedBody] = st.one_of(
    health,
    rpc_started,
    rpc_finished,
    st.builds(MountAppeared, node_name=names, mount=mounts),
    st.builds(MountVanished, node_name=names, mount=mounts),
    fuse_counted,
    fuse_op_sampled,
    fuse_observed,
)
