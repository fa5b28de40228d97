"""Changes as lines: text for people and grep, JSON and YAML for programs, whose names are a contract."""

from collections.abc import Callable
from typing import Any

import msgspec

from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.lifecycle.witnesses import PHASE_NAMES
from csitrace.model.times import MILLISECOND, format_duration, format_rfc3339
from csitrace.report.changes import Change, What

LEVELS = {
    Severity.GONE: "GONE",
    Severity.OK: "OK",
    Severity.WAITING: "WAITING",
    Severity.MOVING: "MOVING",
    Severity.UNKNOWN: "UNKNOWN",
    Severity.SLOW: "SLOW",
    Severity.STUCK: "STUCK",
}


def text_line(change: Change, now: int) -> str:
    """`14:02:11.480Z STUCK   shop/orders-data  13 ControllerPublishVolume  4m12s  n3  attach refused: …`"""
    return _text(change, now, ())


def wide_line(change: Change, now: int) -> str:
    """The same, with the pods, driver, class, PV, and who is waited for, before the finding."""
    row = change.row
    holder = f"held by {row.verdict.holder}" if row.verdict.holder else ""
    return _text(change, now, (",".join(row.pods), row.driver, row.storage_class, row.pv_name, holder))


def _text(change: Change, now: int, more: tuple[str, ...]) -> str:
    row, took = change.row, time_in_step_before(change)
    parts = [
        format_rfc3339(now)[11:],
        f"{LEVELS[row.severity]:<7}",
        row.display_name,
        f"{row.step_id} {row.step_title}" if change.what is not What.GONE else "gone",
        f"after {format_duration(took)}" if took is not None else "",
        ",".join(row.node_names),
        *more,
        row.finding,
    ]
    return one_line("  ".join(part for part in parts if part))


def json_line(change: Change, now: int) -> str:
    """One JSON object: times are RFC 3339, durations milliseconds, what is not known is null."""
    return msgspec.json.encode(record(change, now)).decode()


def yaml_document(change: Change, now: int) -> str:
    """The same as one document of a YAML stream."""
    return "---\n" + msgspec.yaml.encode(record(change, now)).decode().rstrip("\n")


LINES: dict[str, Callable[[Change, int], str]] = {
    "lines": text_line,
    "wide": wide_line,
    "json": json_line,
    "yaml": yaml_document,
}
"""How a change can be printed, by what `-o` calls it."""


def record(change: Change, now: int) -> dict[str, Any]:
    """The fields of the JSON line: the change, and the volume after it."""
    before, took = change.before, time_in_step_before(change)
    return {
        "time": format_rfc3339(now),
        "change": change.what.value,
        **volume_record(change.row),
        "previousStep": before.step_id if before is not None else None,
        "previousSeverity": LEVELS[before.severity].lower() if before is not None else None,
        "previousStepMs": took / MILLISECOND if took is not None else None,
    }


def volume_record(row: VolumeRow) -> dict[str, Any]:
    """One volume, as JSON and YAML tell it."""
    return {
        "namespace": row.namespace,
        "claim": row.name,
        "pv": row.pv_name,
        "driver": row.driver,
        "storageClass": row.storage_class,
        "phase": phase_reached(row),
        "stage": row.stage,
        "step": row.step_id,
        "stepTitle": row.step_title,
        "since": format_rfc3339(row.since) if row.since is not None else None,
        "nodes": list(row.node_names),
        "pods": list(row.pods),
        "severity": LEVELS[row.severity].lower(),
        "holder": row.verdict.holder,
        "finding": row.finding,
        "next": row.verdict.command,
    }


def phase_reached(row: VolumeRow) -> str | None:
    """The furthest CSI state it is in; None where it is in none."""
    reached = [
        name for name, status in zip(PHASE_NAMES, row.phases, strict=True) if status is StepStatus.DONE
    ]
    return reached[-1] if reached else None


def time_in_step_before(change: Change) -> int | None:
    """For how long (ns) it stood at the step it has left; None where it left none, or the times are not known."""
    before, since = change.before, change.row.since
    if change.what is not What.STEP or before is None or before.since is None or since is None:
        return None
    return since - before.since if since > before.since else None


def one_line(text: str) -> str:
    """Without what would break the line or steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
