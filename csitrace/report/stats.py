"""`csitrace stats`: how long each span and step took, as a table or for programs. The JSON's names are a contract."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from csitrace.lifecycle.samples import SPAN, Doubt, Gathered
from csitrace.lifecycle.statistics import EDGES, GroupKey, Summary
from csitrace.model.times import MILLISECOND, format_duration, format_rfc3339
from csitrace.report.bars import bars, common_range, extent, line
from csitrace.report.lines import one_line

WIDTH = 80
NAME_WIDTH = 26
BAR_WIDTH = 40


@dataclass(frozen=True, slots=True)
class StatsReport:
    """What is told: the rows of a recording called `title`; `by`: what they are grouped by; `wanted`: the filter."""

    title: str
    gathered: Gathered
    rows: Sequence[Summary]
    by: Sequence[str] = ()
    wanted: str = ""
    ascii_only: bool = False


def stats_table(report: StatsReport) -> str:
    """A line a row, with its histogram as blocks, in 80 columns; groups have a heading of their own."""
    return _text(report, _narrow)


def stats_wide(report: StatsReport) -> str:
    """The same, in full: below each row its outcomes, and a bar for each bucket."""
    return _text(report, _wide)


def _text(report: StatsReport, tell: Callable[[StatsReport, Sequence[Summary]], list[str]]) -> str:
    if not report.rows:
        return nothing(report)
    gathered = report.gathered
    lines = [
        one_line(
            f"{report.title}: {gathered.events} events, {format_rfc3339(gathered.first_at)}, "
            f"{format_duration(gathered.last_at - gathered.first_at)}"
        )
    ]
    groups: dict[tuple[str, ...], list[Summary]] = {}
    for row in report.rows:
        groups.setdefault(row.key.group, []).append(row)
    for group, rows in sorted(groups.items()):
        lines += ["", one_line(group_text(report.by, group))] if group else [""]
        lines += tell(report, rows)
    return "\n".join([*lines, *_left_out(report.rows)])


def nothing(report: StatsReport) -> str:
    """What is said where there is no row."""
    if report.wanted and report.gathered.samples:
        return one_line(f"{report.title}: no span and no step matches {report.wanted}")
    return one_line(f"{report.title}: no span and no step in its {report.gathered.events} events")


def group_text(by: Sequence[str], group: Sequence[str]) -> str:
    """`class fast, node n1`; what has no value is `-`."""
    return ", ".join(f"{name} {value or '-'}" for name, value in zip(by, group, strict=True))


def clipped(text: str, width: int, *, ascii_only: bool = False) -> str:
    """The text in `width` columns, cut visibly."""
    text = one_line(text)
    if len(text) <= width:
        return text.ljust(width)
    mark = "~" if ascii_only else "…"
    return text[: width - 1] + mark


_NUMBERS = f"{'N':>6} {'P50':>6} {'P95':>6} {'MAX':>6} {'RETRY':>6} {'NOT OK':>6}"


def _narrow(report: StatsReport, rows: Sequence[Summary]) -> list[str]:
    room = WIDTH - NAME_WIDTH - 1 - len(_NUMBERS) - 2
    first, past, merged = common_range([row.buckets for row in report.rows], room)
    lines = [f"{'SPAN, STEP':<{NAME_WIDTH}} {_NUMBERS}  {extent(first, past)}".rstrip()]
    for row in rows:
        name = clipped(row.key.title, NAME_WIDTH, ascii_only=report.ascii_only)
        cells = line(row.buckets, first, past, merged, ascii_only=report.ascii_only)
        lines.append(f"{name} {_numbers(row)}  {cells}".rstrip())
    return lines


def _wide(report: StatsReport, rows: Sequence[Summary]) -> list[str]:
    width = max(len(row.key.title) for row in rows)
    lines = []
    for row in rows:
        lines.append(f"{'SPAN, STEP':<{width}} {_NUMBERS}")
        lines.append(f"{row.key.title:<{width}} {_numbers(row)}")
        told = [f"{count} {outcome}" for outcome, count in row.outcomes.items()]
        if row.key.kind == SPAN:
            lines.append(f"    ended: {', '.join(told)}")
        if row.errors:
            lines.append(
                "    tries that failed: " + ", ".join(f"{count} {code}" for code, count in row.errors.items())
            )
        lines += bars(row.buckets, BAR_WIDTH, ascii_only=report.ascii_only)
        lines.append("")
    return lines[:-1]


def _numbers(row: Summary) -> str:
    times = " ".join(f"{format_duration(value):>6}" for value in (row.p50, row.p95, row.max))
    is_span = row.key.kind == SPAN
    return f"{row.n:>6} {times} {row.retries if is_span else '-':>6} {row.not_ok if is_span else '-':>6}"


def _left_out(rows: Sequence[Summary]) -> list[str]:
    """What is not among the measured, and why."""
    counts = {doubt: sum(row.doubts.get(doubt, 0) for row in rows) for doubt in Doubt if doubt}
    told = [f"{count} {doubt.value}" for doubt, count in counts.items() if count]
    lines = ["not measured: " + ", ".join(told)] if told else []
    if counts[Doubt.WHOLE_SECONDS]:
        lines.append("(--whole-seconds counts those, each of which may be wrong by a second)")
    if not_ok := sum(row.not_ok for row in rows if row.key.kind == SPAN):
        lines.append(f"not ok: {not_ok}, given up or not over at the end; in no P50, P95 or MAX")
    return ["", *lines] if lines else []


def stats_record(report: StatsReport) -> dict[str, Any]:
    """Everything as values; durations are milliseconds, what is not known is null."""
    gathered = report.gathered
    return {
        "recording": report.title,
        "events": gathered.events,
        "from": format_rfc3339(gathered.first_at) if gathered.events else None,
        "to": format_rfc3339(gathered.last_at) if gathered.events else None,
        "by": list(report.by),
        "filter": report.wanted,
        "bucketEdgesMs": [value // MILLISECOND for value in EDGES],
        "rows": [{**key_record(row.key, report.by), **summary_record(row)} for row in report.rows],
    }


def key_record(key: GroupKey, by: Sequence[str]) -> dict[str, Any]:
    """What a row is about: `{"kind": "span", "name": "attach", "title": …, "group": {"class": "fast"}}`."""
    group = dict(zip(by, key.group, strict=True))
    return {"kind": key.kind, "name": key.name, "title": key.title, "group": group}


def summary_record(row: Summary) -> dict[str, Any]:
    """The numbers of a row."""
    return {
        "seen": row.seen,
        "n": row.n,
        "p50Ms": ms(row.p50),
        "p95Ms": ms(row.p95),
        "maxMs": ms(row.max),
        "retries": row.retries,
        "outcomes": dict(row.outcomes),
        "errors": dict(row.errors),
        "notMeasured": {doubt.value: count for doubt, count in row.doubts.items()},
        "buckets": list(row.buckets),
    }


def ms(duration_ns: int | None) -> float | None:
    return duration_ns / MILLISECOND if duration_ns is not None else None


def stats_json(report: StatsReport) -> str:
    return msgspec.json.format(msgspec.json.encode(stats_record(report)), indent=2).decode()


STATS_FORMS: dict[str, Callable[[StatsReport], str]] = {
    "table": stats_table,
    "wide": stats_wide,
    "json": stats_json,
}
"""How statistics can be printed, by what `-o` calls it."""
