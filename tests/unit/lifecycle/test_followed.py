"""One pod after another on the same node: what was done for the one is not told of the other."""

import pytest

from csitrace.lifecycle.ladder import ladder, way_back
from csitrace.lifecycle.state import StepStatus, Use
from csitrace.lifecycle.views import StepView
from csitrace.model.events import Witness
from csitrace.model.kubernetes import Pod
from tests.story import (
    NODE,
    POD_UID,
    STAGING,
    TARGET,
    Story,
    attachment,
    claim,
    csi_driver,
    node,
    pod,
    pv,
    storage_class,
    straight_road,
)

SECOND_UID = POD_UID.replace("a", "c")
SECOND_TARGET = TARGET.replace(POD_UID, SECOND_UID)
DONE = StepStatus.DONE


def second(container: str = "", phase: str = "Pending", started: bool = False, deleting: bool = False) -> Pod:
    """The pod of the same name that comes when a StatefulSet is scaled up again."""
    return pod(NODE, container, phase, started, deleting, uid=SECOND_UID)


def scaled_down(story: Story) -> Story:
    """The first pod goes, and the volume is let go on its node."""
    story.put(pod(NODE, "terminated", "Running", started=True, deleting=True))
    story.rpc("NodeUnpublishVolume", target_path=TARGET).unmount(TARGET, 101)
    story.remove(pod(NODE, "terminated", "Succeeded", started=True, deleting=True))
    story.rpc("NodeUnstageVolume", staging_target_path=STAGING).unmount(STAGING, 100).put(node())
    story.put(attachment(attached=True, finalizer=True, deleting=True))
    return story.rpc("ControllerUnpublishVolume", node_id=NODE).remove(
        attachment(attached=True, deleting=True)
    )


def scaled_up(story: Story) -> Story:
    """The second comes, 22 s later, and has it attached, staged and published."""
    story.put(second(), at=(story.at - story.events[0].observed_at) / 1e9 + 22)
    story.put(attachment()).put(attachment(finalizer=True)).rpc("ControllerPublishVolume", node_id=NODE)
    story.put(attachment(attached=True, finalizer=True)).put(node(in_use=True, attached=True))
    story.put(second("waiting", started=True)).rpc("NodeStageVolume", staging_target_path=STAGING).mount(
        STAGING, 200
    )
    story.rpc("NodePublishVolume", target_path=SECOND_TARGET).mount(SECOND_TARGET, 201)
    return story.put(second("running", "Running", started=True))


def use_of(story: Story, uid: str) -> Use:
    return next(use for use in story.volume.uses if use.pod_uid == uid)


def forward(story: Story, uid: str = POD_UID) -> dict[str, StepView]:
    return {view.step_id: view for view in ladder(story.state, story.volume, use_of(story, uid))}


def back(story: Story, uid: str = POD_UID) -> dict[str, StepView]:
    return {view.step_id: view for view in way_back(story.state, story.volume, use_of(story, uid))}


def told_late() -> Story:
    """In use on a node of which the pod's object tells only when the driver and the kernel have told all."""
    story = Story().hear_everyone().put(storage_class()).put(csi_driver()).put(node())
    claimed = claim("Bound", "pvc-11111111-2222-3333-4444-555555555555", selected_node=NODE)
    story.put(claimed).put(pv()).put(pod())
    story.rpc("ControllerPublishVolume", node_id=NODE).rpc("NodeStageVolume", staging_target_path=STAGING)
    story.mount(STAGING, 100).rpc("NodePublishVolume", target_path=TARGET).mount(TARGET, 101)
    story.put(attachment(attached=True, finalizer=True)).put(node(in_use=True, attached=True))
    return story.put(pod(NODE, "running", "Running", started=True))


@pytest.mark.parametrize(
    "told", [lambda: straight_road()[-1][1], told_late], ids=["in order", "node told late"]
)
def test_a_pod_that_is_gone_keeps_its_own_times(told: object) -> None:
    """Each step of the first pod was done before it went, and stays so when another pod has walked them again."""
    story: Story = told()  # type: ignore[operator]  # either of the two roads
    ended = story.at
    before = {step: (view.status, view.at) for step, view in forward(story).items()}
    scaled_up(scaled_down(story))
    after = {step: (view.status, view.at) for step, view in forward(story).items()}
    assert after == before
    assert all(at is None or at <= ended for _, at in after.values())
    assert {view.status for view in forward(story, SECOND_UID).values()} <= {DONE, StepStatus.NOT_APPLICABLE}
    assert forward(story, SECOND_UID)["13"].at != after["13"][1]


def test_what_was_taken_away_after_a_pod_stays_taken_away_for_it() -> None:
    """Attached and staged again for another, its own way back is as it was, with its own times; kubelet's too."""
    story = scaled_down(straight_road()[-1][1])
    gone = {
        step: (view.status, view.at) for step, view in back(story).items() if step <= "b9" and len(step) == 2
    }
    assert {status for status, _ in gone.values()} == {DONE}
    assert set(gone) == {f"b{number}" for number in range(1, 10)}
    scaled_up(story)
    assert {step: (back(story)[step].status, back(story)[step].at) for step in gone} == gone
    assert story.verdict().sentence == "in use"


def test_a_pod_that_never_had_the_volume_does_not_get_it_by_the_next_one() -> None:
    """Deleted before it was attached: what is attached and staged on its node is the next pod's."""
    story = dict(straight_road())["9"].remove(pod(NODE))
    scaled_up(story)
    done = {step for step, view in forward(story).items() if view.status is DONE}
    assert done == {"1", "2", "3", "4", "5", "6", "7", "8", "9"}
    assert Witness.DRIVER not in forward(story)["13"].testimonies


def test_of_two_pods_that_share_a_node_the_one_that_stays_keeps_it() -> None:
    """What is still staged and attached is not taken away for the first: it does not apply while the other is there."""
    story = straight_road()[-1][1].put(second("waiting", started=True))
    story.rpc("NodePublishVolume", target_path=SECOND_TARGET).mount(SECOND_TARGET, 201)
    story.put(second("running", "Running", started=True))
    story.put(pod(NODE, "terminated", "Running", started=True, deleting=True))
    story.rpc("NodeUnpublishVolume", target_path=TARGET).unmount(TARGET, 101)
    story.remove(pod(NODE, "terminated", "Succeeded", started=True, deleting=True))
    views = back(story)
    assert [views[step].status for step in ("b1", "b2", "b3", "b4")] == [DONE] * 4
    assert {views[step].note for step in ("b5", "b6", "b7", "b8", "b9")} == {
        "another pod on the node uses it"
    }
