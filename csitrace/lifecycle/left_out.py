"""What no CSI driver has a part in: recognised, left out of the rows, and counted by reason.

In-tree plugins that have moved to CSI (CSIMigration) keep their own PV sources and class provisioners, while a CSI driver does
their work under names that the PV does not tell: their volumes are told apart from those that no CSI driver serves at all.
"""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from csitrace.lifecycle import index
from csitrace.lifecycle.state import State, Volume
from csitrace.model.kubernetes import StorageClass

MIGRATED_PROVISIONERS = frozenset(
    f"kubernetes.io/{name}"
    for name in (
        "aws-ebs",
        "gce-pd",
        "azure-disk",
        "azure-file",
        "cinder",
        "vsphere-volume",
        "portworx-volume",
        "rbd",
    )
)
"""In-tree plugins whose work a CSI driver does (k8s.io/csi-translation-lib)."""

_IN_TREE_PREFIX = "kubernetes.io/"


class Reason(StrEnum):
    """Why something is left out, as a word of the count: "3 migrated to CSI"."""

    MIGRATED = "migrated to CSI"
    NOT_CSI = "not CSI"
    PODS = "pods without CSI volumes"


def reason_of(state: State, volume: Volume) -> Reason | None:
    """Why a volume is left out; None for a CSI volume, or one of which it is not known yet."""
    if volume.pv is not None:
        told = volume.pv.metadata.annotations
        if volume.pv.spec.csi is not None:
            return None
        moved = told.migrated_to or told.provisioned_by in MIGRATED_PROVISIONERS
        return Reason.MIGRATED if moved else Reason.NOT_CSI
    if volume.claim is not None:
        storage_class = index.by_name(state, StorageClass, volume.claim.spec.storage_class_name or "")
        provisioner = storage_class.provisioner if storage_class is not None else ""
        if volume.claim.metadata.annotations.migrated_to or provisioner in MIGRATED_PROVISIONERS:
            return Reason.MIGRATED
    if volume.driver in MIGRATED_PROVISIONERS:
        return Reason.MIGRATED
    return Reason.NOT_CSI if volume.driver.startswith(_IN_TREE_PREFIX) else None


def left_out(state: State) -> Mapping[Reason, int]:
    """How many claims and PVs are left out, and how many pods have neither a claim nor a CSI volume; in this order."""
    volumes = Counter(state.others.values())
    counted = {reason: volumes[reason] for reason in Reason}
    counted[Reason.PODS] = len(index.members(state, index.PLAIN_PODS, ""))
    return {reason: count for reason, count in counted.items() if count}
