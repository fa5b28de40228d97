"""Times, durations, sizes and sparklines in few cells."""

from collections.abc import Sequence

from csitrace.model.events import Stamp
from csitrace.model.fuse import UNBOUNDED_NS
from csitrace.model.times import DAY, SECOND, format_duration, format_rfc3339
from csitrace.tui.signs import AT_LATEST, STAMP

_LEVELS = "▁▂▃▄▅▆▇"  # not the full block: bars of lines below each other would run together


def clock_text(at: int) -> str:
    """`14:02:11.480`, UTC."""
    return format_rfc3339(at)[11:23]


def moment_text(at: int | None, stamp: Stamp, now: int, at_latest: bool = False) -> str:
    """A time of day (a date, where it is longer ago than a day), with the sign of a time that nobody saw pass."""
    if at is None:
        return "" if stamp is not Stamp.INFERRED else STAMP[stamp]
    text = format_rfc3339(at)
    shown = text[:10] if now - at >= DAY else text[11:23] if stamp is not Stamp.SERVER else text[11:19]
    return (AT_LATEST if at_latest else STAMP[stamp]) + shown


def latency_text(duration_ns: int | None) -> str:
    """A percentile: `1.0ms`; `>4.2s` where all that is known is that it was slower than any bound."""
    sign = ">" if duration_ns == UNBOUNDED_NS else ""
    return sign + format_duration(duration_ns)


def seconds_text(duration_ns: int) -> str:
    """A duration for what is drawn once a second: whole seconds."""
    return format_duration(duration_ns) if duration_ns >= 10 * SECOND else f"{max(duration_ns, 0) // SECOND}s"


def took_text(duration_ns: int | None, rough: bool) -> str:
    """How long a step took: `0.8s`; `≈2s`, give or take one, or `<1s` where the times that bound it are whole seconds."""
    if not duration_ns:
        return ""
    if not rough:
        return format_duration(duration_ns)
    return (
        f"{STAMP[Stamp.SERVER]}{seconds_text(duration_ns + SECOND // 2)}" if duration_ns >= SECOND else "<1s"
    )


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as bars of seven heights, the highest being the greatest of them; a blank for 0."""
    shown = values[-width:] if width > 0 else ()
    top = max(shown, default=0.0)
    return "".join(
        _LEVELS[min(int(value / top * len(_LEVELS)), len(_LEVELS) - 1)] if value > 0 and top else " "
        for value in shown
    )
