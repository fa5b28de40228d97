"""A volume's spans as a picture: bars along its own time, as SVG that stands in a page above the table of the same spans."""

from collections.abc import Callable, Iterator, Sequence

from csitrace.export.page.escaping import plain
from csitrace.lifecycle.views import SpanView
from csitrace.model.times import format_duration

WIDTH, LEFT, RIGHT, ROW, TOP = 1080, 190, 120, 24, 26
"""In the picture's own units: all, the names' and the durations' columns, one bar's height, the axis's."""

TICKS = 5
SHOWN = 200


def waterfall(spans: Sequence[SpanView], now: int, title: str) -> Iterator[str]:
    """The picture; nothing where there is nothing to draw. `now`: where open spans end."""
    shown = spans[:SHOWN]
    if not shown:
        return
    first = min(span.started_at for span in shown)
    last = max(max(_end(span, now) for span in shown), first + 1)
    height = TOP + ROW * len(shown) + 6

    def x(at: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - first) / (last - first)

    yield (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{plain(title)}"'
        f' width="{WIDTH}" height="{height}">'
    )
    for tick in range(TICKS + 1):
        at = first + (last - first) * tick // TICKS
        label = format_duration(at - first) if tick else "0"
        yield f'<line class="grid" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{TOP - 6}" y2="{height}"/>'
        yield f'<text class="axis" x="{x(at):.1f}" y="12" text-anchor="middle">{label}</text>'
    for number, span in enumerate(shown):
        yield from _bar(span, TOP + ROW * number, x, now)
    yield "</svg>"
    if len(shown) < len(spans):
        yield f'<p class="quiet">{len(spans) - len(shown)} later spans are in the table only.</p>'


def _bar(span: SpanView, y: int, x: Callable[[int], float], now: int) -> Iterator[str]:
    end = _end(span, now)
    width = max(x(end) - x(span.started_at), 2)
    kind = "bar" if span.outcome == "ok" else "bar open" if not span.outcome else "bar bad"
    name = f"{span.name} {span.node_name}".rstrip()
    took = format_duration(end - span.started_at) if span.ended_at is not None else "open"
    tries = f" ×{span.attempts}" if span.attempts > 1 else ""
    short = name if len(name) <= 24 else f"{name[:23]}…"
    yield f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{plain(short)}</text>'
    yield f'<rect class="{kind}" x="{x(span.started_at):.1f}" y="{y + 4}" width="{width:.1f}" height="{ROW - 9}" rx="2"/>'
    for mark in span.retry_marks[1:]:
        yield f'<line class="try" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{y + 4}" y2="{y + ROW - 5}"/>'
    yield f'<text x="{x(span.started_at) + width + 6:.1f}" y="{y + 15}">{plain(took + tries)}</text>'


def _end(span: SpanView, now: int) -> int:
    return max(span.ended_at if span.ended_at is not None else now, span.started_at)
