"""The list of volumes at one moment, as `kubectl get` would print it, or for programs. The JSON's names are a contract."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from csitrace.lifecycle.state import State
from csitrace.lifecycle.views import VolumeRow
from csitrace.model.times import format_duration, format_rfc3339
from csitrace.report.lines import LEVELS, one_line, volume_record
from csitrace.report.silence import silences

Cell = Callable[[VolumeRow, int], str]

COLUMNS: tuple[tuple[str, Cell], ...] = (
    ("VOLUME", lambda row, now: row.display_name),
    ("STATE", lambda row, now: LEVELS[row.severity]),
    ("STEP", lambda row, now: f"{row.step_id} {row.step_title}"),
    ("FOR", lambda row, now: format_duration(max(0, now - row.since)) if row.since is not None else ""),
    ("NODE", lambda row, now: ",".join(row.node_names)),
    ("POD", lambda row, now: ",".join(row.pods)),
)
"""What is printed of each volume."""

WIDE: tuple[tuple[str, Cell], ...] = (
    ("DRIVER", lambda row, now: row.driver),
    ("CLASS", lambda row, now: row.storage_class),
    ("PV", lambda row, now: row.pv_name),
    ("HELD BY", lambda row, now: row.verdict.holder),
)
"""What `-o wide` prints besides."""

FINDING: tuple[tuple[str, Cell], ...] = (("FINDING", lambda row, now: row.finding),)
"""Comes last: it is as long as it is."""


def table(rows: Sequence[VolumeRow], now: int, *, wide: bool = False) -> str:
    """One line a volume below a line of headings; columns are as wide as they must be, an empty cell is `-`."""
    columns = COLUMNS + (WIDE if wide else ()) + FINDING
    cells = [[name for name, _ in columns]]
    cells += [[one_line(read(row, now)) or "-" for _, read in columns] for row in rows]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    return "\n".join(
        "   ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def snapshot(state: State, rows: Sequence[VolumeRow], now: int) -> dict[str, Any]:
    """Everything as values: the volumes, and who is not heard, so that a program can tell "nothing" from "not told"."""
    return {
        "time": format_rfc3339(now),
        "volumes": [volume_record(row) for row in rows],
        "notHeard": [
            {"witness": item.witness, "scope": item.scope, "denied": item.denied, "reason": item.why}
            for item in silences(state).values()
        ],
    }


def snapshot_json(state: State, rows: Sequence[VolumeRow], now: int) -> str:
    return msgspec.json.format(msgspec.json.encode(snapshot(state, rows, now)), indent=2).decode()


def snapshot_yaml(state: State, rows: Sequence[VolumeRow], now: int) -> str:
    return msgspec.yaml.encode(snapshot(state, rows, now)).decode().rstrip("\n")


FORMS: dict[str, Callable[[State, Sequence[VolumeRow], int], str]] = {
    "table": lambda state, rows, now: table(rows, now),
    "wide": lambda state, rows, now: table(rows, now, wide=True),
    "json": snapshot_json,
    "yaml": snapshot_yaml,
}
"""How the list can be printed, by what `-o` calls it."""
