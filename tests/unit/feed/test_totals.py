"""Counts as totals and as differences."""

from hypothesis import given
from hypothesis import strategies as st

from csitrace.feed import totals
from csitrace.model.events import FuseCounted
from csitrace.model.fuse import OpCount
from tests.unit.feed.strategies import op_counts

all_ops = st.dictionaries(st.sampled_from(["READ", "WRITE", "LOOKUP"]), op_counts, max_size=3)


def counted(ops: totals.Ops, volume_id: str = "v", interval_ns: int = 0) -> FuseCounted:
    return FuseCounted(node_name="n", connection=7, volume_id=volume_id, interval_ns=interval_ns, ops=ops)


@given(earlier=all_ops, interval=all_ops)
def test_what_was_added_is_what_is_new_since(earlier: totals.Ops, interval: totals.Ops) -> None:
    """What an interval added to a total is what the total has more than before, and nothing else is told."""
    later = totals.add(earlier, interval)
    new = totals.since(earlier, later)
    assert new is not None
    assert totals.add(earlier, new) == later
    assert new.keys() == interval.keys()


@given(earlier=all_ops, later=all_ops)
def test_differences_are_never_negative(earlier: totals.Ops, later: totals.Ops) -> None:
    """Either the later totals cover the earlier ones, or it is said that they do not."""
    new = totals.since(earlier, later)
    if new is None:
        assert any(op not in later or later[op] != count for op, count in earlier.items())
    else:
        assert all(
            count.count >= 0 and count.bytes >= 0 and min(count.buckets, default=0) >= 0
            for count in new.values()
        )


def test_a_count_that_went_down_is_another_daemon() -> None:
    """A daemon that was restarted counts from zero: there is no difference to tell."""
    assert totals.moved(counted({"READ": OpCount(count=5)}), counted({"READ": OpCount(count=4)})) is None


def test_a_connection_number_that_comes_back_is_another_daemon() -> None:
    """Minor numbers are used again: totals of another volume are neither added to nor subtracted from."""
    first, second = counted({"READ": OpCount(count=5)}), counted({"READ": OpCount(count=9)}, volume_id="w")
    assert totals.moved(first, second) is None
    assert totals.joined(first, second) == second


def test_the_interval_is_the_time_between_two_totals() -> None:
    """Totals over 10 ns and over 25 ns differ by an interval of 15 ns, which, added again, gives 25."""
    first = counted({"READ": OpCount(count=5)}, interval_ns=10)
    second = counted({"READ": OpCount(count=8)}, interval_ns=25)
    moved = totals.moved(first, second)
    assert moved == counted({"READ": OpCount(count=3)}, interval_ns=15)
    assert totals.joined(first, moved) == second
