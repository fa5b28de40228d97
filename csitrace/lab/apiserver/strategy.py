"""What the API server itself does to an object: defaults and admission on creation, what an update may touch, how deletion goes.

Facts: admission plugins StorageObjectInUseProtection and DefaultStorageClass; the registry strategies of Pod (graceful
deletion, binding), PersistentVolume (`status.phase: Pending` on creation); `metadata` handling of the generic registry.
"""

import secrets
import uuid
from collections.abc import Callable

from csitrace.lab.apiserver import resources
from csitrace.lab.apiserver.resources import Resource
from csitrace.lab.apiserver.store import Store
from csitrace.lab.clock import timestamp
from csitrace.lab.status import Object, StatusError, conflict, invalid

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SYSTEM_METADATA = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "namespace",
)
_GRACE_PERIOD_SECONDS = 30


def create(store: Store, resource: Resource, namespace: str, body: Object) -> Object:
    """Stamp, default and store a new object. StatusError where it is invalid or exists."""
    metadata = dict(body.get("metadata") or {})
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"] + "".join(secrets.choice(_NAME_LETTERS) for _ in range(5))
    if not metadata.get("name"):
        raise invalid(resource.kind, "", "metadata.name", "Required value: name or generateName is required")
    if resource.namespaced:
        if metadata.setdefault("namespace", namespace) != namespace:
            message = "the namespace of the provided object does not match the namespace sent on the request"
            raise StatusError(400, "BadRequest", message)
        store.get(resources.NAMESPACES, "", namespace)
    for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"):
        metadata.pop(name, None)
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
    obj = body | {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    if resource.has_status:
        obj.pop("status", None)
    if admit := _ADMIT.get(resource):
        obj = admit(store, obj)
    return store.create(resource, obj)


def update(store: Store, resource: Resource, previous: Object, body: Object, subresource: str = "") -> Object:
    """Store a changed object: through the main resource all but its status, through `status` the status.

    An object under deletion whose last finalizer goes is removed. StatusError 409 on a stale resourceVersion.
    """
    metadata = dict(body.get("metadata") or {})
    name = previous["metadata"]["name"]
    if metadata.get("uid", previous["metadata"]["uid"]) != previous["metadata"]["uid"]:
        raise conflict(
            resource.qualified, name, "the UID in the precondition does not match the stored object"
        )
    if metadata.get("resourceVersion") not in (None, "", previous["metadata"]["resourceVersion"]):
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise conflict(resource.qualified, name, why)
    for field in _SYSTEM_METADATA:
        metadata.pop(field, None)
        if field in previous["metadata"]:
            metadata[field] = previous["metadata"][field]
    metadata["resourceVersion"] = previous["metadata"]["resourceVersion"]
    metadata["name"] = name
    if not metadata.get("finalizers"):
        metadata.pop("finalizers", None)
    if subresource == "status":
        obj = previous | {"metadata": metadata, "status": body.get("status", {})}
    else:
        obj = body | {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if resource.has_status:
            obj.pop("status", None)
            if "status" in previous:
                obj["status"] = previous["status"]
    if adjust := _ADJUST.get(resource):
        obj = adjust(previous, obj)
    if metadata.get("deletionTimestamp") and not _is_held(obj):
        return store.delete(resource, previous)  # watchers are told the last state that was stored
    return store.update(resource, obj)


def delete(store: Store, resource: Resource, obj: Object, options: Object) -> tuple[Object, bool]:
    """Delete, or mark for deletion what finalizers or a grace period still hold. True: it is gone."""
    metadata = obj["metadata"]
    preconditions = options.get("preconditions") or {}
    for field in ("uid", "resourceVersion"):
        wanted = preconditions.get(field)
        if wanted is not None and wanted != metadata[field]:
            why = f"Precondition failed: {field} in precondition: {wanted}, in object meta: {metadata[field]}"
            raise conflict(resource.qualified, metadata["name"], why)
    grace = _grace_period(resource, obj, options)
    marked = dict(metadata)
    if "deletionTimestamp" not in marked or grace < marked.get("deletionGracePeriodSeconds", 0):
        marked |= {"deletionTimestamp": timestamp(grace), "deletionGracePeriodSeconds": grace}
    changed = obj | {"metadata": marked}
    if _is_held(changed):
        return store.update(resource, changed), False
    if "deletionTimestamp" in metadata:
        # Watchers see the end of a grace period as a change of its own before the deletion.
        obj = store.update(resource, changed)
    return store.delete(resource, obj), True


def bind(store: Store, namespace: str, name: str, binding: Object) -> None:
    """The pod's `binding` subresource: the scheduler's verdict. StatusError 409 when it is bound already."""
    pod = store.get(resources.PODS, namespace, name)
    node = (binding.get("target") or {}).get("name", "")
    if pod.get("spec", {}).get("nodeName"):
        assigned = pod["spec"]["nodeName"]
        raise conflict("pods/binding", name, f'pod {name} is already assigned to node "{assigned}"')
    if pod["metadata"].get("deletionTimestamp"):
        raise conflict("pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    condition = {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp()}
    others = [c for c in pod["status"].get("conditions", []) if c["type"] != "PodScheduled"]
    bound = pod | {
        "spec": pod["spec"] | {"nodeName": node},
        "status": pod["status"] | {"conditions": [*others, condition]},
    }
    store.update(resources.PODS, bound)


def _is_held(obj: Object) -> bool:
    """Something keeps an object under deletion: finalizers, or (pods alone) a grace period that kubelet has not ended."""
    metadata = obj["metadata"]
    return bool(metadata.get("finalizers")) or metadata.get("deletionGracePeriodSeconds", 0) > 0


def _grace_period(resource: Resource, obj: Object, options: Object) -> int:
    if resource is not resources.PODS:
        return 0
    finished = obj.get("status", {}).get("phase") in ("Succeeded", "Failed")
    if not obj["spec"].get("nodeName") or finished:
        return 0  # nobody has anything to stop
    wanted = options.get("gracePeriodSeconds")
    default = obj["spec"].get("terminationGracePeriodSeconds", _GRACE_PERIOD_SECONDS)
    return int(default if wanted is None else wanted)


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
        "terminationGracePeriodSeconds": _GRACE_PERIOD_SECONDS,
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
        "status": {"phase": "Active"},
    }


def _with_finalizer(obj: Object, finalizer: str) -> Object:
    finalizers = obj["metadata"].get("finalizers") or []
    if finalizer not in finalizers:
        finalizers = [*finalizers, finalizer]
    return obj | {"metadata": obj["metadata"] | {"finalizers": finalizers}}


def _stamp_phase_transition(previous: Object, volume: Object) -> Object:
    status = volume.get("status", {})
    if status.get("phase") == previous["status"].get("phase"):
        return volume
    return volume | {"status": status | {"lastPhaseTransitionTime": timestamp()}}


_ADMIT: dict[Resource, Callable[[Store, Object], Object]] = {
    resources.NAMESPACES: _admit_namespace,
    resources.PERSISTENT_VOLUME_CLAIMS: _admit_claim,
    resources.PERSISTENT_VOLUMES: _admit_volume,
    resources.PODS: _admit_pod,
    resources.VOLUME_ATTACHMENTS: _admit_attachment,
    resources.STORAGE_CLASSES: _admit_class,
    resources.CSI_DRIVERS: _admit_driver,
}

_ADJUST: dict[Resource, Callable[[Object, Object], Object]] = {
    resources.PERSISTENT_VOLUMES: _stamp_phase_transition,
}
