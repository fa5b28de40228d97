"""A moment as people name it: a time, a distance from one end of the recording, or a mark."""

import re
from dataclasses import dataclass

from csitrace.lifecycle.history import History
from csitrace.model.times import DAY, HOUR, MILLISECOND, MINUTE, SECOND, parse_rfc3339

_UNITS = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_DISTANCE = re.compile(r"([+-])((?:\d+(?:\.\d+)?(?:ms|[smhd]))+)", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])", re.ASCII)
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d{1,9}))?)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]", re.ASCII)

EXAMPLES = "14:02:11, +1m30s from the beginning, -30s from the end, or a mark's name"


@dataclass(frozen=True, slots=True)
class Moment:
    """A place on the time line: after fact `seq`, at `at` (ns)."""

    seq: int
    at: int


def find_moment(text: str, history: History) -> Moment | None:
    """The moment that `text` names among the facts so far; None where it names none, or one after the last of them.

    Times are UTC, as all that is shown; a time of day is the first such after the beginning.
    """
    text = text.strip()
    first, last = history.log.span()
    at = _time(text, first, last)
    if at is not None:
        return moment_at(history, at) if at <= last else None
    return _mark(text, history)


def is_time(text: str) -> bool:
    """Whether it is a time or a distance, and no mark's name."""
    return _time(text.strip(), 0, 0) is not None


def moment_at(history: History, at: int) -> Moment:
    """The moment at a time, or at the nearest end."""
    first, last = history.log.span()
    at = min(max(at, first), last)
    return Moment(max(history.log.seq_at(at), history.first_seq), at)


def moment_of(history: History, seq: int) -> Moment:
    """The moment after a fact, or after the last one before it, or at the nearest end."""
    seq = min(max(history.log.upto(seq), history.first_seq), history.tail_seq)
    at = history.log.time_of(seq)
    return Moment(seq, at if at is not None else history.log.span()[0])


def _time(text: str, first: int, last: int) -> int | None:
    """The time in ns, or None where `text` is none."""
    if match := _DISTANCE.fullmatch(text):
        distance = int(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(match[2])))
        return first + distance if match[1] == "+" else last - distance
    if match := _TIME_OF_DAY.fullmatch(text):
        hours, minutes, seconds = int(match[1]), int(match[2]), int(match[3] or 0)
        fraction = int((match[4] or "").ljust(9, "0"))
        of_day = hours * HOUR + minutes * MINUTE + seconds * SECOND + fraction
        at = first // DAY * DAY + of_day
        return at if at >= first or at + DAY > last else at + DAY
    if _DATE.match(text):
        return parse_rfc3339(text.replace(" ", "T", 1))
    return None


def _mark(text: str, history: History) -> Moment | None:
    """The first mark of that name, else the first that begins with it, else the first that has it in its name."""
    wanted = text.casefold()
    marks = [(seq, name.casefold()) for seq, name in history.marks]
    fits = (lambda name: name == wanted, lambda name: name.startswith(wanted), lambda name: wanted in name)
    for fit in fits:
        for seq, name in marks:
            if wanted and fit(name):
                return moment_of(history, seq)
    return None
