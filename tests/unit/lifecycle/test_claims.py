"""Claims off the straight road: deleted while used, made from a source that is refused, made for a pod by Kubernetes itself."""

from msgspec.structs import replace

from csitrace.lifecycle.state import StepStatus
from csitrace.lifecycle.views import Severity
from csitrace.model.kubernetes import EphemeralVolumeSource, OwnerReference, Pod, TypedReference
from csitrace.model.kubernetes import Volume as PodVolume
from tests.story import (
    DRIVER,
    KEY,
    NODE,
    POD_UID,
    PV_NAME,
    Story,
    claim,
    csi_driver,
    happened,
    pod,
    pv,
    storage_class,
    straight_road,
)


def test_a_claim_deleted_while_it_is_used_says_who_holds_it() -> None:
    """Protected by its finalizer: the volume stays in use, and nobody is late."""
    told = straight_road()[-1][1]
    told.put(claim("Bound", PV_NAME, deleting=True, selected_node=NODE, storage_provisioner=DRIVER))
    word = told.verdict(later=3_600)
    assert word.severity is Severity.OK
    assert word.sentence == "in use; its claim is to be deleted, once pod web-0 is gone"
    assert told.back_statuses()["b10"] is not StepStatus.DONE


def test_a_source_that_is_refused_is_told_in_the_provisioners_words() -> None:
    """A clone that the driver cannot make: step 6 fails without a call, by the Event alone."""
    wanted = claim(selected_node=NODE, storage_provisioner=DRIVER)
    source = TypedReference(kind="PersistentVolumeClaim", name="original")
    wanted = replace(wanted, spec=replace(wanted.spec, data_source=source))
    refused = "error getting handle for DataSource Type PersistentVolumeClaim by Name original: CSI driver does not support clone"
    told = Story().hear_everyone().put(storage_class()).put(csi_driver()).put(wanted).put(pod())
    word = told.put(happened("ProvisioningFailed", refused, wanted)).verdict()
    assert (word.severity, word.step_id, word.sentence) == (Severity.STUCK, "6", f"CreateVolume: {refused}")


def ephemeral(node: str = "") -> Pod:
    """A pod whose volume's claim is made for it, and named after both."""
    plain = pod(node)
    entry = PodVolume(name="scratch", ephemeral=EphemeralVolumeSource())
    return replace(plain, spec=replace(plain.spec, volumes=(entry,)))


def test_a_generic_ephemeral_volume_goes_with_its_pod() -> None:
    """Its claim is the pod's by name and owner; once the pod is gone the claim goes, too, and the volume with it."""
    owner = OwnerReference(kind="Pod", name="web-0", uid=POD_UID, controller=True)
    made = claim("Bound", PV_NAME, selected_node=NODE, storage_provisioner=DRIVER)
    made = replace(made, metadata=replace(made.metadata, name="web-0-scratch", owner_references=(owner,)))
    told = Story().hear_everyone().put(storage_class()).put(csi_driver(attach_required=False))
    told.put(ephemeral()).put(made).put(pv()).put(ephemeral(NODE))
    (volume,) = told.state.volumes.values()
    assert (volume.key, [use.volume_name for use in volume.uses]) == (KEY, ["scratch"])
    assert told.verdict().step_id == "15"
    told.remove(ephemeral(NODE)).remove(made).remove(pv())
    assert told.volume.gone_at is not None
