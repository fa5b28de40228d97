"""What people know better than a file: whose it is, of which node, of which time, and in which zone its clock was."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from csitrace.errors import UsageError
from csitrace.model.times import parse_rfc3339

LOCAL = "local"
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_HAS_ZONE = re.compile(r".*T.*(?:Z|[+-]\d\d:?\d\d)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hints:
    """`zone`: that of headers without one, None for this machine's; `zone_name`: as people call it. `taken_at`: when a dump, a
    mount table or the end of a log was taken, in ns; `others_at`: the latest time that other files of the import tell of
    themselves, 0 for none."""

    driver: str = ""
    node: str = ""
    zone: tzinfo | None = UTC
    zone_name: str = "UTC"
    taken_at: int | None = None
    others_at: int = 0


def zone_of(text: str) -> tzinfo | None:
    """A zone by its name in the IANA database, by its offset (`+02:00`), or None for `local`. Raises `UsageError`."""
    if text.lower() == LOCAL:
        return None
    if text.upper() in ("UTC", "Z"):
        return UTC
    if (offset := _OFFSET.fullmatch(text)) is not None:
        hours, minutes = int(offset[2]), int(offset[3])
        if hours < 24 and minutes < 60:
            delta = timedelta(hours=hours, minutes=minutes)
            return timezone(delta if offset[1] == "+" else -delta)
    try:
        return ZoneInfo(text)
    except (OSError, ValueError, LookupError):
        raise UsageError(
            f"--log-zone {text}: no such time zone: say a name as Europe/Berlin, an offset as +02:00, or local"
        ) from None


def times_taken(texts: Sequence[str], paths: Sequence[Path]) -> dict[Path | None, int]:
    """`TIME` for all paths (key None), `PATH=TIME` for one of them, or for a file within one: when each was taken, in ns. Raises
    `UsageError`."""
    taken: dict[Path | None, int] = {}
    for text in texts:
        name, equals, time = text.rpartition("=")
        at = parse_rfc3339(time) if _HAS_ZONE.fullmatch(time) else None
        if at is None or at < 0:
            raise UsageError(
                f"--taken-at {text}: no time that is clear: say it with its zone, as 2026-01-02T03:04:05Z or …+02:00"
            )
        if equals and not any(path in (Path(name), *Path(name).parents) for path in paths):
            raise UsageError(
                f"--taken-at {text}: {name} is not among the paths to be imported, nor within one"
            )
        key = Path(name) if equals else None
        if key in taken:
            raise UsageError(f"--taken-at {text}: said twice for {name if equals else 'all paths'}")
        taken[key] = at
    return taken
