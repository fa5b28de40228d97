"""The rows of all volumes from one moment to the next, each made anew only when it may have changed."""

from collections.abc import Iterator

from csitrace.lifecycle.row import GONE_SHOWN_NS, volume_row
from csitrace.lifecycle.state import State, Volume
from csitrace.lifecycle.views import Severity, VolumeRow
from csitrace.model.times import SECOND

QUIET_ROWS_A_SECOND = 500
"""How many rows of volumes that are well are made anew each second, in turn."""


class RowCache:
    """Makes a row anew at once when its volume changed, or a source came or went; every second when time matters to it (it is not
    well, or operations are counted); and in turn, `QUIET_ROWS_A_SECOND`, for what else may touch it: a class, a node, a driver.

    A row that came out equal stays the same object, so that views can tell by identity what to draw again.
    """

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Volume, VolumeRow]] = {}
        self._sources: object = None
        self._second = -1
        self._turn: Iterator[str] = iter(())

    def rows(self, state: State, now: int) -> list[VolumeRow]:
        """Every volume's row at `now`, in no order; those gone for long are left out."""
        sources = [(key, source.up, source.reason, source.listed) for key, source in state.sources.items()]
        everything, self._sources = sources != self._sources, sources
        next_second, self._second = now // SECOND != self._second, now // SECOND
        turn = set(self._next_in_turn()) if next_second else set()
        before, rows = self._rows, {}
        for key, volume in state.volumes.items():
            if volume.gone_at is not None and now - volume.gone_at >= GONE_SHOWN_NS:
                continue
            known = before.get(key)
            if (
                known is None
                or everything
                or known[0] is not volume
                or key in turn
                or (next_second and _restless(known[1]))
            ):
                row = volume_row(state, volume, now)
                known = (volume, known[1] if known is not None and known[1] == row else row)
            rows[key] = known
        self._rows = rows
        return [row for _, row in rows.values()]

    def _next_in_turn(self) -> Iterator[str]:
        for count, key in enumerate(self._turn, 1):
            yield key
            if count == QUIET_ROWS_A_SECOND:
                return
        self._turn = iter(list(self._rows))


def _restless(row: VolumeRow) -> bool:
    return row.severity is not Severity.OK or row.ops_per_second is not None
