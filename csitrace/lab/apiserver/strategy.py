"""What the API server itself does to any object: what a creation stamps, what an update may touch, how deletion goes.

Facts: `metadata` handling of the generic registry; the strategies of Pod (graceful deletion, binding) and Namespace (held
until it is finalized). What is particular to a kind on creation and update is in `admission`.
"""

import secrets
import uuid

from csitrace.lab.apiserver import resources
from csitrace.lab.apiserver.admission import ADJUST, ADMIT, GRACE_PERIOD_SECONDS
from csitrace.lab.apiserver.resources import Resource
from csitrace.lab.apiserver.store import Store
from csitrace.lab.clock import timestamp
from csitrace.lab.status import Object, StatusError, conflict, invalid

_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SYSTEM_METADATA = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "namespace",
)


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
        if "deletionTimestamp" in store.get(resources.NAMESPACES, "", namespace)["metadata"]:
            message = (
                f'{resource.qualified} "{metadata["name"]}" is forbidden: unable to create new content in namespace '
                f"{namespace} because it is being terminated"
            )
            raise StatusError(403, "Forbidden", message)
    for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"):
        metadata.pop(name, None)
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
    obj = body | {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    if resource.has_status:
        obj.pop("status", None)
    if admit := ADMIT.get(resource):
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
    elif subresource == "finalize":
        obj = previous | {"metadata": metadata, "spec": body.get("spec", {})}
    else:
        obj = body | {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if resource.has_status:
            obj.pop("status", None)
            if "status" in previous:
                obj["status"] = previous["status"]
    if adjust := ADJUST.get(resource):
        obj = adjust(store, previous, obj)
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
    if resource is resources.NAMESPACES:
        changed |= {"status": {"phase": "Terminating"}}
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
    """Something keeps an object under deletion: finalizers, of its own or (a namespace) of its spec, or (a pod) a grace period
    that kubelet has not ended."""
    metadata = obj["metadata"]
    if obj["kind"] == "Namespace" and (obj.get("spec") or {}).get("finalizers"):
        return True
    return bool(metadata.get("finalizers")) or metadata.get("deletionGracePeriodSeconds", 0) > 0


def _grace_period(resource: Resource, obj: Object, options: Object) -> int:
    if resource is not resources.PODS:
        return 0
    finished = obj.get("status", {}).get("phase") in ("Succeeded", "Failed")
    if not obj["spec"].get("nodeName") or finished:
        return 0  # nobody has anything to stop
    wanted = options.get("gracePeriodSeconds")
    default = obj["spec"].get("terminationGracePeriodSeconds", GRACE_PERIOD_SECONDS)
    return int(default if wanted is None else wanted)
