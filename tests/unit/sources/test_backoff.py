"""How long sources wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csitrace.sources.backoff import Backoff


def test_doubles_up_to_the_maximum_and_starts_again() -> None:
    """Without jitter the delays double, stay at the maximum, and are short again after a success."""
    backoff = Backoff(0.25, 2.0, draw=lambda: 1.0)
    assert [backoff.next() for _ in range(5)] == [0.25, 0.5, 1.0, 2.0, 2.0]
    backoff.reset()
    assert backoff.next() == 0.25


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20))
def test_jitter_stays_in_the_upper_half(draws: list[float]) -> None:
    """Never shorter than half of the step, never longer than the maximum, so neither hammering nor asleep."""
    remaining = iter(draws)
    backoff, ceiling = Backoff(1.0, 8.0, draw=lambda: next(remaining)), 1.0
    for _ in draws:
        assert ceiling / 2 <= backoff.next() <= ceiling
        ceiling = min(ceiling * 2, 8.0)


@pytest.mark.parametrize(("initial", "maximum", "factor"), [(0, 1, 2), (2, 1, 2), (1, 2, 0.5)])
def test_refuses_what_would_not_back_off(initial: float, maximum: float, factor: float) -> None:
    """A back-off that shrinks or never waits is a mistake of the caller."""
    with pytest.raises(ValueError, match="not increasing"):
        Backoff(initial, maximum, factor)
