"""Time as data: integer nanoseconds since the Unix epoch (UTC); durations are integer nanoseconds, too."""

from datetime import UTC, datetime
from functools import lru_cache

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@lru_cache(maxsize=8_192)
def parse_rfc3339(text: str | None) -> int | None:
    """Nanoseconds of an RFC 3339 time as Kubernetes writes it (`2026-01-02T03:04:05Z`, with or without fraction).

    None for None, for an empty string and for what is no time: a tracer does not fail on a server's odd value.
    """
    if not text:
        return None
    whole, dot, rest = text.partition(".")
    digits = 0
    if dot:
        while digits < len(rest) and rest[digits].isdecimal():
            digits += 1
        whole += rest[digits:]
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _ONE_SECOND
    fraction = int(rest[:digits][:9].ljust(9, "0")) if digits else 0
    return seconds * SECOND + fraction


def format_rfc3339(at: int) -> str:
    """`at` as RFC 3339 in UTC with milliseconds: `2026-01-02T03:04:05.678Z`."""
    moment = datetime.fromtimestamp(at // SECOND, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at % SECOND // MILLISECOND:03d}Z"


def format_duration(duration_ns: int | None) -> str:
    """A duration for people, two units at most: `1.9ms`, `0.4s`, `38s`, `4m12s`, `2h05m`, `9d`; `-` for None."""
    if duration_ns is None:
        return "-"
    if duration_ns < 0:
        return "-" + format_duration(-duration_ns)
    if duration_ns < MILLISECOND:
        return f"{duration_ns // MICROSECOND}us"
    if duration_ns < 99_950 * MICROSECOND:  # what is more is rounded to 100.0, one cell too wide
        return f"{duration_ns / MILLISECOND:.1f}ms"
    if duration_ns < 10 * SECOND:
        return f"{duration_ns / SECOND:.1f}s"
    seconds = duration_ns // SECOND
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    if seconds < 86400:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 86400}d"


_ONE_SECOND = datetime(1970, 1, 1, 0, 0, 1) - datetime(1970, 1, 1)
