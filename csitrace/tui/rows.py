"""The list of volumes: its columns and its orders."""

from collections.abc import Callable
from typing import Any

from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.tui.arrangement import Order
from csitrace.tui.columns import Column
from csitrace.tui.lines import Line, Tone, line, shorten_middle
from csitrace.tui.signs import PHASE_LETTERS, SEVERITY, phase_strip
from csitrace.tui.steps import ROAD_SIGNS
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
    number = row.step_id if row.step_id[:1].isdigit() else ROAD_SIGNS.get(row.step_id[:1], "")
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
    Column("NODE", _node, 4, 10, priority=2, weight=1),
    Column("POD", _pod, 8, 9, priority=3, weight=1),
    Column("OPS/s", _ops, 5, 6, priority=4, right=True),
    Column("p99", _p99, 5, 6, priority=5, right=True),
    Column("FINDING", _finding, 16, 30, weight=6),
)


_NEVER = 1 << 62


def _order(name: str, key: Callable[[VolumeRow], tuple[Any, ...]]) -> Order[VolumeRow]:
    """What is gone comes last in each; what is equal, by name."""
    return Order(name, lambda row: (row.severity is Severity.GONE, *key(row), row.display_name, row.key))


def _since(row: VolumeRow) -> int:
    return _NEVER if row.since is None else row.since


ORDERS: tuple[Order[VolumeRow], ...] = (
    _order("worst first", lambda row: (-row.severity, _since(row))),
    _order("name", lambda row: ()),
    _order("longest in its step", lambda row: (_since(row),)),
    _order("most operations", lambda row: (-(row.ops_per_second or 0),)),
)
