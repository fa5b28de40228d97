"""A namespace that is deleted with a volume in use: everything in it is asked to go at once, in no order."""

from collections.abc import Callable
from itertools import permutations

import pytest

from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Severity
from tests.story import (
    DRIVER,
    NODE,
    PV_NAME,
    STAGING,
    TARGET,
    Story,
    attachment,
    claim,
    happened,
    node,
    pod,
    pv,
    straight_road,
)

LEAVING = pod(NODE, "running", "Running", started=True, deleting=True)
STOPPED = pod(NODE, "terminated", "Running", started=True, deleting=True)
GOING = claim("Bound", PV_NAME, deleting=True, selected_node=NODE, storage_provisioner=DRIVER)
BOUND = claim("Bound", PV_NAME, selected_node=NODE, storage_provisioner=DRIVER)
CREATED = happened("ProvisioningSucceeded", "Successfully provisioned volume", BOUND, "Normal")
STARTED = happened("SuccessfulAttachVolume", "AttachVolume.Attach succeeded", LEAVING, "Normal")

Deed = Callable[[Story], Story]

ASKED: dict[str, Deed] = {
    "pod": lambda story: story.put(LEAVING),
    "claim": lambda story: story.put(GOING),
    "events": lambda story: story.remove(CREATED).remove(STARTED),
}
"""What the namespace controller deletes; pod and claim are only asked to go."""

AND_SO: tuple[Deed, ...] = (
    lambda story: story.put(STOPPED),
    lambda story: story.rpc("NodeUnpublishVolume", target_path=TARGET).unmount(TARGET, 101),
    lambda story: story.remove(STOPPED),
    lambda story: story.remove(GOING),
    lambda story: story.put(pv("Released")),
    lambda story: story.put(happened("VolumeFailedDelete", f"persistentvolume {PV_NAME} is still attached to node {NODE}", pv())),
    lambda story: story.rpc("NodeUnstageVolume", staging_target_path=STAGING).unmount(STAGING, 100),
    lambda story: story.put(node()),
    lambda story: story.put(attachment(attached=True, finalizer=True, deleting=True)),
    lambda story: story.rpc("ControllerUnpublishVolume", node_id=NODE),
    lambda story: story.remove(attachment(attached=True, deleting=True)),
    lambda story: story.rpc("DeleteVolume"),
    lambda story: story.remove(pv("Released")),
)  # fmt: skip
"""What follows, by kubelet, pvc-protection, the controllers and the driver, outside the namespace, too."""


@pytest.mark.parametrize("order", permutations(ASKED), ids="-".join)
def test_a_namespace_is_deleted(order: tuple[str, ...]) -> None:
    """In whatever order its objects are asked to go: nobody is called stuck meanwhile, the volume is not gone before all of it
    is, and then nothing is left and every step of the way back is done."""
    story = straight_road()[-1][1].put(CREATED).put(STARTED)
    for deed in (*(ASKED[name] for name in order), *AND_SO):
        assert story.volume.gone_at is None
        deed(story)
        word = story.verdict(later=5)
        assert word.severity is not Severity.STUCK, word.sentence
    assert story.volume.gone_at is not None
    assert story.verdict().severity is Severity.GONE
    assert set(story.back_statuses().values()) == {StepStatus.DONE}
    assert set(story.statuses().values()) == {StepStatus.DONE}
    assert not story.state.anomalies


def test_a_claim_that_goes_before_its_pod_is_held_by_it() -> None:
    """Claims and pods are asked at once: while the pod stays the volume is in use, and its claim is said to wait for the pod."""
    story = ASKED["claim"](straight_road()[-1][1])
    word = story.verdict(later=3_600)
    assert word.severity is Severity.OK
    assert word.sentence == "in use; its claim is to be deleted, once pod web-0 is gone"
