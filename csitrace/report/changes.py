"""What differs between two moments of the list: the changes worth a line."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from csitrace.lifecycle.filter import Filter
from csitrace.lifecycle.views import Severity, VolumeRow


class What(StrEnum):
    """Why a line is printed."""

    APPEARED = "appeared"
    STEP = "step"  # it stands at another step
    SEVERITY = "severity"  # at the same step, but better or worse off
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one volume. `before` is None for one that appeared."""

    what: What
    row: VolumeRow
    before: VolumeRow | None = None


def changes(before: Mapping[str, VolumeRow], rows: Iterable[VolumeRow]) -> Iterator[Change]:
    """The changes from the rows before (by key) to the rows now, in the order of these.

    A row that vanished without having been told as gone (it no longer passes a filter, or was let go) is no change.
    """
    for row in rows:
        known = before.get(row.key)
        if known is None:
            if row.severity is not Severity.GONE:
                yield Change(What.APPEARED, row)
        elif row.severity is Severity.GONE:
            if known.severity is not Severity.GONE:
                yield Change(What.GONE, row, known)
        elif (row.step_id, row.going) != (known.step_id, known.going):
            yield Change(What.STEP, row, known)
        elif row.severity is not known.severity:
            yield Change(What.SEVERITY, row, known)


class Follower:
    """Remembers the rows told last, so that each moment yields only what is new. Rows that the filter hides do not exist."""

    def __init__(self, chosen: Filter[VolumeRow]) -> None:
        self._filter = chosen
        self._before: dict[str, VolumeRow] = {}

    def update(self, rows: Iterable[VolumeRow], now: int) -> list[Change]:
        """What changed since the last update."""
        passing = [row for row in rows if self._filter.matches(row, now)]
        found = list(changes(self._before, passing))
        self._before = {row.key: row for row in passing}
        return found
