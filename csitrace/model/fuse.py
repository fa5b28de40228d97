"""What a FUSE connection and the daemon behind it are doing.

Latencies are counted in `BUCKETS` buckets: bucket *i* counts operations that took less than 2**i microseconds (and not less
than 2**(i-1)); the last counts all that were slower. Percentiles are therefore upper bounds, at most a factor of two too high.
"""

import errno as errno_module

import msgspec

BUCKETS = 24


class OpCount(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Operations of one kind over an interval (or since the start). `errors` maps errno names to counts."""

    count: int = 0
    errors: dict[str, int] = {}
    bytes: int = 0
    latency_ns_sum: int = 0
    buckets: tuple[int, ...] = ()

    def __add__(self, other: "OpCount") -> "OpCount":
        return OpCount(
            count=self.count + other.count,
            errors=_add_counts(self.errors, other.errors),
            bytes=self.bytes + other.bytes,
            latency_ns_sum=self.latency_ns_sum + other.latency_ns_sum,
            buckets=_add_buckets(self.buckets, other.buckets),
        )


class DaemonStatus(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The process that serves a FUSE connection.

    `state`: ps letter (R S D Z T) or "" when unknown; `cpu_ns`: CPU time used so far; `rss_bytes`: resident memory;
    `exited`: how it ended, e.g. "killed by SIGKILL", empty while it runs; `pod_uid`: the pod it runs in, empty where that is
    none or not known.
    """

    pid: int = 0
    name: str = ""
    state: str = ""
    started_at: int | None = None
    cpu_ns: int | None = None
    rss_bytes: int | None = None
    exited: str = ""
    pod_uid: str = ""


UNBOUNDED_NS = (1_000 << (BUCKETS - 2)) + 1
"""What stands for "slower than the last bound": 1 ns more than it."""


def percentile_ns(buckets: tuple[int, ...], fraction: float) -> int | None:
    """Upper bound in ns of the latency that `fraction` of the operations stayed below; None without operations.

    `UNBOUNDED_NS` where they were slower than any bound.
    """
    total = sum(buckets)
    if not total:
        return None
    wanted, seen = fraction * total, 0
    for index, count in enumerate(buckets):
        seen += count
        if count and seen >= wanted:
            return 1_000 << index if index < BUCKETS - 1 else UNBOUNDED_NS
    return None


def bucket_of(duration_ns: int) -> int:
    """Index of the bucket that counts an operation of this duration."""
    return min((duration_ns // 1_000).bit_length(), BUCKETS - 1)


def errno_name(number: int) -> str:
    """`ENOENT` for 2 (the sign does not matter); the number itself where it has no name."""
    return errno_module.errorcode.get(abs(number), str(abs(number)))


def _add_counts(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    if not left or not right:
        return left or right
    return {name: left.get(name, 0) + right.get(name, 0) for name in left | right}


def _add_buckets(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    if not left or not right:
        return left or right
    width = max(len(left), len(right))
    padded_left, padded_right = left + (0,) * (width - len(left)), right + (0,) * (width - len(right))
    return tuple(a + b for a, b in zip(padded_left, padded_right, strict=True))
