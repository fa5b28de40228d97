"""The times of klog's headers, which have neither year nor zone (klog, `formatHeader`: `mmdd hh:mm:ss.uuuuuu`, local time).

What was put before a line by a container runtime, `kubectl logs --timestamps` or journald has both, and lies within moments of
the header: the difference between the two, to the quarter of an hour, is the header's zone.
"""

import re
from datetime import UTC, datetime, tzinfo

from csitrace.model.times import DAY, HOUR, MINUTE, SECOND
from csitrace.sources.imports.hints import Hints

_YEARS = 9
"""How far back a year is looked for that has the day; leap years are at most eight apart."""

_QUARTER = 15 * MINUTE
_WIDEST = 15 * HOUR
_HALF_YEAR = 183 * DAY
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_SECOND = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC) - _EPOCH


class Dating:
    """The year and the zone of one file's headers. A line is of the latest year in which it is not after the file's end:
    `end_at`, by what `why` says. `is_told`: the lines themselves say when they are; `years`: those that were given to lines."""

    def __init__(self, modified_at: int, hints: Hints) -> None:
        self._zone: tzinfo | None = hints.zone
        self.end_at, self.why = _end_of(modified_at, hints)
        self._year = _year_of(self.end_at)
        self._last_at = 0
        self._minutes: dict[tuple[str, int], int | None] = {}
        self.is_told = False
        self.years: set[int] = set()

    def at(self, header: "re.Match[str]", told_at: int | None) -> int | None:
        """Ns since the epoch of a header (groups month, day, minute, second, micro) behind a time that is told, if any; None
        where no calendar has it."""
        within = int(header["second"]) * SECOND + int(header["micro"]) * 1_000
        at = self._by_told(header, within, told_at) if told_at is not None else self._by_end(header, within)
        if at is None or at < 0:
            return None
        self._last_at = at
        return at

    def _by_told(self, header: "re.Match[str]", within: int, told_at: int) -> int:
        self.is_told = True
        year = _year_of(told_at)
        near = [
            at + within - told_at
            for place in (year - 1, year, year + 1)
            if (at := _minute_of(place, header, UTC, 0)) is not None
        ]
        apart = min(near, key=abs, default=_WIDEST)
        if abs(apart) >= _WIDEST:  # written long after it was said, or by another clock
            return told_at
        return told_at + apart - (apart + _QUARTER // 2) // _QUARTER * _QUARTER

    def _by_end(self, header: "re.Match[str]", within: int) -> int | None:
        at = self._minute(header, 0)
        if at is None:
            return None
        if at + within + _QUARTER < self._last_at:  # an hour that comes twice, when clocks are put back
            again = self._minute(header, 1)
            at = again if again is not None and again > at else at
        return at + within

    def _minute(self, header: "re.Match[str]", fold: int) -> int | None:
        key = (f"{header['month']}{header['day']}{header['minute']}", fold)
        if key not in self._minutes:
            if len(self._minutes) >= 4_096:
                self._minutes.clear()
            self._minutes[key] = self._latest(header, fold)
        return self._minutes[key]

    def _latest(self, header: "re.Match[str]", fold: int) -> int | None:
        for year in range(self._year + 1, self._year - _YEARS, -1):
            at = _minute_of(year, header, self._zone, fold)
            if at is not None and at <= self.end_at:
                self.years.add(year)
                return at
        return None


def _end_of(modified_at: int, hints: Hints) -> tuple[int, str]:
    """A file may be copied long after its last line was written: where other files of the same import tell when things were,
    it is of their time. A day is left for zones and clocks that are wrong."""
    if hints.taken_at is not None:
        return hints.taken_at + DAY, "by --taken-at"
    if hints.others_at and hints.others_at + _HALF_YEAR < modified_at:
        return hints.others_at + _HALF_YEAR, "by the other files' times"
    return modified_at + DAY, "by the file's time"


def _year_of(at: int) -> int:
    return min(9_000, datetime.fromtimestamp(max(0, min(at // SECOND, 1 << 37)), UTC).year)


def _minute_of(year: int, header: "re.Match[str]", zone: tzinfo | None, fold: int) -> int | None:
    hour, minute = header["minute"].split(":")
    try:
        there = datetime(year, int(header["month"]), int(header["day"]), int(hour), int(minute), fold=fold)
        moment = (there.replace(tzinfo=zone) if zone is not None else there).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return (moment - _EPOCH) // _ONE_SECOND * SECOND
