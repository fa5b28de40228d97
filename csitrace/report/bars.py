"""Histograms as text: one line of blocks, or a bar for each bucket."""

from collections.abc import Sequence

from csitrace.lifecycle.statistics import EDGES
from csitrace.model.times import MILLISECOND

BLOCKS, ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
"""From none to the fullest bucket of a row: what holds anything is never blank."""


def common_range(rows: Sequence[Sequence[int]], width: int) -> tuple[int, int, int]:
    """First bucket, last bucket (past it) that any row uses, and how many buckets make one of at most `width` cells."""
    used = [place for row in rows for place, count in enumerate(row) if count]
    if not used:
        return 0, 0, 1
    first, past = min(used), max(used) + 1
    return first, past, -(-(past - first) // max(1, width))


def line(buckets: Sequence[int], first: int, past: int, merged: int, *, ascii_only: bool = False) -> str:
    """One cell for each `merged` buckets, as high as it is full beside the fullest of the row."""
    cells = [sum(buckets[place : min(place + merged, past)]) for place in range(first, past, merged)]
    ramp, top = ASCII_BLOCKS if ascii_only else BLOCKS, max(cells, default=0)
    return "".join(ramp[-(-count * (len(ramp) - 1) // top)] if count else " " for count in cells)


def bars(buckets: Sequence[int], width: int, *, ascii_only: bool = False) -> list[str]:
    """A line for each bucket between the first and last that is used: its bounds, its bar, its count."""
    first, past, _ = common_range([buckets], len(buckets))
    top = max(buckets, default=0)
    lines = []
    for place in range(first, past):
        length = -(-buckets[place] * width // top)
        bar = ("#" if ascii_only else "█") * length
        lines.append(f"{bounds(place):>13} {bar:<{width}} {buckets[place]}".rstrip())
    return lines


def bounds(place: int) -> str:
    """`< 1ms`, `1-2ms`, `10-20s`."""
    if place == 0:
        return f"< {edge(EDGES[0])}"
    if place == len(EDGES):
        return f">= {edge(EDGES[-1])}"
    return f"{edge(EDGES[place - 1])}-{edge(EDGES[place])}"


def extent(first: int, past: int) -> str:
    """What the buckets from `first` to before `past` cover together: `0 to 20ms`; "" for none."""
    if first == past:
        return ""
    least = edge(EDGES[first - 1]) if first else "0"
    return (
        f"{least} to {edge(EDGES[past - 1])}" if past <= len(EDGES) else f"{least} to over {edge(EDGES[-1])}"
    )


def edge(duration_ns: int) -> str:
    """An edge of a bucket, which is a whole number of its unit."""
    ms = duration_ns // MILLISECOND
    return f"{ms}ms" if ms < 1000 else f"{ms // 1000}s"
