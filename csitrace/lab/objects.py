"""Names, paths and fields of the objects as the real programs compute and read them (Kubernetes 1.34, csi sidecars 2026)."""

import hashlib
import re
from collections.abc import Iterator

from csitrace.lab.status import Object

STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
STORAGE_PROVISIONER_BETA = "volume.beta.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
PVC_PROTECTION = "kubernetes.io/pvc-protection"
PV_PROTECTION = "kubernetes.io/pv-protection"
PROVISIONER_FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
MIGRATED_TO = "pv.kubernetes.io/migrated-to"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
CSI_NODE_ID = "csi.alpha.kubernetes.io/node-id"


def annotations(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def finalizers(obj: Object) -> list[str]:
    return obj["metadata"].get("finalizers") or []


def with_finalizer(obj: Object, finalizer: str) -> Object:
    return _with_metadata(obj, finalizers=[*finalizers(obj), finalizer])


def without_finalizer(obj: Object, finalizer: str) -> Object:
    return _with_metadata(obj, finalizers=[name for name in finalizers(obj) if name != finalizer])


def with_annotations(obj: Object, **changes: str) -> Object:
    return _with_metadata(obj, annotations=annotations(obj) | changes)


def is_terminating(obj: Object) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def is_finished(pod: Object) -> bool:
    """All containers have ended for good."""
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def key_of(obj: Object) -> tuple[str, str]:
    """(namespace, name)."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def claim_volumes(pod: Object) -> Iterator[tuple[str, str]]:
    """(volume's name in the pod, claim's name) of each volume that comes from a claim, its own ephemeral ones included."""
    for volume in pod["spec"].get("volumes") or []:
        if source := volume.get("persistentVolumeClaim"):
            yield volume["name"], source["claimName"]
        elif volume.get("ephemeral"):
            yield volume["name"], ephemeral_claim_name(pod, volume)


def ephemeral_claim_name(pod: Object, volume: Object) -> str:
    """The claim of a generic ephemeral volume."""
    return f"{pod['metadata']['name']}-{volume['name']}"


def owner_of(obj: Object) -> Object | None:
    """The owner that controls it."""
    owners = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def owned_by(owner: Object) -> Object:
    """The reference that an object made by a controller for `owner` carries."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_owned(obj: Object, owner: Object) -> bool:
    reference = owner_of(obj)
    return reference is not None and bool(reference["uid"] == owner["metadata"]["uid"])


def is_bound(claim: Object) -> bool:
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in annotations(claim)


def volume_name(claim: Object) -> str:
    """The name that external-provisioner gives to a claim's PV, and in CreateVolume."""
    return f"pvc-{claim['metadata']['uid']}"


def attachment_name(volume_handle: str, driver: str, node_name: str) -> str:
    """A VolumeAttachment's name: a hash of the plain concatenation."""
    return "csi-" + hashlib.sha256(f"{volume_handle}{driver}{node_name}".encode()).hexdigest()


def unique_volume_name(driver: str, volume_handle: str) -> str:
    """As in `node.status.volumesInUse` and `volumesAttached`."""
    return f"kubernetes.io/csi/{driver}^{volume_handle}"


def attacher_finalizer(driver: str) -> str:
    return "external-attacher/" + re.sub(r"[^A-Za-z0-9-]", "-", driver)


def is_ready(obj: Object) -> bool:
    """Of a node or a pod."""
    return (condition(obj, "Ready") or {}).get("status") == "True"


def has_taint(node: Object, key: str, effect: str) -> bool:
    taints = node["spec"].get("taints") or []
    return any(taint["key"] == key and taint["effect"] == effect for taint in taints)


def condition(obj: Object, kind: str) -> Object | None:
    for entry in obj.get("status", {}).get("conditions") or []:
        if entry["type"] == kind:
            found: Object = entry
            return found
    return None


def _with_metadata(obj: Object, **changes: object) -> Object:
    return obj | {"metadata": obj["metadata"] | changes}
