"""Rows that are kept are the rows that would be made."""

import pytest

from csitrace.lifecycle.row import volume_rows
from csitrace.lifecycle.rowcache import RowCache
from csitrace.lifecycle.state import State
from csitrace.model.times import SECOND
from tests.story import Story, straight_road, way_back_road


def whole_story() -> Story:
    return way_back_road(dict(straight_road())["17"])


@pytest.mark.parametrize("every", [1, 3, 50])
def test_kept_rows_equal_fresh_ones_at_every_moment(every: int) -> None:
    """Whichever moments are asked for, from the first fact to long after the end."""
    story, cache = Story(), RowCache()
    for number, event in enumerate(whole_story().events):
        story.tell(event.body)
        if number % every == 0:
            kept = {row.key: row.step_id for row in cache.rows(story.state, story.at)}
            assert kept == {row.key: row.step_id for row in volume_rows(story.state, story.at)}
    for later in (1, 30, 120):
        now = story.at + later * SECOND
        assert cache.rows(story.state, now) == volume_rows(story.state, now)


def test_a_row_stays_the_same_object_while_nothing_changes() -> None:
    """Identity is how views know what not to draw again."""
    state, cache = dict(straight_road())["17"].state, RowCache()
    (first,) = cache.rows(state, SECOND)
    (second,) = cache.rows(state, SECOND)
    assert first is second
    (third,) = cache.rows(state, 5 * SECOND)
    assert third is first


def test_time_alone_makes_a_row_worse() -> None:
    """A volume that waits is looked at every second, though no fact comes."""
    story, cache = dict(straight_road())["12"], RowCache()
    severities = [cache.rows(story.state, story.at + seconds * SECOND)[0].severity for seconds in (0, 15, 60)]
    assert severities == sorted(severities)
    assert severities[0] is not severities[2]


def test_nothing_known_is_no_rows() -> None:
    """An empty state has no rows."""
    assert RowCache().rows(State(), 0) == []
