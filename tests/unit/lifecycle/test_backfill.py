"""Times of what happened before we came: which field tells, how sure it is, and that nothing is told that no witness saw."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from csitrace.lifecycle.ladder import ladder, way_back
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import StepView
from csitrace.model.events import Stamp
from csitrace.model.kubernetes import (
    Condition,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStatus,
    KubernetesObject,
    ManagedFields,
    Manager,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    VolumeAttachment,
)
from csitrace.model.times import SECOND, format_rfc3339, parse_rfc3339
from tests.story import (
    DRIVER,
    KEY,
    NODE,
    PV_NAME,
    START,
    Story,
    attachment,
    claim,
    csi_driver,
    happened,
    node,
    pod,
    pv,
    storage_class,
    straight_road,
)

LATE = 600
"""Seconds after START at which we come."""

ROAD = straight_road()


def at(seconds: float) -> str:
    return format_rfc3339(START + int(seconds * SECOND))[:19] + "Z"


def written(manager: Manager, seconds: float, subresource: str = "") -> ManagedFields:
    return ManagedFields(manager=manager, time=at(seconds), subresource=subresource)


def by(obj: KubernetesObject, *writes: ManagedFields, born: float = 0) -> KubernetesObject:
    metadata = replace(obj.metadata, creation_timestamp=at(born), managed_fields=writes)
    return replace(obj, metadata=metadata)


def found(*objects: KubernetesObject) -> Story:
    """Everything was there when we came."""
    story = Story().hear_everyone()
    for obj in (storage_class(), csi_driver(), *objects):
        story.find(obj, at=LATE)
    return story


def steps(story: Story) -> dict[str, StepView]:
    uses = story.volume.uses
    return {view.step_id: view for view in ladder(story.state, story.volume, uses[0] if uses else None)}


def told(view: StepView) -> tuple[float | None, str, bool]:
    """Seconds after START, the field, and whether it is a bound."""
    seconds = (view.at - START) / SECOND if view.at is not None else None
    assert view.at is None or view.stamp is Stamp.SERVER
    return seconds, view.source, view.at_latest


BOUND = claim("Bound", PV_NAME, selected_node=NODE, storage_provisioner=DRIVER)
SCHEDULED = Condition(type="PodScheduled", status="True", last_transition_time=at(6))


def test_every_step_of_an_attached_volume_has_the_time_of_its_writer() -> None:
    """Found stuck at the mount: each step's time is the field's that was written with it, and a bound where that came later."""
    waiting = pod(NODE, "waiting", started=True)
    waiting = replace(waiting, status=replace(waiting.status, start_time=at(7), conditions=(SCHEDULED,)))
    volume = pv("Bound")
    volume = replace(volume, status=replace(volume.status, last_phase_transition_time=at(4)))
    story = found(
        by(
            BOUND,
            written(Manager.SCHEDULER, 1),
            written(Manager.CONTROLLER_MANAGER, 4),
            written(Manager.CONTROLLER_MANAGER, 5, "status"),
        ),
        by(volume, written(Manager.PROVISIONER, 3), born=3),
        by(waiting, born=0),
        by(
            attachment(attached=True, finalizer=True),
            written(Manager.CONTROLLER_MANAGER, 7),
            written(Manager.ATTACHER, 8),
            written(Manager.ATTACHER, 9, "status"),
            born=7,
        ),
        node(in_use=True, attached=True),
    )
    views = steps(story)
    assert {step: told(views[step]) for step in ("1", "2", "3", "4", "5", "6", "7", "8", "9")} == {
        "1": (0, "creationTimestamp of PersistentVolumeClaim", False),
        "2": (6, "condition PodScheduled", True),
        "3": (1, "managedFields of kube-scheduler on PersistentVolumeClaim", False),
        "4": (1, "managedFields of kube-scheduler on PersistentVolumeClaim", False),
        "5": (4, "managedFields of kube-controller-manager on PersistentVolumeClaim", True),
        "6": (3, "creationTimestamp of PersistentVolume", True),
        "7": (3, "creationTimestamp of PersistentVolume", False),
        "8": (4, "lastPhaseTransitionTime of PersistentVolume", False),
        "9": (6, "condition PodScheduled", False),
    }
    assert {step: told(views[step]) for step in ("10", "11", "12", "13", "14", "15")} == {
        "10": (7, "creationTimestamp of VolumeAttachment", True),
        "11": (7, "creationTimestamp of VolumeAttachment", False),
        "12": (8, "managedFields of csi-attacher on VolumeAttachment", False),
        "13": (9, "managedFields of csi-attacher on VolumeAttachment/status", True),
        "14": (9, "managedFields of csi-attacher on VolumeAttachment/status", False),
        "15": (7, "startTime of Pod", False),
    }
    assert story.verdict().since == START + 9 * SECOND


def test_a_claim_that_waits_was_given_its_provisioner_when_the_pv_controller_last_wrote_it() -> None:
    """While nothing is bound, the provisioner's name is all it has written: the time is exact, and the wait began then."""
    waiting = claim(selected_node=NODE, storage_provisioner=DRIVER)
    story = found(
        by(waiting, written(Manager.SCHEDULER, 1), written(Manager.CONTROLLER_MANAGER, 2)), by(pod())
    )
    assert told(steps(story)["5"]) == (
        2,
        "managedFields of kube-controller-manager on PersistentVolumeClaim",
        False,
    )
    assert story.verdict().step_id == "6"
    assert story.verdict().since == START + 2 * SECOND


def test_an_event_said_first_is_a_better_bound_than_a_later_write() -> None:
    """ExternalProvisioning follows the provisioner's name at once; the PV controller's last write was the binding."""
    waiting = happened("ExternalProvisioning", "waiting", claim(), "Normal")
    waiting = replace(waiting, first_timestamp=at(2), last_timestamp=at(5), count=4)
    story = found(by(BOUND, written(Manager.CONTROLLER_MANAGER, 6)), by(pod()), waiting)
    assert told(steps(story)["5"]) == (2, "Event ExternalProvisioning", True)


def test_a_pods_deletion_was_asked_for_before_its_grace_period() -> None:
    """deletionTimestamp is when the grace period ends: up to then it lies in the future."""
    going = pod(NODE, "running", "Running", started=True)
    metadata = replace(going.metadata, deletion_timestamp=at(LATE + 20), deletion_grace_period_seconds=30)
    story = found(by(BOUND), by(pv()), replace(going, metadata=metadata))
    view = next(v for v in way_back(story.state, story.volume, story.volume.uses[0]) if v.step_id == "b1")
    assert told(view) == (LATE - 10, "deletionTimestamp of Pod less its grace period of 30 s", False)


def test_a_released_pv_tells_no_exact_time_of_its_binding() -> None:
    """Its last change of phase was the release: it was bound by then."""
    released = pv("Released")
    released = replace(released, status=replace(released.status, last_phase_transition_time=at(50)))
    story = found(by(released))
    assert told(steps(story)["8"]) == (50, "lastPhaseTransitionTime of PersistentVolume", True)


def test_a_restarted_container_tells_of_its_first_start_while_that_is_kept() -> None:
    """After one restart the start before is the first; after more, all that is known is that it was no later."""

    def run(restarts: int) -> tuple[float | None, str, bool]:
        status = ContainerStatus(
            name="main",
            restart_count=restarts,
            state=ContainerState(running=ContainerStateRunning(started_at=at(90))),
            last_state=ContainerState(terminated=ContainerStateTerminated(started_at=at(40))),
        )
        plain = pod(NODE, phase="Running", started=True)
        running = replace(plain, status=replace(plain.status, container_statuses=(status,)))
        return told(steps(found(by(BOUND), by(pv()), running))["17"])

    assert run(0) == (90, "startedAt of containers", False)
    assert run(1) == (40, "startedAt of containers", False)
    assert run(2) == (40, "startedAt of containers", True)


def test_a_node_noted_for_a_pod_before_was_not_chosen_for_this_one() -> None:
    """The name stays on the claim: of the new pod only its own binding tells."""
    later = replace(pod(NODE), status=replace(pod(NODE).status, conditions=(
        Condition(type="PodScheduled", status="True", last_transition_time=at(301)),
    )))  # fmt: skip
    story = found(by(BOUND, written(Manager.SCHEDULER, 1)), by(pv()), by(later, born=300))
    assert told(steps(story)["3"]) == (301, "condition PodScheduled", True)


def test_a_field_that_comes_late_does_not_make_an_old_step_seen_now() -> None:
    """Done when we came, without a time: told later, it has the field's time, and was not seen to happen."""
    story = found(by(BOUND), by(pod(NODE)))
    assert told(steps(story)["5"])[0] is None
    story.put(by(BOUND, written(Manager.CONTROLLER_MANAGER, LATE)), at=LATE + 1)
    assert told(steps(story)["5"]) == (
        LATE,
        "managedFields of kube-controller-manager on PersistentVolumeClaim",
        True,
    )


def test_managers_with_names_of_their_own_are_others() -> None:
    """People choose them, so they are not kept."""
    raw = b'{"manager":"mallory-edit","subresource":"status","time":"2026-01-02T10:00:00Z","fieldsV1":{"f:x":{}}}'
    assert msgspec.json.decode(raw, type=ManagedFields) == ManagedFields(
        subresource="status", time="2026-01-02T10:00:00Z"
    )


_TIMES = st.integers(-60, LATE + 60)


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[Story, Story]:
    """(the live story up to a moment, the same objects found by somebody who came then), with times of any kind in them."""
    live = draw(st.sampled_from(ROAD))[1]
    late = Story().hear_everyone()
    for stored in live.state.objects.values():
        obj = stored.object
        if isinstance(obj, PersistentVolumeClaim | PersistentVolume | VolumeAttachment | Pod):
            writes = [
                written(manager, draw(_TIMES), subresource)
                for manager in draw(st.lists(st.sampled_from(Manager), max_size=3))
                for subresource in ("", "status")
            ]
            obj = by(obj, *writes, born=draw(_TIMES))
        late.find(obj, at=LATE)
    return live, late


@settings(max_examples=150)
@given(arrivals())
def test_what_is_reconstructed_is_neither_in_the_future_nor_unseen(told_twice: tuple[Story, Story]) -> None:
    """Whatever clocks and writers say: no time is later than our sight of it, and no step is done that was not for who watched;
    a time read from a field names the field."""
    live, late = told_twice
    done_live = {step for step, status in live.statuses().items() if status is StepStatus.DONE}
    views = steps(late)
    assert {step for step, view in views.items() if view.status is StepStatus.DONE} <= done_live
    for view in views.values():
        if view.status is StepStatus.DONE and view.at is not None:
            assert view.at <= late.at
            assert bool(view.source) == (view.stamp is Stamp.SERVER)
    assert KEY in late.state.volumes
    assert parse_rfc3339(late.time()) == START + LATE * SECOND
