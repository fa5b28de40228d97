"""`csitrace diff`: what differs between two recordings, as a table or for programs. The JSON's names are a contract."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from csitrace.lifecycle.comparison import DIFFERENT, FEW, LEVEL, WORSE, Difference, Verdict
from csitrace.model.times import format_duration
from csitrace.report.lines import one_line
from csitrace.report.stats import clipped, group_text, key_record, summary_record

NAME_WIDTH = 22


@dataclass(frozen=True, slots=True)
class DiffReport:
    """What is told: the rows of the recordings called `a` and `b`; `by`: what they are grouped by."""

    a: str
    b: str
    rows: Sequence[Difference]
    by: Sequence[str] = ()
    wanted: str = ""
    ascii_only: bool = False

    @property
    def is_worse(self) -> bool:
        """Something got slower or fails more often."""
        return any(row.verdict in WORSE for row in self.rows)


def diff_table(report: DiffReport) -> str:
    """What differs, and one line of what does not."""
    return _text(report, [row for row in report.rows if row.verdict in DIFFERENT])


def diff_wide(report: DiffReport) -> str:
    """Every row, with its verdict."""
    return _text(report, report.rows)


def _text(report: DiffReport, rows: Sequence[Difference]) -> str:
    lines = [one_line(f"A {report.a}"), one_line(f"B {report.b}")]
    if not report.rows:
        passes = f" that passes {report.wanted}" if report.wanted else ""
        return "\n".join([*lines, one_line(f"neither has a span or a step{passes}")])
    if rows:
        lines += ["", f"{'SPAN, STEP':<{NAME_WIDTH}} {'N A, B':>11} {'P50 A, B':>13} {'P95 A, B':>13}  B IS"]
    for row in rows:
        name = clipped(row.key.title, NAME_WIDTH, ascii_only=report.ascii_only)
        pairs = [
            f"{row.a.n:>5} {row.b.n:>5}",
            *(
                f"{format_duration(a):>6} {format_duration(b):>6}"
                for a, b in ((row.a.p50, row.b.p50), (row.a.p95, row.b.p95))
            ),
        ]
        lines.append(f"{name} {' '.join(pairs)}  {sentence(row)}")
        if row.key.group:
            lines.append(one_line(f"    {group_text(report.by, row.key.group)}"))
        if row.verdict is Verdict.FAILS:
            newly = "newly fails" if row.newly_fails else "fails more often"
            codes = f" ({', '.join(row.b.errors)})" if row.b.errors else ""
            lines.append(
                f"    {newly}: {row.failed_a} of {row.a.seen}, {row.failed_b} of {row.b.seen}{codes}"
            )
        elif row.verdict is Verdict.MENDED:
            lines.append(f"    failed: {row.failed_a} of {row.a.seen}, {row.failed_b} of {row.b.seen}")
    return "\n".join([*lines, "", _rest(report.rows)])


def sentence(row: Difference) -> str:
    """`slower x3.0`, `tail slower x8.1`, `fails`, `too few to tell`."""
    if row.verdict not in (Verdict.SLOWER, Verdict.FASTER):
        return row.verdict.value
    before, after = (row.a.p95, row.b.p95) if row.tail_only else (row.a.p50, row.b.p50)
    words = f"tail {row.verdict.value}" if row.tail_only else row.verdict.value
    if not before or after is None:
        return words
    ratio = after / before
    return f"{words} x{ratio:.2g}" if ratio < 10 else f"{words} x{ratio:.0f}"


def _rest(rows: Sequence[Difference]) -> str:
    counts = Counter(row.verdict for row in rows)
    different = sum(counts[verdict] for verdict in DIFFERENT)
    told = [
        f"{different or 'nothing'} of {len(rows)} differs"
        if different <= 1
        else f"{different} of {len(rows)} differ"
    ]
    told += [f"{counts[Verdict.SAME]} no more than chance makes"] if counts[Verdict.SAME] else []
    told += [f"{counts[Verdict.TOO_FEW]} too few to tell (n < {FEW})"] if counts[Verdict.TOO_FEW] else []
    told += [f"{counts[side]} {side.value}" for side in (Verdict.GONE, Verdict.NEW) if counts[side]]
    return ", ".join(told)


def diff_record(report: DiffReport) -> dict[str, Any]:
    """Everything as values; durations are milliseconds, what is not known is null."""
    return {
        "a": report.a,
        "b": report.b,
        "by": list(report.by),
        "filter": report.wanted,
        "level": LEVEL,
        "worse": report.is_worse,
        "rows": [
            {
                **key_record(row.key, report.by),
                "verdict": row.verdict.value,
                "newlyFails": row.newly_fails,
                "tailOnly": row.tail_only,
                "a": {**summary_record(row.a), "failed": row.failed_a},
                "b": {**summary_record(row.b), "failed": row.failed_b},
                "newErrors": list(row.new_errors),
                "pTypical": row.p_typical,
                "pTail": row.p_tail,
                "pFailures": row.p_failures,
            }
            for row in report.rows
        ],
    }


def diff_json(report: DiffReport) -> str:
    return msgspec.json.format(msgspec.json.encode(diff_record(report)), indent=2).decode()


DIFF_FORMS: dict[str, Callable[[DiffReport], str]] = {
    "table": diff_table,
    "wide": diff_wide,
    "json": diff_json,
}
"""How a comparison can be printed, by what `-o` calls it."""
