"""The facts of one volume, as its screen collects them."""

from csitrace.engine.session import Session
from csitrace.lifecycle.history import KEYFRAME_EVERY, History
from csitrace.model import events
from csitrace.model.events import Observation
from csitrace.tui.factlist import FactList
from csitrace.tui.facts import fact_filter
from csitrace.tui.session_view import SessionView
from tests.story import KEY, straight_road


def test_facts_that_the_history_let_go_are_let_go() -> None:
    """A volume that is looked at for days keeps no more facts than the history does; each of those that are kept is there."""
    session = Session("test", history=History(events_kept=KEYFRAME_EVERY))
    session.take([Observation(body=event.body) for event in straight_road()[-1][1].events])
    watched = SessionView(session)
    facts, everything = FactList(watched, KEY), fact_filter(watched)("")
    for number in range(KEYFRAME_EVERY * 5):
        session.take([Observation(body=events.Marked(text=str(number)))])
        shown = facts.update(session.state.volumes[KEY], everything)
    kept = [event.seq for event in session.history.events(1, session.history.tail_seq)]
    assert session.history.first_seq > KEYFRAME_EVERY
    assert [event.seq for event in shown] == kept
