"""What the API server makes of the objects of each kind: defaults and admission on creation, checks on update.

Facts: admission plugins StorageObjectInUseProtection, DefaultStorageClass, DefaultTolerationSeconds,
PersistentVolumeClaimResize; the registry strategy of PersistentVolume (`status.phase: Pending` on creation); defaults of
Kubernetes 1.34.
"""

from collections.abc import Callable

from csitrace.lab.apiserver import resources
from csitrace.lab.apiserver.resources import Resource
from csitrace.lab.apiserver.store import Store
from csitrace.lab.clock import timestamp
from csitrace.lab.quantity import parse_quantity
from csitrace.lab.status import Object, StatusError, invalid

GRACE_PERIOD_SECONDS = 30
_EVICTION_SECONDS = 300
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def _admit_claim(store: Store, claim: Object) -> Object:
    spec = dict(claim.get("spec") or {})
    spec.setdefault("volumeMode", "Filesystem")
    if spec.get("storageClassName") is None:
        defaults = [
            cls
            for cls in store.objects(resources.STORAGE_CLASSES)
            if (cls["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
        ]
        if defaults:
            newest = max(defaults, key=lambda cls: cls["metadata"]["creationTimestamp"])
            spec["storageClassName"] = newest["metadata"]["name"]
    return _with_finalizer(claim, "kubernetes.io/pvc-protection") | {
        "spec": spec,
        "status": {"phase": "Pending"},
    }


def _admit_volume(store: Store, volume: Object) -> Object:
    spec = {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"} | volume.get("spec", {})
    return _with_finalizer(volume, "kubernetes.io/pv-protection") | {
        "spec": spec,
        "status": {"phase": "Pending", "lastPhaseTransitionTime": timestamp()},
    }


def _admit_pod(store: Store, pod: Object) -> Object:
    defaults = {
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "terminationGracePeriodSeconds": GRACE_PERIOD_SECONDS,
        "tolerations": [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _EVICTION_SECONDS}
            for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
        ],
    }
    return pod | {
        "spec": defaults | pod.get("spec", {}),
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def _admit_attachment(store: Store, attachment: Object) -> Object:
    return attachment | {"status": {"attached": False}}


def _admit_class(store: Store, storage_class: Object) -> Object:
    return {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"} | storage_class


def _admit_driver(store: Store, driver: Object) -> Object:
    defaults: Object = {
        "attachRequired": True,
        "podInfoOnMount": False,
        "requiresRepublish": False,
        "storageCapacity": False,
        "fsGroupPolicy": "ReadWriteOnceWithFSType",
        "volumeLifecycleModes": ["Persistent"],
    }
    return driver | {"spec": defaults | driver.get("spec", {})}


def _admit_namespace(store: Store, namespace: Object) -> Object:
    labels = (namespace["metadata"].get("labels") or {}) | {
        "kubernetes.io/metadata.name": namespace["metadata"]["name"]
    }
    return namespace | {
        "metadata": namespace["metadata"] | {"labels": labels},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def _admit_workload(store: Store, workload: Object) -> Object:
    """StatefulSet, Deployment and ReplicaSet alike."""
    defaults: Object = {"replicas": 1}
    if workload["kind"] == "Deployment":
        defaults |= {"strategy": {"type": "RollingUpdate"}}
    return workload | {"spec": defaults | workload["spec"], "status": {"replicas": 0}}


def _with_finalizer(obj: Object, finalizer: str) -> Object:
    finalizers = obj["metadata"].get("finalizers") or []
    if finalizer not in finalizers:
        finalizers = [*finalizers, finalizer]
    return obj | {"metadata": obj["metadata"] | {"finalizers": finalizers}}


def _stamp_phase_transition(store: Store, previous: Object, volume: Object) -> Object:
    status = volume.get("status", {})
    if status.get("phase") == previous["status"].get("phase"):
        return volume
    return volume | {"status": status | {"lastPhaseTransitionTime": timestamp()}}


def _check_claim(store: Store, previous: Object, claim: Object) -> Object:
    """A claim may only grow, if its class lets it; what of a growth has not been carried out may be taken back."""
    before, after = _requested(previous), _requested(claim)
    if after == before:
        return claim
    name = claim["metadata"]["name"]
    has = ((previous.get("status") or {}).get("capacity") or {}).get("storage", "0")
    if after < before and after < parse_quantity(has):
        field = "spec.resources.requests.storage"
        raise invalid(claim["kind"], name, field, "Forbidden: field can not be less than status.capacity")
    classes = {cls["metadata"]["name"]: cls for cls in store.objects(resources.STORAGE_CLASSES)}
    storage_class = classes.get(claim["spec"].get("storageClassName") or "", {})
    if after > before and not storage_class.get("allowVolumeExpansion"):
        message = (
            f'persistentvolumeclaims "{name}" is forbidden: only dynamically provisioned pvc can be resized and the '
            "storageclass that provisions the pvc must support resize"
        )
        raise StatusError(403, "Forbidden", message)
    return claim


def _requested(claim: Object) -> int:
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    return parse_quantity(requests.get("storage", "0"))


ADMIT: dict[Resource, Callable[[Store, Object], Object]] = {
    resources.NAMESPACES: _admit_namespace,
    resources.PERSISTENT_VOLUME_CLAIMS: _admit_claim,
    resources.PERSISTENT_VOLUMES: _admit_volume,
    resources.PODS: _admit_pod,
    resources.VOLUME_ATTACHMENTS: _admit_attachment,
    resources.STORAGE_CLASSES: _admit_class,
    resources.CSI_DRIVERS: _admit_driver,
    resources.STATEFUL_SETS: _admit_workload,
    resources.DEPLOYMENTS: _admit_workload,
    resources.REPLICA_SETS: _admit_workload,
}
"""What is made of a new object."""

ADJUST: dict[Resource, Callable[[Store, Object, Object], Object]] = {
    resources.PERSISTENT_VOLUMES: _stamp_phase_transition,
    resources.PERSISTENT_VOLUME_CLAIMS: _check_claim,
}
"""What is made of a changed object, from the one before. StatusError where it may not be changed so."""
