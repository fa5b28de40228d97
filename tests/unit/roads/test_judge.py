"""The judge of the roads: what it lets pass as a slow machine's, and what it does not."""

from typing import Any

import pytest

from csitrace.lifecycle.fold import fold
from csitrace.model.events import FuseObserved, TraceEvent
from csitrace.model.fuse import DaemonStatus
from csitrace.model.times import SECOND
from tests.roads.judge import Judge
from tests.roads.road import road
from tests.roads.seen import Seen
from tests.roads.traveller import Traveller
from tests.story import HANDLE, NODE, straight_road

_LONG = 60 * SECOND


@road("in-use", "A volume in use")
async def _in_use(traveller: Traveller) -> None:
    """Is never driven."""


def judged(**observed: Any) -> list[str]:
    """What the judge finds wrong with a volume in use, of whose FUSE connection this is heard, and then again after a minute."""
    story = dict(straight_road())["17"]
    judge = Judge(_in_use, "shop", Seen())
    state = story.state
    for after in (SECOND, _LONG):
        at = state.at + after
        body = FuseObserved(node_name=NODE, connection=50, volume_id=HANDLE, **observed)
        event = TraceEvent(seq=state.seq + 1, observed_at=at, occurred_at=at, body=body)
        folded = fold(state, event)
        judge._check_word(folded, folded.volumes[story.volume.key], event)
        state = folded
    return judge.wrong


@pytest.mark.parametrize("state", ["R", "S", "D", ""])
def test_requests_that_wait_for_a_daemon_that_runs_are_a_slow_machines(state: str) -> None:
    """Whatever it does meanwhile, as far as that is known."""
    assert judged(waiting=2, init_answered=True, daemon=DaemonStatus(pid=7, state=state)) == []


def test_a_daemon_that_has_ended_or_stopped_is_no_slow_machine() -> None:
    """It is said to be stuck, which is wrong on a road of a healthy volume, however slow the machine."""
    for observed in (
        {"waiting": 2, "init_answered": True, "daemon": DaemonStatus(pid=7, exited="killed by SIGKILL")},
        {"waiting": 2, "init_answered": True, "daemon": DaemonStatus(pid=7, state="T")},
        {"waiting": 0, "init_answered": True, "aborted": True},
    ):
        (wrong,) = judged(**observed)
        assert "called stuck at 17" in wrong
