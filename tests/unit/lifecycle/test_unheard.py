"""Verdicts where somebody is not heard, or was not in time: what is unknown is said to be, and hides nothing that is known."""

import pytest

from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.verdict import verdict
from csitrace.lifecycle.views import Severity
from csitrace.model import events
from csitrace.model.events import Witness
from csitrace.model.times import SECOND
from tests.story import (
    DRIVER,
    HANDLE,
    NODE,
    PV_NAME,
    STAGING,
    Story,
    claim,
    csi_driver,
    pod,
    storage_class,
    story_at,
    straight_road,
    way_back_road,
)


def test_a_call_whose_driver_fell_silent_is_not_said_to_be_in_flight() -> None:
    """Whether it still is, nobody can tell: the driver's word is unknown, and says since when and why."""
    story = story_at("15")
    story.call("NodeStageVolume", volume_id=HANDLE, staging_target_path=STAGING)
    story.tell(events.SourceDown(witness=Witness.DRIVER, scope=f"{DRIVER}@{NODE}", reason="no sign of life"))
    word = story.verdict(later=90)
    assert (word.severity, word.step_id) == (Severity.STUCK, "16a")
    assert "in flight" not in word.sentence
    (said,) = [fact.text for fact in word.evidence if fact.witness is Witness.DRIVER and "Stage" in fact.text]
    assert said == "NodeStageVolume was in flight when its driver was last heard: no sign of life"


def test_what_may_not_be_read_is_not_gone_either() -> None:
    """On the way back, no VolumeAttachment where none may be read is not one that is gone; nor does an old Node tell of today."""
    story = story_at("9")
    for kind in ("VolumeAttachment", "Node"):
        story.tell(
            events.SourceDown(
                witness=Witness.KUBERNETES, scope=kind, reason=f"may not list {kind}", denied=True
            )
        )
    story.put(pod(NODE, "running", "Running", started=True))
    story.put(pod(NODE, "terminated", "Running", started=True, deleting=True))
    statuses = story.back_statuses()
    assert [statuses[step] for step in ("b6", "b7", "b9")] == [StepStatus.UNKNOWN] * 3


@pytest.mark.parametrize("kind", ["VolumeAttachment", "PersistentVolume", "Pod"])
def test_a_kind_that_may_not_be_read_is_unknown_not_absent(kind: str) -> None:
    """A missing permission never turns into "none": the step says unknown, because ..."""
    story = Story().hear_everyone()
    story.tell(
        events.SourceDown(witness=Witness.KUBERNETES, scope=kind, reason=f"may not list {kind}", denied=True)
    )
    story.put(storage_class()).put(csi_driver()).put(claim(selected_node=NODE, storage_provisioner=DRIVER))
    unseen = {"VolumeAttachment": ("11", "14"), "PersistentVolume": ("6", "7"), "Pod": ("9", "17")}[kind]
    if kind == "VolumeAttachment":
        story = story_at("9")
        story.tell(
            events.SourceDown(
                witness=Witness.KUBERNETES, scope=kind, reason=f"may not list {kind}", denied=True
            )
        )
    for step_id in unseen:
        assert story.statuses()[step_id] is StepStatus.UNKNOWN, step_id
    word = story.verdict()
    if word.severity is Severity.UNKNOWN:
        assert f"may not list {kind}" in word.sentence


def test_a_driver_alone_is_enough_to_show_a_volume() -> None:
    """Without any right in the cluster, the calls a driver tells of still make a row, named as well as can be."""
    story = Story()
    story.tell(events.SourceUp(witness=Witness.DRIVER, scope=f"{DRIVER}@{NODE}", instance="run-1"))
    story.create_volume()
    assert story.volume.volume_id == HANDLE
    row = volume_row(story.state, story.volume, story.at)
    assert row.phases[0] is StepStatus.DONE
    assert row.phases[1] is StepStatus.UNKNOWN
    assert row.severity is Severity.UNKNOWN
    story.rpc("DeleteVolume")
    assert story.volume.gone_at is not None


@pytest.mark.parametrize(
    ("method", "names", "step"),
    [
        ("CreateVolume", {"volume_name": PV_NAME}, "6"),
        ("ControllerPublishVolume", {"volume_id": HANDLE, "node_id": NODE}, "13"),
    ],
)
def test_what_nobody_can_tell_does_not_hide_what_fails(method: str, names: dict[str, str], step: str) -> None:
    """Of a volume that only a driver's calls tell of, as in a sidecar's log, the verdict is on the call that is refused."""
    story = Story()
    for kind in (
        "PersistentVolumeClaim",
        "PersistentVolume",
        "Pod",
        "VolumeAttachment",
        "StorageClass",
        "CSIDriver",
    ):
        story.tell(events.SourceDown(witness=Witness.KUBERNETES, scope=kind, reason="not in the dump"))
    story.tell(events.SourceUp(witness=Witness.DRIVER, scope=f"{DRIVER}@{NODE}"))
    story.rpc(method, 13, "no such pool", **names)
    (volume,) = story.state.volumes.values()
    word = verdict(story.state, volume, story.at + 90 * SECOND)
    assert (word.severity, word.step_id) == (Severity.STUCK, step)
    assert word.sentence.startswith(f"{method}: INTERNAL: no such pool")


def test_a_late_word_of_a_driver_makes_nothing_of_what_is_gone() -> None:
    """Claim and PV are gone; a call that is told of only now, and is not over, leaves its end open, and no PV is kept."""
    story = way_back_road(straight_road()[-1][1])
    assert story.volume.gone_at is not None
    story.call("NodeStageVolume", volume_id=HANDLE, staging_target_path=STAGING)
    word = story.verdict()
    assert word.sentence == (
        "claim and PV are gone; of what a driver or a node still does with it nobody knows the end"
    )


def test_a_volume_is_gone_since_the_last_of_it_went() -> None:
    """A driver that is heard late tells of an end that came before the PV's: it was not gone by then."""
    told = Story()
    straight_road(told)
    way_back_road(told)
    volume = told.volume
    assert volume.gone_at == max(volume.gone_at or 0, volume.pv_gone_at or 0, volume.claim_gone_at or 0)
    call_id = told.call("DeleteVolume", volume_id=HANDLE)
    assert told.volume.gone_at is None
    told.answer(call_id, "DeleteVolume", at=-1000.0, volume_id=HANDLE)
    assert told.volume.gone_at == told.volume.pv_gone_at
