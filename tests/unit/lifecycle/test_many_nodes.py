"""One volume on several nodes: each pod's steps are its node's own, and nothing that one node shows is taken for another's."""

import pytest
from msgspec.structs import replace

from csitrace.lifecycle.ladder import ladder, way_back
from csitrace.lifecycle.row import volume_row
from csitrace.lifecycle.state import StepStatus, Use
from csitrace.lifecycle.views import Severity
from csitrace.model import events
from csitrace.model.events import Witness
from csitrace.model.kubernetes import Node, Pod, VolumeAttachment
from tests import story
from tests.story import (
    CLAIM_UID,
    DRIVER,
    HANDLE,
    NODE,
    POD_UID,
    PV_NAME,
    ROOT,
    STAGING,
    TARGET,
    Story,
    mount,
    straight_road,
    way_back_road,
)

OTHER = "n2"
OTHER_UID = POD_UID.replace("a", "b")
OTHER_TARGET = f"{ROOT}/pods/{OTHER_UID}/volumes/kubernetes.io~csi/{PV_NAME}/mount"
DONE, UNKNOWN = StepStatus.DONE, StepStatus.UNKNOWN


def other_pod(
    container: str = "", phase: str = "Pending", started: bool = False, deleting: bool = False
) -> Pod:
    return story.pod(OTHER, container, phase, started, deleting, name="web-1", uid=OTHER_UID)


def other_attachment(attached: bool = False) -> VolumeAttachment:
    va = story.attachment(attached=attached, finalizer=True)
    noted = replace(va.metadata.annotations, csi_node_id=OTHER)
    meta = replace(va.metadata, name="csi-9876543210", uid="uid-va-2", annotations=noted)
    return replace(va, metadata=meta, spec=replace(va.spec, node_name=OTHER))


def other_node(in_use: bool = False) -> Node:
    node = story.node(in_use=in_use, attached=in_use)
    return replace(node, metadata=replace(node.metadata, name=OTHER, uid="uid-node-2"))


def node_call(told: Story, method: str, node_name: str, **names: str) -> None:
    told.call_id += 1
    what = {"driver": DRIVER, "instance": f"run-{node_name}", "call_id": told.call_id, "node_name": node_name}
    told.tell(events.RpcStarted(method=f"/csi.v1.Node/{method}", volume_id=HANDLE, **what, **names))  # type: ignore[arg-type]
    told.tell(events.RpcFinished(method=f"/csi.v1.Node/{method}", volume_id=HANDLE, code=0, **what))  # type: ignore[arg-type]


def mounted(told: Story, path: str, mount_id: int) -> None:
    told.tell(events.MountAppeared(node_name=OTHER, mount=mount(path, mount_id)))


def unmounted(told: Story, path: str, mount_id: int) -> None:
    told.tell(events.MountVanished(node_name=OTHER, mount=mount(path, mount_id)))


def hear(told: Story, node_name: str) -> Story:
    """The node's driver and its kernel."""
    told.tell(
        events.SourceUp(witness=Witness.DRIVER, scope=f"{DRIVER}@{node_name}", instance=f"run-{node_name}")
    )
    told.tell(events.SourceUp(witness=Witness.KERNEL, scope=node_name))
    told.tell(events.ListCompleted(witness=Witness.KERNEL, scope=node_name))
    return told


def use_on(told: Story, node_name: str) -> Use:
    return next(use for use in told.volume.uses if use.node_name == node_name)


def statuses(told: Story, node_name: str) -> dict[str, StepStatus]:
    return {view.step_id: view.status for view in ladder(told.state, told.volume, use_on(told, node_name))}


def back(told: Story, node_name: str) -> dict[str, StepStatus]:
    return {view.step_id: view.status for view in way_back(told.state, told.volume, use_on(told, node_name))}


def second_pod(heard: bool = True) -> Story:
    """ReadWriteMany, in use on the first node; a second pod begins on another."""
    told = dict(straight_road())["17"]
    if heard:
        hear(told, OTHER)
    return told.put(other_node()).put(other_pod())


def both_in_use() -> Story:
    told = second_pod().put(other_attachment()).rpc("ControllerPublishVolume", node_id=OTHER)
    told.put(other_attachment(attached=True)).put(other_pod("waiting", started=True)).put(
        other_node(in_use=True)
    )
    node_call(told, "NodeStageVolume", OTHER, staging_target_path=STAGING)
    mounted(told, STAGING, 100)
    node_call(told, "NodePublishVolume", OTHER, staging_target_path=STAGING, target_path=OTHER_TARGET)
    mounted(told, OTHER_TARGET, 101)
    return told.put(other_pod("running", "Running", started=True))


def test_what_the_first_node_has_done_is_not_done_on_the_second() -> None:
    """Attach, stage and publish are the second node's own; where the volume stands is where its slower pod does."""
    told = second_pod()
    assert [statuses(told, OTHER)[step] for step in ("6", "8", "9")] == [DONE] * 3
    undone = {step for step, status in statuses(told, OTHER).items() if status is not DONE}
    assert undone == {"10", "11", "12", "13", "14", "15", "16a", "16b", "17"}
    assert set(statuses(told, NODE).values()) == {DONE}
    word = told.verdict()
    assert (word.step_id, word.severity) == ("10", Severity.MOVING)


def test_a_call_to_attach_to_one_node_says_nothing_of_the_other() -> None:
    """The controller's calls are told apart by the node id that they name."""
    told = second_pod().put(other_attachment())
    assert statuses(told, OTHER)["13"] is not DONE
    told.rpc("ControllerPublishVolume", node_id=OTHER)
    assert statuses(told, OTHER)["13"] is DONE


def test_a_drivers_own_node_id_is_known_by_what_the_attacher_noted() -> None:
    """A node's id need not be its name: external-attacher writes on the VolumeAttachment what it calls it."""
    told = second_pod()
    va = other_attachment()
    noted = replace(va.metadata.annotations, csi_node_id="i-0042")
    told.put(replace(va, metadata=replace(va.metadata, annotations=noted)))
    told.rpc("ControllerPublishVolume", node_id="i-0042")
    assert (statuses(told, OTHER)["13"], statuses(told, NODE)["13"]) == (DONE, DONE)


def test_in_use_on_two_nodes() -> None:
    """Row, phases and both ladders; the mounts have the same paths and ids on both nodes, and are two."""
    told = both_in_use()
    for node_name in (NODE, OTHER):
        assert set(statuses(told, node_name).values()) == {DONE}, node_name
    row = volume_row(told.state, told.volume, told.at)
    assert set(row.node_names) == {NODE, OTHER}
    assert (row.severity, row.phases) == (Severity.OK, (DONE,) * 4)
    assert sorted((fact.node_name, fact.role) for fact in told.volume.mounts) == [
        (NODE, "publish"), (NODE, "staging"), (OTHER, "publish"), (OTHER, "staging"),
    ]  # fmt: skip


def test_one_pod_leaves_and_the_other_stays() -> None:
    """The way back of the one pod ends with its own node let go; the volume stays in use."""
    told = both_in_use().put(other_pod("terminated", "Running", started=True, deleting=True))
    node_call(told, "NodeUnpublishVolume", OTHER, target_path=OTHER_TARGET)
    unmounted(told, OTHER_TARGET, 101)
    told.remove(other_pod("terminated", "Succeeded", started=True, deleting=True))
    assert back(told, OTHER)["b5"] is not DONE
    node_call(told, "NodeUnstageVolume", OTHER, staging_target_path=STAGING)
    unmounted(told, STAGING, 100)
    told.put(other_node()).rpc("ControllerUnpublishVolume", node_id=OTHER).remove(
        other_attachment(attached=True)
    )
    on_its_node = [
        step for step in back(told, OTHER) if step <= "b9" and step not in ("b10", "b11", "b12", "b13")
    ]
    assert {back(told, OTHER)[step] for step in on_its_node} == {DONE}
    assert set(statuses(told, NODE).values()) == {DONE}
    assert told.verdict().sentence == "in use"


def test_a_node_whose_driver_is_not_heard_is_unknown_there_alone() -> None:
    """The first node's feed, which is heard, cannot tell what the second node's driver was asked."""
    told = (
        second_pod(heard=False).put(other_attachment(attached=True)).put(other_pod("waiting", started=True))
    )
    told.put(other_node(in_use=True))
    views = {view.step_id: view for view in ladder(told.state, told.volume, use_on(told, OTHER))}
    assert views["16a"].status is UNKNOWN
    said = {witness: testimony.text for witness, testimony in views["16b"].testimonies.items()}
    assert said == {
        Witness.DRIVER: f"no feed of {DRIVER} on node {OTHER} is heard",
        Witness.KERNEL: f"no one reports the mounts of node {OTHER}",
    }
    assert statuses(told, NODE)["16a"] is DONE


def test_a_controllers_word_is_awaited_from_who_has_spoken_for_it() -> None:
    """Once a feed has told calls to the controller, another node's feed does not stand in for it."""
    told = hear(dict(straight_road())["12"], OTHER)
    assert Witness.DRIVER not in ladder(told.state, told.volume, told.volume.uses[0])[12].testimonies
    told.tell(events.SourceDown(witness=Witness.DRIVER, scope=f"{DRIVER}@{NODE}", reason="it hangs"))
    (view,) = (view for view in ladder(told.state, told.volume, told.volume.uses[0]) if view.step_id == "13")
    assert view.testimonies[Witness.DRIVER].text == "it hangs"


@pytest.mark.parametrize("silent", [True, False])
def test_a_call_that_never_returns_does_not_keep_a_volume_when_its_driver_is_gone(silent: bool) -> None:
    """Uninstalled in the middle of a call: nobody will tell how it ended, and nothing else is left."""
    told = straight_road()[-1][1]
    call_id = told.call("NodeGetVolumeStats", volume_id=HANDLE)
    way_back_road(told)
    assert told.volume.gone_at is None
    if silent:
        told.tell(
            events.SourceDown(witness=Witness.DRIVER, scope=f"{DRIVER}@{NODE}", reason="no such socket")
        )
        assert told.volume.gone_at is not None
    else:
        told.answer(call_id, "NodeGetVolumeStats", volume_id=HANDLE)
        assert told.volume.gone_at is not None


def test_mounts_on_a_node_that_is_gone_are_no_remains() -> None:
    """A node is deleted with mounts that nobody will see go: the volume is gone with the rest of it."""
    told = (
        both_in_use()
        .remove(other_pod("running", "Running", started=True))
        .remove(other_attachment(attached=True))
    )
    way_back_road(told)
    assert told.volume.gone_at is None
    told.tell(events.SourceDown(witness=Witness.KERNEL, scope=OTHER, reason="connection lost"))
    told.remove(other_node())
    assert told.volume.gone_at is not None


def test_of_a_node_that_is_not_deleted_the_mounts_still_count() -> None:
    """It may come back with them: that they cannot be seen does not make them gone."""
    told = (
        both_in_use()
        .remove(other_pod("running", "Running", started=True))
        .remove(other_attachment(attached=True))
    )
    way_back_road(told)
    told.tell(events.SourceDown(witness=Witness.KERNEL, scope=OTHER, reason="connection lost"))
    assert (told.volume.gone_at, told.volume.key) == (None, f"claim/{CLAIM_UID}")
    assert {fact.node_name for fact in told.volume.mounts} == {OTHER}
    assert TARGET not in {fact.mount.mount_point for fact in told.volume.mounts}
