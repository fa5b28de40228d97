"""A road that is walked only as far as it is asked about says what the whole of it says."""

import random

import pytest

from csitrace.lifecycle.fold import fold
from csitrace.lifecycle.ladder import SETTLED, Road, growth, way_in, way_out
from csitrace.lifecycle.state import State, StepStatus, Volume
from csitrace.lifecycle.steps import STEP_BY_ID
from csitrace.lifecycle.views import StepView
from csitrace.model.events import TraceEvent, Witness
from csitrace.model.times import MILLISECOND
from tests.story import START, straight_road, way_back_road


def states(seed: int) -> list[State]:
    """After each fact of a life of which parts are missing, and with some seeds out of order."""
    chance, state, found = random.Random(seed), State(), []
    mode = "Immediate" if seed % 2 else "WaitForFirstConsumer"
    bodies = [event.body for event in way_back_road(straight_road(mode=mode)[-1][1]).events]
    bodies = [body for body in bodies if chance.random() < 0.85]
    if seed % 3 == 0:
        chance.shuffle(bodies)
    for seq, body in enumerate(bodies, 1):
        at = START + seq * 100 * MILLISECOND
        state = fold(state, TraceEvent(seq=seq, observed_at=at, occurred_at=at, body=body))
        found.append(state)
    return found


def roads(state: State, volume: Volume) -> list[tuple[Road, Road]]:
    """Each road twice: one to be walked step by step, one to be seen whole."""
    makes = (way_in, way_out, growth)
    return [
        (make(state, volume, use), make(state, volume, use)) for make in makes for use in (*volume.uses, None)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_the_current_step_is_the_first_of_the_whole_road_that_is_not_behind(seed: int) -> None:
    """Whether or not the steps after it were looked at; and of those that nobody can tell, the failed one that follows them."""
    for state in states(seed):
        for volume in state.volumes.values():
            for walked, whole in roads(state, volume):
                views = {view.step_id: view for view in whole.views}
                waiting = [views[step_id] for step_id in whole.order if not _is_behind(views[step_id])]
                told = next((view for view in waiting if view.status is not StepStatus.UNKNOWN), None)
                failed = told if told is not None and told.status is StepStatus.FAILED else None
                assert walked.current == (failed or next(iter(waiting), None))


@pytest.mark.parametrize("seed", range(6))
def test_what_is_proved_is_what_one_pass_from_the_end_proves(seed: int) -> None:
    """The straightforward definition: from the last step to the first, each that a later done one proves is done itself."""
    for state in states(seed):
        for volume in state.volumes.values():
            for walked, whole in roads(state, volume):
                done: set[str] = set()
                for view in reversed(whole.views):
                    step = STEP_BY_ID[view.step_id]
                    proved = any(later in done for later in step.proved_by)
                    assert (
                        proved or not view.note.startswith("proved by") or view.status is not StepStatus.DONE
                    )
                    if proved and not step.doubt(walked.ctx) and not _is_seen_otherwise(view):
                        assert view.status in SETTLED
                    if view.status is StepStatus.DONE:
                        done.add(view.step_id)


def _is_behind(view: StepView) -> bool:
    return view.status in SETTLED or view.passed


def _is_seen_otherwise(view: StepView) -> bool:
    """The kernel names a mount that is still there: of the way back, nothing proves more than it does."""
    told = view.testimonies.get(Witness.KERNEL)
    return (
        view.step_id.startswith("b")
        and told is not None
        and told.status is StepStatus.PENDING
        and told.seq > 0
    )
