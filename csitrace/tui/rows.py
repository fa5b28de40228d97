"""The list of volumes: its columns, its orders, and which rows it shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from csitrace.lifecycle.filter import Filter
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.tui.columns import Column
from csitrace.tui.lines import Line, Tone, line, shorten_middle
from csitrace.tui.signs import PHASE_LETTERS, SEVERITY, phase_strip
from csitrace.tui.text import latency_text, seconds_text

FINDING_TONES = {Severity.STUCK: Tone.BAD, Severity.SLOW: Tone.UNKNOWN, Severity.UNKNOWN: Tone.UNKNOWN}


def _tone(row: VolumeRow) -> Tone:
    return Tone.DIM if row.severity is Severity.GONE else Tone.PLAIN


def _sign(row: VolumeRow, now: int, width: int) -> Line:
    return line(SEVERITY[row.severity])


def _claim(row: VolumeRow, now: int, width: int) -> Line:
    return line((shorten_middle(row.display_name, width), _tone(row)))


def _driver(row: VolumeRow, now: int, width: int) -> Line:
    return line((shorten_middle(row.driver, width), _tone(row)))


def _phases(row: VolumeRow, now: int, width: int) -> Line:
    return phase_strip(row.phases)


def _step(row: VolumeRow, now: int, width: int) -> Line:
    number = row.step_id if row.step_id[:1].isdigit() else "↩"
    return line((f"{number:>3} {row.step_title}", _tone(row)))


def _for(row: VolumeRow, now: int, width: int) -> Line:
    return line(("-" if row.since is None else seconds_text(now - row.since), _tone(row)))


def _node(row: VolumeRow, now: int, width: int) -> Line:
    return line((shorten_middle(" ".join(row.node_names) or "-", width), _tone(row)))


def _pod(row: VolumeRow, now: int, width: int) -> Line:
    if not row.pods:
        return line(("-", _tone(row)))
    more = f"({len(row.pods)})" if len(row.pods) > 1 else ""
    return line((shorten_middle(row.pods[0], max(width - len(more), 1)) + more, _tone(row)))


def _ops(row: VolumeRow, now: int, width: int) -> Line:
    told = row.ops_per_second is not None and row.severity is not Severity.GONE
    return line((f"{row.ops_per_second:,.0f}" if told else "-", _tone(row)))


def _p99(row: VolumeRow, now: int, width: int) -> Line:
    told = row.p99_ns if row.severity is not Severity.GONE else None
    return line((latency_text(told), _tone(row)))


def _finding(row: VolumeRow, now: int, width: int) -> Line:
    words = row.finding.removeprefix(f"{row.step_title}: ")  # STEP says it already
    return line((words, FINDING_TONES.get(row.severity, Tone.DIM)))


COLUMNS: tuple[Column[VolumeRow], ...] = (
    Column("", _sign, 1, 1),
    Column("CLAIM", _claim, 18, 20, weight=2),
    Column("DRIVER", _driver, 10, 16, priority=1, weight=1),
    Column(" ".join(PHASE_LETTERS), _phases, 7, 7),
    Column("STEP", _step, 14, 20, weight=1),
    Column("FOR", _for, 6, 6, right=True, ticks=True),
    Column("NODE", _node, 4, 9, priority=2),
    Column("POD", _pod, 8, 9, priority=3, weight=1),
    Column("OPS/s", _ops, 5, 6, priority=4, right=True),
    Column("p99", _p99, 5, 6, priority=5, right=True),
    Column("FINDING", _finding, 16, 30, weight=6),
)


@dataclass(frozen=True, slots=True)
class Order:
    """A way to sort the list; what is gone comes last in each. `key` depends on the row alone, not on the time."""

    name: str
    key: Callable[[VolumeRow], Any]


_NEVER = 1 << 62

ORDERS: tuple[Order, ...] = (
    Order("worst first", lambda row: (-row.severity, _NEVER if row.since is None else row.since, row.display_name, row.key)),
    Order("name", lambda row: (row.display_name, row.key)),
    Order("longest in its step", lambda row: (_NEVER if row.since is None else row.since, row.display_name, row.key)),
    Order("most operations", lambda row: (-(row.ops_per_second or 0), row.display_name, row.key)),
)  # fmt: skip


class Arrangement:
    """The rows to show, filtered and in order, kept from one moment to the next so that a small change costs little."""

    def __init__(self) -> None:
        self._rows: Sequence[VolumeRow] = ()
        self._order = ORDERS[0]
        self._shown: list[VolumeRow] = []
        self._places: dict[str, int] = {}  # by key, in `_shown`; empty while a filter hides some

    def arrange(
        self, rows: Sequence[VolumeRow], order: Order, chosen: Filter[VolumeRow], now: int
    ) -> Sequence[VolumeRow]:
        """The rows that pass, in order. The answer is another list than the last one, unless nothing changed."""
        if not self._replaced(rows, order, chosen):
            self._shown = sorted(rows, key=lambda row: (row.severity is Severity.GONE, order.key(row)))
            self._places = {row.key: place for place, row in enumerate(self._shown)}
            if chosen:
                self._shown = [row for row in self._shown if chosen.matches(row, now)]
                self._places = {}
        self._rows, self._order = rows, order
        return self._shown

    def _replaced(self, rows: Sequence[VolumeRow], order: Order, chosen: Filter[VolumeRow]) -> bool:
        """Put changed rows where the old ones were, if that is where they still belong; else False, and nothing is done."""
        if chosen or order is not self._order or len(rows) != len(self._rows) or not self._places:
            return False
        changed = [(old, new) for old, new in zip(self._rows, rows, strict=True) if old is not new]
        if any(old.key != new.key or order.key(old) != order.key(new) for old, new in changed):
            return False
        if changed:
            self._shown = list(self._shown)
            for _, new in changed:
                self._shown[self._places[new.key]] = new
        return True


def next_problem(rows: Sequence[VolumeRow], after: int) -> int | None:
    """Index of the next row that needs attention, after index `after` and around the end; None when all is well."""
    count = len(rows)
    for distance in range(1, count + 1):
        index = (after + distance) % count
        if rows[index].severity >= Severity.UNKNOWN:
            return index
    return None
