"""Volumes that nobody attaches: of a driver that says attachRequired: false, and inline ones."""

from msgspec.structs import replace

from csitrace.lifecycle.index import inline_handle
from csitrace.lifecycle.ladder import way_back
from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.verdict import verdict
from csitrace.lifecycle.views import Severity
from csitrace.model.kubernetes import CSIVolumeSource, Pod
from csitrace.model.kubernetes import Volume as PodVolume
from tests import story
from tests.story import DRIVER, NODE, POD_UID, PV_NAME, STAGING, TARGET, Story

_DETACH = ("b6", "b7", "b8", "b9")
_SCRATCH = f"{story.ROOT}/pods/{POD_UID}/volumes/kubernetes.io~csi/scratch/mount"


def _running(told: Story) -> Story:
    told.hear_everyone().put(story.storage_class()).put(story.csi_driver(attach_required=False)).put(
        story.node()
    )
    told.put(story.claim("Bound", PV_NAME, selected_node=NODE, storage_provisioner=DRIVER)).put(story.pv())
    told.rpc("NodeStageVolume", staging_target_path=STAGING).mount(STAGING, 100)
    told.rpc("NodePublishVolume", staging_target_path=STAGING, target_path=TARGET).mount(TARGET, 101)
    return told.put(story.pod(NODE, "running", "Running", started=True))


def test_what_was_never_attached_is_not_detached() -> None:
    """From the pod's deletion on, the steps of detaching are n/a: that there is no VolumeAttachment shows no detach."""
    told = _running(Story())
    assert {told.statuses()[step] for step in ("10", "11", "12", "13", "14")} == {StepStatus.NOT_APPLICABLE}
    leaving = story.pod(NODE, "running", "Running", started=True, deleting=True)
    told.put(leaving)
    assert {told.back_statuses()[step] for step in _DETACH} == {StepStatus.NOT_APPLICABLE}
    told.rpc("NodeUnpublishVolume", target_path=TARGET).unmount(TARGET, 101).remove(leaving)
    told.rpc("NodeUnstageVolume", staging_target_path=STAGING).unmount(STAGING, 100)
    statuses = told.back_statuses()
    assert {statuses[step] for step in _DETACH} == {StepStatus.NOT_APPLICABLE}
    assert {statuses[step] for step in ("b1", "b2", "b3", "b4", "b5")} == {StepStatus.DONE}


def test_what_was_attached_is_detached_whatever_the_driver_says_now() -> None:
    """attachRequired was changed while a volume was attached: what is seen of its detach is shown."""
    told = story.way_back_road(story.straight_road()[-1][1].put(story.csi_driver(attach_required=False)))
    assert {told.back_statuses()[step] for step in _DETACH} == {StepStatus.DONE}


def _pod(deleting: bool = False) -> Pod:
    plain = story.pod(NODE, "running", "Running", started=True, deleting=deleting)
    entry = PodVolume(name="scratch", csi=CSIVolumeSource(driver=DRIVER))
    return replace(plain, spec=replace(plain.spec, volumes=(entry,)))


def test_an_inline_volume_is_gone_with_its_pod() -> None:
    """Its calls were heard, and there was never a DeleteVolume: unpublished and its pod gone, nothing of it is left."""
    handle = inline_handle(POD_UID, "scratch")
    told = Story().hear_everyone().put(story.csi_driver()).put(story.node()).put(_pod())
    told.rpc("NodePublishVolume", volume_id=handle, target_path=_SCRATCH).mount(_SCRATCH, 101)
    told.put(_pod(deleting=True))
    told.rpc("NodeUnpublishVolume", volume_id=handle, target_path=_SCRATCH).unmount(_SCRATCH, 101)
    (volume,) = told.state.volumes.values()
    assert volume.gone_at is None
    told.remove(_pod(deleting=True))
    (volume,) = told.state.volumes.values()
    assert volume.gone_at is not None
    assert verdict(told.state, volume, told.at).severity is Severity.GONE
    statuses = {view.step_id: view.status for view in way_back(told.state, volume, volume.uses[0])}
    assert {step for step, status in statuses.items() if status is StepStatus.DONE} == {
        "b1",
        "b2",
        "b3",
        "b4",
    }
    assert {status for step, status in statuses.items() if step not in ("b1", "b2", "b3", "b4")} == {
        StepStatus.NOT_APPLICABLE
    }
