"""Times: RFC 3339 in, nanoseconds inside, words for people out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.model.times import DAY, HOUR, MINUTE, SECOND, format_duration, format_rfc3339, parse_rfc3339


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_milliseconds_survive_writing_and_reading(milliseconds: int) -> None:
    """What is written with milliseconds is read back to the millisecond."""
    at = milliseconds * 1_000_000
    assert parse_rfc3339(format_rfc3339(at)) == at


@given(st.text())
def test_what_is_no_time_is_none(text: str) -> None:
    """A server's odd value is no error: it is no time."""
    assert parse_rfc3339(text) is None or isinstance(parse_rfc3339(text), int)


def test_fractions_and_offsets_are_read_as_kubernetes_writes_them() -> None:
    """MicroTime carries six digits; offsets are allowed by RFC 3339."""
    assert parse_rfc3339("1970-01-01T00:00:01.000250Z") == SECOND + 250_000
    assert parse_rfc3339("1970-01-01T01:00:00+01:00") == 0
    assert parse_rfc3339(None) is None
    assert parse_rfc3339("yesterday") is None


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (None, "-"),
        (900, "0us"),
        (1_900_000, "1.9ms"),
        (99_949_999, "99.9ms"),
        (99_950_000, "0.1s"),
        (400_000_000, "0.4s"),
        (38 * SECOND, "38s"),
        (4 * MINUTE + 12 * SECOND, "4m12s"),
        (2 * HOUR + 5 * MINUTE, "2h05m"),
        (9 * DAY, "9d"),
        (-3 * SECOND, "-3.0s"),
    ],
)
def test_durations_are_told_in_two_units_at_most(duration: int | None, words: str) -> None:
    """Short enough for a column, exact enough to act on."""
    assert format_duration(duration) == words
