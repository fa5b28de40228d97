"""Counting operations."""

from hypothesis import given
from hypothesis import strategies as st

from driver_ref.fs.channel import BUCKET_COUNT
from driver_ref.fs.counters import OpCounters, bucket_of


@given(st.integers(0, 10**15))
def test_a_duration_falls_into_the_bucket_that_bounds_it(duration_ns: int) -> None:
    """Bucket i holds durations below 2**i microseconds that are not below 2**(i-1); the last one all the rest."""
    index = bucket_of(duration_ns)
    if index < BUCKET_COUNT - 1:
        assert duration_ns < 2**index * 1000
    if index > 0:
        assert duration_ns >= 2 ** (index - 1) * 1000


@given(st.lists(st.tuples(st.integers(0, 10**10), st.none() | st.sampled_from(["EIO", "ENOENT"]))))
def test_totals_are_the_sum_of_what_happened(operations: list[tuple[int, str | None]]) -> None:
    """Count, bytes, time, errors and histogram agree with the operations counted."""
    counters = OpCounters()
    counter = counters.of("READ")
    for duration, errno_name in operations:
        if errno_name is None:
            counter.succeeded(duration, 7)
        else:
            counter.failed(duration, errno_name)
    totals = counters.totals()
    if not operations:
        assert totals == {}
        return
    total = totals["READ"]
    failed = [errno_name for _, errno_name in operations if errno_name is not None]
    assert total.count == len(operations) == sum(total.buckets)
    assert total.errors == {name: failed.count(name) for name in set(failed)}
    assert total.bytes == 7 * (len(operations) - len(failed))
    assert total.latency_ns_sum == sum(duration for duration, _ in operations)


def test_totals_are_a_copy() -> None:
    """What was handed out does not change afterwards."""
    counters = OpCounters()
    counters.of("READ").failed(1, "EIO")
    before = counters.totals()["READ"]
    counters.of("READ").failed(1, "EIO")
    assert before.count == 1
    assert before.errors == {"EIO": 1}
    assert sum(before.buckets) == 1
