"""The time bar: when how much happened, what was marked, when something had failed, and where the playhead is."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import log1p

from csitrace.lifecycle.history import History
from csitrace.model.times import DAY, format_duration, format_rfc3339
from csitrace.tui.lines import Line, Span, Tone, fit, line, width_of
from csitrace.tui.text import sparkline

_LABEL = 10
"""Cells of a date, `2026-01-02`; a time of day is shorter."""

PLAYHEAD, MARK, FAILED, STILL_FAILED = "▲", "◆", "✗", "╌"
_LEGIBLE = 4  # a mark's name in fewer cells says nothing


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole time line in `cells` cells. `counts`: facts in each; `failing`: whether a step of some volume had failed then;
    `marks`: (cell, text); `note`: what else is to be said of it, e.g. that it is still loading."""

    first: int
    last: int
    at: int
    counts: tuple[int, ...]
    failing: tuple[bool, ...] = ()
    marks: tuple[tuple[int, str], ...] = ()
    note: str = ""

    @property
    def cells(self) -> int:
        return len(self.counts)

    def cell_of(self, at: int) -> int:
        """The cell that a time lies in, or the nearest one."""
        return min(max((at - self.first) * self.cells // (self.last - self.first + 1), 0), self.cells - 1)

    def time_of(self, cell: int) -> int:
        """The time (ns) with which a cell begins; the last one stands for the end, so that a click reaches both ends."""
        if cell >= self.cells - 1:
            return self.last
        return self.first + max(cell, 0) * (self.last - self.first + 1) // self.cells


def bar_cells(width: int) -> int:
    """How many cells are left between the labels."""
    return max(width - 2 * _LABEL - 4, 1)


def bar_begins() -> int:
    """The column of the first cell."""
    return _LABEL + 2


def timeline(history: History, at: int, cells: int, note: str = "") -> Timeline:
    """The time line of a history with the playhead at a time (ns)."""
    first, last = history.log.span()
    edges = [first + cell * (last - first + 1) // cells for cell in range(cells + 1)]
    counts = tuple(history.log.counts(edges))
    empty = Timeline(first, last, at, counts)
    marks = tuple((empty.cell_of(_time(history, seq)), text) for seq, text in history.marks)
    return Timeline(first, last, at, counts, tuple(_failing(history, edges)), marks, note)


def timeline_lines(shown: Timeline, width: int) -> list[Line]:
    """Two lines: the density of facts between the times of both ends; under it playhead, marks and failures."""
    here = shown.cell_of(shown.at)
    bars = sparkline([log1p(count) for count in shown.counts], shown.cells)  # a burst hides nothing
    density: list[Span] = []
    for cell, bar in enumerate(bars):
        tone = Tone.STRONG if cell == here else Tone.BAD if _at(shown.failing, cell) else Tone.MOVING
        density.append(
            (
                "┃" if cell == here else bar if bar.strip() else "·",
                tone if bar.strip() or cell == here else Tone.DIM,
            )
        )
    begins, ends = format_rfc3339(shown.first), format_rfc3339(shown.last)
    lasts = format_duration(shown.last - shown.first)
    end_label = ends[:10] if shown.last - shown.first >= DAY or begins[:10] != ends[:10] else lasts
    upper = line(
        " ", fit(line(begins[11:19]), _LABEL), " ", tuple(density), " ", fit(line(ends[11:19]), _LABEL)
    )
    lower = line(
        " ",
        fit(line((begins[:10], Tone.DIM)), _LABEL),
        " ",
        _signs(shown, here),
        " ",
        fit(line((end_label, Tone.DIM)), _LABEL),
    )
    return [fit(upper, width), fit(lower, width)]


def _signs(shown: Timeline, here: int) -> Line:
    """What stands under each cell; names of marks where there is room for them, else the note."""
    signs: dict[int, Span] = {
        cell: (FAILED, Tone.BAD) for cell in range(shown.cells) if _begins(shown.failing, cell)
    }
    names = dict(shown.marks)
    signs |= dict.fromkeys(names, (MARK, Tone.TITLE))
    signs[here] = (PLAYHEAD, Tone.STRONG)
    spans: list[Span] = []
    for cell in range(shown.cells):
        if cell < (used := width_of(tuple(spans))):
            continue
        if (sign := signs.get(cell)) is None:
            spans.append((STILL_FAILED, Tone.BAD) if _at(shown.failing, cell) else (" ", Tone.PLAIN))
            continue
        spans.append(sign)
        room = min((other for other in signs if other > used), default=shown.cells + 1) - used - 2
        text = names.get(cell, "")
        if text and room >= min(width_of(line(text)), _LEGIBLE):
            spans += fit(line((text, Tone.DIM)), min(room, width_of(line(text))))
    whole = tuple(spans)
    if shown.note:
        note = line((f" {shown.note}", Tone.UNKNOWN))
        while whole and width_of(whole) + width_of(note) > shown.cells:
            whole = whole[:-1]
        whole = line(fit(whole, max(shown.cells - width_of(note), 0)), note)
    return fit(whole, shown.cells)


def _failing(history: History, edges: list[int]) -> Iterable[bool]:
    """For each cell, whether some step had failed at any time in it."""
    told = [(_time(history, seq), failing) for seq, failing in history.failures]
    times = [at for at, _ in told]
    for start, end in pairwise(edges):
        before, within = bisect_right(times, start), bisect_right(times, end - 1)
        yield (before > 0 and told[before - 1][1]) or any(failing for _, failing in told[before:within])


def _time(history: History, seq: int) -> int:
    at = history.log.time_of(seq)
    return at if at is not None else history.log.span()[0]


def _at(flags: tuple[bool, ...], cell: int) -> bool:
    return cell < len(flags) and flags[cell]


def _begins(flags: tuple[bool, ...], cell: int) -> bool:
    """Whether it is so in this cell, and was not in the one before."""
    return _at(flags, cell) and not (cell > 0 and flags[cell - 1])
