"""Counting operations: plain integers, incremented inline, a few tenths of a microsecond per operation."""

from driver_ref.fs.channel import BUCKET_COUNT, OpCount


class OpCounter:
    """The running totals of one operation; the meaning of each field is :class:`~driver_ref.fs.channel.OpCount`'s."""

    __slots__ = ("buckets", "bytes", "count", "errors", "latency_ns_sum")

    def __init__(self) -> None:
        self.count = 0
        self.errors: dict[str, int] = {}
        self.bytes = 0
        self.latency_ns_sum = 0
        self.buckets = [0] * BUCKET_COUNT

    def succeeded(self, duration_ns: int, size: int) -> None:
        """Count one operation that carried ``size`` bytes of data."""
        self.count += 1
        self.bytes += size
        self.latency_ns_sum += duration_ns
        self.buckets[bucket_of(duration_ns)] += 1

    def failed(self, duration_ns: int, errno_name: str) -> None:
        """Count one operation that was answered with an error."""
        self.succeeded(duration_ns, 0)
        self.errors[errno_name] = self.errors.get(errno_name, 0) + 1

    def total(self) -> OpCount:
        """A frozen copy of the totals."""
        return OpCount(self.count, dict(self.errors), self.bytes, self.latency_ns_sum, list(self.buckets))


def bucket_of(duration_ns: int) -> int:
    """The index of the first bucket whose bound (2**index microseconds) is above the duration, or the last."""
    return min((duration_ns // 1000).bit_length(), BUCKET_COUNT - 1)


class OpCounters:
    """One :class:`OpCounter` per operation, made when the file system is put together."""

    def __init__(self) -> None:
        self._by_op: dict[str, OpCounter] = {}

    def of(self, op: str) -> OpCounter:
        """The counter of one operation, to be kept by whoever counts."""
        return self._by_op.setdefault(op, OpCounter())

    def totals(self) -> dict[str, OpCount]:
        """The operations that have happened at least once."""
        return {op: counter.total() for op, counter in self._by_op.items() if counter.count}
