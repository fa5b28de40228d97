"""A claim asks for more room: a road of its own, shown only when it is walked, step by step with its witnesses."""

import pytest
from msgspec.structs import replace

from csitrace.lifecycle.ladder import expansion
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.spans import spans
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.steps import EXPANSION
from csitrace.lifecycle.views import Severity
from csitrace.model import events
from csitrace.model.events import Witness
from csitrace.model.kubernetes import (
    Condition,
    PersistentVolume,
    PersistentVolumeClaim,
    ResourceRequirements,
    StorageQuantity,
)
from tests import story
from tests.story import DRIVER, HANDLE, NODE, PV_NAME, STAGING, Story, happened, pod, straight_road

D, M, P, F, X, U = (
    StepStatus.DONE,
    StepStatus.MOVING,
    StepStatus.PENDING,
    StepStatus.FAILED,
    StepStatus.NOT_APPLICABLE,
    StepStatus.UNKNOWN,
)
ON_NODE = StorageQuantity(storage="NodeResizePending")


def claim(asks: str = "2Gi", has: str = "1Gi", status: str = "", **conditions: str) -> PersistentVolumeClaim:
    bound = story.claim("Bound", PV_NAME, selected_node=NODE, storage_provisioner=DRIVER)
    told = tuple(Condition(type=kind, status="True", message=message) for kind, message in conditions.items())
    return replace(
        bound,
        spec=replace(bound.spec, resources=ResourceRequirements(requests=StorageQuantity(storage=asks))),
        status=replace(
            bound.status,
            capacity=StorageQuantity(storage=has),
            conditions=told,
            allocated_resource_statuses=StorageQuantity(storage=status),
        ),
    )


def pv(has: str = "1Gi") -> PersistentVolume:
    bound = story.pv()
    return replace(bound, spec=replace(bound.spec, capacity=StorageQuantity(storage=has)))


def in_use() -> Story:
    return dict(straight_road())["17"].put(claim("1Gi")).put(pv())


def statuses(told: Story) -> str:
    """One letter for each step, in order."""
    letters = {D: "D", M: "M", P: "p", F: "F", X: "-", U: "?"}
    use = next((use for use in told.volume.uses if use.ended_at is None), None)
    return "".join(letters[view.status] for view in expansion(told.state, told.volume, use))


def test_no_expansion_no_steps() -> None:
    """A volume that nobody wants larger has no such section, and neither has one that came larger than asked."""
    assert expansion(in_use().state, in_use().volume, None) == ()
    larger = in_use().put(claim("1Gi", has="1.5Gi"))
    assert statuses(larger) == ""


def test_every_step_is_done_when_its_witness_has_spoken_and_not_before() -> None:
    """Asked, ControllerExpandVolume, PV resized, left to the node, NodeExpandVolume, the claim's capacity."""
    told = in_use().put(claim())
    assert statuses(told) == "DMpppp"
    told.put(claim(status="ControllerResizeInProgress", Resizing=""))
    call = told.call("ControllerExpandVolume", volume_id=HANDLE)
    assert (statuses(told), told.verdict().step_id) == ("DMpppp", "e2")
    told.answer(call, "ControllerExpandVolume", volume_id=HANDLE)
    assert statuses(told) == "DDMppp"
    told.put(pv("2Gi"))
    assert statuses(told) == "DDDMpp"
    told.put(
        claim(status="NodeResizePending", FileSystemResizePending="Waiting for user to (re-)start a pod")
    )
    assert (statuses(told), told.verdict().step_id) == ("DDDDMp", "e5")
    told.put(claim(status="NodeResizeInProgress"))
    told.rpc("NodeExpandVolume", staging_target_path=STAGING)
    assert (statuses(told), told.verdict().step_id) == ("DDDDDM", "e6")
    told.put(claim(has="2Gi"))
    assert statuses(told) == "DDDDDD"
    assert told.verdict().sentence == "in use"


def test_while_it_grows_the_row_says_so_and_the_volume_stays_in_use() -> None:
    """The four phases stand; the step that is waited for is the expansion's."""
    told = in_use().put(claim())
    row = volume_row(told.state, told.volume, told.at)
    assert row.phases == (D,) * 4
    assert (row.stage, row.step_id, row.step_title) == ("Expand", "e2", "ControllerExpandVolume")
    assert row.severity is Severity.MOVING


def test_a_refused_expansion_is_told_in_the_drivers_words_or_the_claims() -> None:
    """A final error is stuck at once: from the driver, or where it is not heard from the claim's condition."""
    told = in_use().put(claim(Resizing=""))
    told.rpc("ControllerExpandVolume", 11, "backend is full")
    told.put(
        claim(
            ControllerResizeError="failed to expand pvc with rpc error: code = OutOfRange desc = backend is full"
        )
    )
    word = told.verdict()
    assert (word.severity, word.step_id) == (Severity.STUCK, "e2")
    assert word.sentence == "ControllerExpandVolume: OUT_OF_RANGE: backend is full"
    alone = in_use()
    alone.put(
        claim(
            ControllerResizeError="failed to expand pvc with rpc error: code = OutOfRange desc = backend is full"
        )
    )
    assert "backend is full" in alone.verdict().sentence


def test_a_refusal_of_the_node_is_told() -> None:
    """Kubelet's complaint about NodeExpandVolume, where the node's driver is not heard."""
    told = in_use().put(claim()).put(pv("2Gi")).put(claim(status="NodeResizePending"))
    complaint = f'NodeExpandVolume.NodeExpandVolume failed for volume "{PV_NAME}" : rpc error: code = Internal desc = no'
    event = happened("VolumeResizeFailed", complaint, pod(NODE))
    told.put(replace(event, source=replace(event.source, component="kubelet")))
    word = told.verdict()
    assert (word.severity, word.step_id) == (Severity.STUCK, "e5")
    assert "desc = no" in word.sentence


def test_a_volume_at_rest_grows_as_far_as_it_can_without_a_pod() -> None:
    """The controller's part goes on without a pod, the node's part waits for one: nobody is late."""
    told = Story().hear_everyone().put(story.storage_class()).put(story.csi_driver())
    told.put(pv()).put(claim("1Gi")).put(claim())
    assert told.verdict().step_id == "e2"
    told.rpc("ControllerExpandVolume").put(pv("2Gi")).put(claim(status="NodeResizePending"))
    word = told.verdict(later=86_400)
    assert (word.severity, word.step_id) == (Severity.WAITING, "e5")
    assert "a pod has to use it" in word.sentence


def test_an_expansion_without_a_nodes_part_skips_it() -> None:
    """external-resizer says it is done, or the driver of the node is heard and was not asked: n/a, not done."""
    told = in_use().put(claim()).rpc("ControllerExpandVolume").put(pv("2Gi")).put(claim(has="2Gi"))
    assert statuses(told) == "DDD--D"
    deaf = in_use()
    deaf.tell(events.SourceDown(witness=Witness.DRIVER, scope=f"{DRIVER}@{NODE}", reason="no such socket"))
    deaf.put(claim()).put(pv("2Gi")).put(claim(has="2Gi"))
    assert statuses(deaf) == "DDD??D"
    assert deaf.verdict().sentence == "in use"
    deaf.put(happened("VolumeResizeSuccessful", "Resize volume succeeded", claim(), "Normal"))
    assert statuses(deaf) == "DDD--D"


def test_the_next_expansion_begins_at_its_beginning() -> None:
    """What was done for the one before, calls and conditions, is none of its."""
    told = (
        in_use()
        .put(claim())
        .rpc("ControllerExpandVolume")
        .put(pv("2Gi"))
        .put(claim(status="NodeResizePending"))
    )
    told.rpc("NodeExpandVolume").put(claim(has="2Gi"))
    assert statuses(told) == "DDDDDD"
    told.put(claim("3Gi", has="2Gi"))
    assert statuses(told) == "DMpppp"


def test_a_request_that_is_taken_back_is_none() -> None:
    """After an infeasible request the user may ask for less again: then nothing is waited for."""
    told = in_use().put(claim("9Gi", status="ControllerResizeInfeasible"))
    assert told.verdict().severity is Severity.STUCK
    told.put(claim("1Gi"))
    assert (statuses(told), told.verdict().sentence) == ("", "in use")


FACTS = [
    claim(status="ControllerResizeInProgress", Resizing=""),
    pv("2Gi"),
    claim(status="NodeResizePending", FileSystemResizePending=""),
    claim(has="2Gi"),
]


@pytest.mark.parametrize("heard", range(len(FACTS) + 1))
def test_without_the_driver_no_call_of_the_node_is_claimed(heard: int) -> None:
    """Kubernetes alone: every step is done only when an object says so, and the node's call only when the claim has the room."""
    told = in_use()
    told.tell(events.SourceDown(witness=Witness.DRIVER, scope=f"{DRIVER}@{NODE}", reason="no such socket"))
    told.put(claim())
    for fact in FACTS[:heard]:
        told.put(fact)
    assert statuses(told) == ["DMpppp", "DMpppp", "DDDMpp", "DDDDMp", "DDDDDD"][heard]


def test_every_step_names_its_actor_and_its_witnesses() -> None:
    """Six steps, each with who acts, what is waited for, and whose word decides."""
    assert [step.id for step in EXPANSION] == ["e1", "e2", "e3", "e4", "e5", "e6"]
    assert all(
        step.actor and step.waits_for and set(step.attests) <= set(step.authority) for step in EXPANSION
    )


def test_an_expansion_is_a_span() -> None:
    """From its calls where the driver is heard, else from the request to the claim's capacity."""
    told = in_use().put(claim()).rpc("ControllerExpandVolume").put(claim(has="2Gi"))
    assert [span.outcome for span in spans(told.volume) if span.name == "expand"] == ["ok"]
    asked = in_use().put(claim())
    asked_at = asked.at
    (span,) = (span for span in spans(asked.volume) if span.name == "expand")
    assert (span.started_at, span.ended_at) == (asked_at, None)
    asked.put(claim(has="2Gi"))
    (span,) = (span for span in spans(asked.volume) if span.name == "expand")
    assert span.ended_at == asked.at
