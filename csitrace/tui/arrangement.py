"""Which rows a list shows, and in which order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from csitrace.lifecycle.filter import Filter
from csitrace.lifecycle.views import Severity

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Order(Generic[Row]):
    """A way to sort a list. `key` depends on the row alone, not on the time."""

    name: str
    key: Callable[[Row], Any]


class Arrangement(Generic[Row]):
    """The rows to show, filtered and in order, kept from one moment to the next so that a small change costs little.

    `identity` names a row from one moment to the next.
    """

    def __init__(self, identity: Callable[[Row], object]) -> None:
        self._identity = identity
        self._rows: Sequence[Row] = ()
        self._order: Order[Row] | None = None
        self._shown: list[Row] = []
        self._places: dict[object, int] = {}  # by identity, in `_shown`; empty while a filter hides some

    def arrange(self, rows: Sequence[Row], order: Order[Row], chosen: Filter[Row], now: int) -> Sequence[Row]:
        """The rows that pass, in order. The answer is another list than the last one, unless nothing changed."""
        if not self._replaced(rows, order, chosen):
            self._shown = sorted(rows, key=order.key)
            self._places = {self._identity(row): place for place, row in enumerate(self._shown)}
            if chosen:
                self._shown = [row for row in self._shown if chosen.matches(row, now)]
                self._places = {}
        self._rows, self._order = rows, order
        return self._shown

    def _replaced(self, rows: Sequence[Row], order: Order[Row], chosen: Filter[Row]) -> bool:
        """Put changed rows where the old ones were, if that is where they still belong; else False, and nothing is done."""
        if chosen or order is not self._order or len(rows) != len(self._rows) or not self._places:
            return False
        changed = [(old, new) for old, new in zip(self._rows, rows, strict=True) if old is not new]
        name = self._identity
        if any(name(old) != name(new) or order.key(old) != order.key(new) for old, new in changed):
            return False
        if changed:
            self._shown = list(self._shown)
            for _, new in changed:
                self._shown[self._places[name(new)]] = new
        return True


def next_problem(severities: Sequence[Severity], after: int) -> int | None:
    """Index of the next row that needs attention, after index `after` and around the end; None when all is well."""
    count = len(severities)
    for distance in range(1, count + 1):
        index = (after + distance) % count
        if severities[index] >= Severity.UNKNOWN:
            return index
    return None
