"""FUSE operation counts as running totals and as differences between them; both sides of the feed keep them."""

import msgspec

from csitrace.model.events import FuseCounted
from csitrace.model.fuse import OpCount

Ops = dict[str, OpCount]


def add(left: Ops, right: Ops) -> Ops:
    """Both together, by kind of operation."""
    return {op: left.get(op, OpCount()) + right.get(op, OpCount()) for op in left | right}


def since(earlier: Ops, later: Ops) -> Ops | None:
    """What happened between two totals of one daemon: the kinds that moved.

    None where any count went down: then another daemon began to count anew, and all of `later` is its own.
    """
    if any(not _covers(later.get(op, OpCount()), count) for op, count in earlier.items()):
        return None
    return {
        op: _minus(count, earlier[op]) if op in earlier else count
        for op, count in later.items()
        if count != earlier.get(op, OpCount())
    }


def moved(earlier: FuseCounted, later: FuseCounted) -> FuseCounted | None:
    """`later` less `earlier`, both totals of one connection, as counts of the interval between them.

    None where they are of different daemons: the connection's number came back with another volume, or a count went down.
    """
    ops = since(earlier.ops, later.ops) if earlier.volume_id == later.volume_id else None
    if ops is None:
        return None
    return msgspec.structs.replace(
        later, ops=ops, interval_ns=max(0, later.interval_ns - earlier.interval_ns)
    )


def joined(earlier: FuseCounted, interval: FuseCounted) -> FuseCounted:
    """Totals of a connection after another interval; another volume begins anew."""
    if earlier.volume_id != interval.volume_id:
        return interval
    return msgspec.structs.replace(
        interval, ops=add(earlier.ops, interval.ops), interval_ns=earlier.interval_ns + interval.interval_ns
    )


def _covers(later: OpCount, earlier: OpCount) -> bool:
    return (
        later.count >= earlier.count
        and later.bytes >= earlier.bytes
        and later.latency_ns_sum >= earlier.latency_ns_sum
        and all(later.errors.get(name, 0) >= count for name, count in earlier.errors.items())
        and len(later.buckets) >= len(earlier.buckets)
        and all(a >= b for a, b in zip(later.buckets, earlier.buckets, strict=False))
    )


def _minus(later: OpCount, earlier: OpCount) -> OpCount:
    before = earlier.buckets + (0,) * (len(later.buckets) - len(earlier.buckets))
    errors = {name: count - earlier.errors.get(name, 0) for name, count in later.errors.items()}
    return OpCount(
        count=later.count - earlier.count,
        errors={name: count for name, count in errors.items() if count},
        bytes=later.bytes - earlier.bytes,
        latency_ns_sum=later.latency_ns_sum - earlier.latency_ns_sum,
        buckets=tuple(a - b for a, b in zip(later.buckets, before, strict=True)),
    )
