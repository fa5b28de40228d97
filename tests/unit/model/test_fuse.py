"""FUSE counts add up, and percentiles are upper bounds."""

from hypothesis import given
from hypothesis import strategies as st

from csitrace.model.fuse import BUCKETS, UNBOUNDED_NS, OpCount, bucket_of, errno_name, percentile_ns

COUNTS = st.builds(
    OpCount,
    count=st.integers(0, 1000),
    errors=st.dictionaries(st.sampled_from(["EIO", "ENOENT"]), st.integers(1, 9)),
    bytes=st.integers(0, 10**9),
    latency_ns_sum=st.integers(0, 10**12),
    buckets=st.lists(st.integers(0, 50), max_size=BUCKETS).map(tuple),
)


@given(COUNTS, COUNTS, COUNTS)
def test_adding_counts_does_not_depend_on_the_order(a: OpCount, b: OpCount, c: OpCount) -> None:
    """Deltas may be folded in any grouping."""
    left, right = (a + b) + c, c + (b + a)
    assert (left.count, left.errors, left.bytes) == (right.count, right.errors, right.bytes)
    assert sum(left.buckets) == sum(a.buckets) + sum(b.buckets) + sum(c.buckets)


@given(st.lists(st.integers(1, 4 * 10**9), min_size=1), st.sampled_from([0.5, 0.99]))
def test_a_percentile_is_at_most_twice_too_high_and_never_too_low(
    durations: list[int], fraction: float
) -> None:
    """Buckets are powers of two microseconds, so the bound is within a factor of two of a true latency (of 1 us at least)."""
    buckets = [0] * BUCKETS
    for duration in durations:
        buckets[bucket_of(duration)] += 1
    bound = percentile_ns(tuple(buckets), fraction)
    assert bound is not None
    true = sorted(durations)[min(int(fraction * len(durations)), len(durations) - 1)]
    assert bound >= sorted(durations)[max(0, -(-len(durations) * int(fraction * 100) // 100) - 1)] // 2
    assert bound <= max(2 * true, 1_000)


def test_no_operations_have_no_percentile() -> None:
    """Nothing counted is not "fast"."""
    assert percentile_ns((), 0.99) is None
    assert percentile_ns((0,) * BUCKETS, 0.99) is None


def test_errno_names() -> None:
    """Both signs are the same error; an unknown number stays a number."""
    assert (errno_name(2), errno_name(-2), errno_name(99999)) == ("ENOENT", "ENOENT", "99999")


def test_what_was_slower_than_any_bound_has_no_bound() -> None:
    """The last bucket is open: its percentile says "more than", and is never taken for the last bound itself."""
    last = (0,) * (BUCKETS - 1) + (1,)
    before_last = (0,) * (BUCKETS - 2) + (1,)
    assert percentile_ns(last, 0.99) == UNBOUNDED_NS
    assert percentile_ns(before_last, 0.99) == UNBOUNDED_NS - 1
