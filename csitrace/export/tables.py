"""Tables in CSV (RFC 4180): the spans, or the steps, of all volumes. Times are RFC 3339, durations milliseconds."""

import csv
import io
from collections.abc import Iterator, Sequence

from csitrace.lifecycle.chronicle import Chronicle, Life
from csitrace.model.times import MILLISECOND, format_rfc3339

Row = tuple[str | int | float, ...]

_ABOUT = ("namespace", "volume", "pv", "driver", "storage_class")
SPAN_COLUMNS = (*_ABOUT, "span", "node", "outcome", "attempts", "started_at", "ended_at", "duration_ms")
STEP_COLUMNS = (
    *_ABOUT,
    "road",
    "pod",
    "node",
    "step",
    "title",
    "actor",
    "status",
    "at",
    "time_from",
    "took_ms",
    "note",
)

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet would take for the beginning of a formula."""


def span_table(told: Chronicle) -> Iterator[bytes]:
    """One line per span of each volume."""
    yield _line(SPAN_COLUMNS)
    for life in told.lives:
        for span in life.spans:
            took = span.ended_at - span.started_at if span.ended_at is not None else None
            yield _line(
                (
                    *_about(life), span.name, span.node_name, span.outcome or "open", span.attempts,
                    format_rfc3339(span.started_at), _time(span.ended_at), _milliseconds(took),
                )
            )  # fmt: skip


def step_table(told: Chronicle) -> Iterator[bytes]:
    """One line per step of each road of each volume. `time_from`: where the time comes from, as in the trace format."""
    yield _line(STEP_COLUMNS)
    for life in told.lives:
        for way in life.ways:
            for step in way.steps:
                yield _line(
                    (
                        *_about(life), way.name, way.pod, way.node_name, step.step_id, step.title, step.actor,
                        step.status.value, _time(step.at), step.stamp.value if step.at is not None else "",
                        _milliseconds(step.took_ns), step.note,
                    )
                )  # fmt: skip


def _about(life: Life) -> Row:
    volume = life.volume
    return volume.namespace, volume.name, volume.pv_name, volume.driver, life.row.storage_class


def _time(at: int | None) -> str:
    return format_rfc3339(at) if at is not None else ""


def _milliseconds(duration_ns: int | None) -> float | str:
    return duration_ns / MILLISECOND if duration_ns is not None else ""


def _line(cells: Sequence[str | int | float]) -> bytes:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\r\n").writerow([_safe(cell) for cell in cells])
    return written.getvalue().encode("utf-8", "replace")


def _safe(cell: str | int | float) -> str | int | float:
    """A text that no spreadsheet takes for a formula: an apostrophe before it says so."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell
