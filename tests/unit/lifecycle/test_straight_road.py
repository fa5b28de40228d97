"""The straight road, forward and back: after each fact, exactly the steps that have happened are done."""

import pytest

from csitrace.lifecycle.ladder import ladder
from csitrace.lifecycle.row import volume_row, volume_rows
from csitrace.lifecycle.spans import spans
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.steps import FORWARD
from csitrace.lifecycle.views import Severity
from csitrace.lifecycle.witnesses import questions
from csitrace.model.events import Stamp, Witness
from tests.story import KEY, STAGING, TARGET, Story, straight_road, way_back_road

ORDER = [step.id for step in FORWARD]
SETTLED = (StepStatus.DONE, StepStatus.NOT_APPLICABLE)
CHAPTERS = straight_road()


@pytest.mark.parametrize(("step", "story"), CHAPTERS, ids=[step for step, _ in CHAPTERS])
def test_every_step_up_to_the_latest_is_done_and_none_after_it(step: str, story: Story) -> None:
    """With WaitForFirstConsumer, the ladder fills from the bottom, one step after another, and never ahead of the facts."""
    statuses = story.statuses()
    done = [step_id for step_id in ORDER if statuses[step_id] in SETTLED]
    reached = ORDER[: ORDER.index(step) + 1]
    assert done == reached, {k: str(v) for k, v in statuses.items()}


@pytest.mark.parametrize(("step", "story"), CHAPTERS[:-1], ids=[step for step, _ in CHAPTERS[:-1]])
def test_the_verdict_names_the_step_after_the_latest(step: str, story: Story) -> None:
    """The blocking step is the first that is not settled, and someone is named who must act."""
    word = story.verdict()
    assert word.step_id == ORDER[ORDER.index(step) + 1]
    assert word.severity in (Severity.MOVING, Severity.WAITING)
    assert word.sentence
    assert word.holder


def test_all_three_witnesses_give_times_for_the_mount_steps() -> None:
    """Steps 16a and 16b carry the kernel's time and the driver's; 6 and 13 the driver's and Kubernetes'."""
    story = CHAPTERS[-1][1]
    views = {view.step_id: view for view in ladder(story.state, story.volume, story.volume.uses[0])}
    for step_id, witnesses in {
        "6": {Witness.KUBERNETES, Witness.DRIVER},
        "13": {Witness.KUBERNETES, Witness.DRIVER},
        "16a": {Witness.DRIVER, Witness.KERNEL},
        "16b": {Witness.KUBERNETES, Witness.DRIVER, Witness.KERNEL},
    }.items():
        timed = {
            witness
            for witness, testimony in views[step_id].testimonies.items()
            if testimony.status is StepStatus.DONE and testimony.at
        }
        assert timed == witnesses, step_id
    assert views["16a"].stamp is not Stamp.INFERRED
    times = [views[step_id].at for step_id in ORDER if views[step_id].status is StepStatus.DONE]
    assert all(times)


def test_the_row_shows_four_phases_reached() -> None:
    """A volume in use has reached CREATED, NODE_READY, VOL_READY and PUBLISHED, and wants no attention."""
    story = CHAPTERS[-1][1]
    row = volume_row(story.state, story.volume, story.at)
    assert row.phases == (StepStatus.DONE,) * 4
    assert row.severity is Severity.OK
    assert row.finding == ""
    assert row.pods == ("web-0",)
    assert row.node_names == ("n1",)


def test_no_witness_disagrees_on_the_straight_road() -> None:
    """Side by side, the three witnesses of a volume in use say the same."""
    story = CHAPTERS[-1][1]
    assert not any(row.disagreement for row in questions(story.state, story.volume, story.volume.uses[0]))


def test_spans_of_a_volume_in_use_are_closed_and_ok() -> None:
    """provision, attach, stage and publish each have one try and an end."""
    story = CHAPTERS[-1][1]
    found = {span.name: span for span in spans(story.volume)}
    assert set(found) == {"provision", "attach", "stage", "publish"}
    assert all(span.outcome == "ok" and span.attempts == 1 and span.ended_at for span in found.values())


def test_the_way_back_ends_with_nothing_left() -> None:
    """After pod, mounts, attachment, claim and PV are gone, every step back is done and the volume is gone."""
    story = straight_road()[-1][1]
    way_back_road(story)
    statuses = story.back_statuses()
    assert all(status in SETTLED for status in statuses.values()), statuses
    assert story.volume.gone_at is not None
    assert story.verdict().severity is Severity.GONE
    assert [row.key for row in volume_rows(story.state, story.at)] == [KEY]
    assert volume_rows(story.state, story.at + 3600 * 10**9) == []


def test_the_way_back_names_who_holds_it_at_every_step() -> None:
    """While a volume goes, the verdict is a step of the way back that is not done yet, save for the moment at rest between the
    detach and the claim's deletion: then it only has no pod."""
    story = straight_road()[-1][1]
    before = len(story.events)
    way_back_road(story)
    replayed = Story()
    seen = []
    for event in story.events:
        replayed.tell(event.body)
        if event.seq > before and replayed.volume.gone_at is None:
            word = replayed.verdict()
            seen.append((word.step_id, word.sentence))
    numbers = [int(step_id.removeprefix("b")) for step_id, _ in seen if step_id.startswith("b")]
    assert numbers == sorted(numbers), seen
    assert [said for said in seen if not said[0].startswith("b")] == [("9", "bound; no pod uses it")]


def test_immediate_binding_makes_the_volume_before_any_pod() -> None:
    """With an Immediate class step 4 is n/a, and a bound claim without a pod waits for nobody."""
    chapters = dict(straight_road(mode="Immediate"))
    assert chapters["8"].statuses()["4"] is StepStatus.NOT_APPLICABLE
    assert chapters["5"].verdict().step_id == "6"


def test_a_volume_that_is_gone_keeps_its_road() -> None:
    """After the end the ladder still tells when each step was done: its traces went with the pod, that it happened stays true."""
    story = way_back_road(straight_road()[-1][1])
    views = ladder(story.state, story.volume, story.volume.uses[0])
    assert {view.step_id for view in views if view.status is not StepStatus.DONE} == set()
    assert all(view.at for view in views)


def test_who_comes_late_gets_the_servers_times_or_none() -> None:
    """What was there before us carries the server's whole seconds where a field tells them, and no invented time elsewhere."""
    road = straight_road()[-1][1]
    late = Story().hear_everyone()
    for stored in road.state.objects.values():
        late.find(stored.object, at=3600)
    late.mount(STAGING, 100).mount(TARGET, 101)
    views = {view.step_id: view for view in ladder(late.state, late.volume, late.volume.uses[0])}
    assert {view.status for view in views.values()} == {StepStatus.DONE}
    for step_id in ("1", "7", "9", "10", "11", "17"):
        at = views[step_id].at
        assert at is not None, step_id
        assert (views[step_id].stamp, at % 10**9) == (Stamp.SERVER, 0), step_id
    for step_id in ("5", "12", "14"):
        assert (views[step_id].at, views[step_id].stamp) == (None, Stamp.INFERRED), step_id


def test_what_never_succeeded_is_over_with_the_volume() -> None:
    """An attach that was refused until the pod went ends, refused, when the volume is gone; nothing of it grows on."""
    told = straight_road()[-1][1]
    told.rpc("ControllerPublishVolume", 13, "no", node_id="other")
    way_back_road(told)
    volume = told.volume
    assert volume.gone_at is not None
    (refused,) = [span for span in spans(volume) if span.node_name == "other"]
    assert (refused.name, refused.outcome, refused.ended_at) == ("attach", "INTERNAL", volume.gone_at)
