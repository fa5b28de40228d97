"""What CSI has no part in makes no row, and is counted by reason."""

import pytest
from msgspec.structs import replace

from csitrace.lifecycle.left_out import Reason, left_out
from csitrace.model.kubernetes import Annotations, PersistentVolumeClaim, PodSpec
from tests.story import DRIVER, NODE, POD_UID, PV_NAME, Story, claim, pod, pv, storage_class


def in_tree(migrated_to: str = "", provisioned_by: str = "") -> Story:
    """A claim bound to a PV without a CSI source."""
    plain = pv("Bound")
    annotations = Annotations(migrated_to=migrated_to, provisioned_by=provisioned_by)
    plain = replace(
        plain, metadata=replace(plain.metadata, annotations=annotations), spec=replace(plain.spec, csi=None)
    )
    return Story().hear_everyone().put(plain).put(claim("Bound", PV_NAME))


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (in_tree(), Reason.NOT_CSI),
        (in_tree(migrated_to="pd.csi.storage.gke.io"), Reason.MIGRATED),
        (in_tree(provisioned_by="kubernetes.io/aws-ebs"), Reason.MIGRATED),
    ],
)
def test_a_pv_without_a_csi_source_is_left_out(story: Story, reason: Reason) -> None:
    """Its driver does the work of a migrated one, but under names that the PV does not tell."""
    assert dict(story.state.volumes) == {}
    assert left_out(story.state) == {reason: 1}


def pending_claim(provisioner: str, **annotations: str) -> Story:
    made_by = replace(storage_class(), provisioner=provisioner)
    return Story().hear_everyone().put(made_by).put(claim(**annotations))


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        (pending_claim("kubernetes.io/no-provisioner"), Reason.NOT_CSI),
        (pending_claim("kubernetes.io/aws-ebs", storage_provisioner="ebs.csi.aws.com"), Reason.MIGRATED),
        (pending_claim("kubernetes.io/gce-pd"), Reason.MIGRATED),
    ],
)
def test_a_claim_is_recognised_by_its_class_before_there_is_a_pv(story: Story, reason: Reason) -> None:
    """Also where the PV controller has named the CSI driver that will do an in-tree plugin's work."""
    assert left_out(story.state) == {reason: 1}


def test_pods_without_csi_volumes_are_counted_until_they_are_gone() -> None:
    """A pod with a claim is not one of them, whatever else it has."""
    bare = replace(pod(NODE, uid="bare"), spec=PodSpec(node_name=NODE))
    story = Story().hear_everyone().put(bare).put(pod(NODE, uid=POD_UID))
    assert left_out(story.state) == {Reason.PODS: 1}
    assert left_out(story.remove(bare).state) == {}


def test_what_is_left_out_is_counted_no_more_once_it_is_gone_or_turns_out_to_be_csi() -> None:
    """Also when its kind was only found out after it was first told of."""
    story = in_tree()
    taken: PersistentVolumeClaim = claim("Bound", PV_NAME)
    story.put(pv("Bound"))
    assert (left_out(story.state), story.volume.driver) == ({}, DRIVER)
    story.remove(taken).remove(pv("Bound"))
    assert left_out(story.state) == {}
