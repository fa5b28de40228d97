"""What is served, as a table: a new kind is a row."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the API. `fields`: what field selectors may name besides `metadata.name` and `metadata.namespace`."""

    kind: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = False
    has_status: bool = False
    fields: tuple[str, ...] = ()
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As error messages name it: `volumeattachments.storage.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def selectable_fields(self) -> tuple[str, ...]:
        scope = ("metadata.name", "metadata.namespace") if self.namespaced else ("metadata.name",)
        return scope + self.fields

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of the collection, of one namespace's part of it, of an object or of its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{scope}/{self.plural}{tail}"


NAMESPACES = Resource("Namespace", "namespaces", has_status=True, short_names=("ns",))
NODES = Resource("Node", "nodes", has_status=True, fields=("spec.unschedulable",), short_names=("no",))
PERSISTENT_VOLUME_CLAIMS = Resource(
    "PersistentVolumeClaim", "persistentvolumeclaims", namespaced=True, has_status=True, short_names=("pvc",)
)
PERSISTENT_VOLUMES = Resource("PersistentVolume", "persistentvolumes", has_status=True, short_names=("pv",))
PODS = Resource(
    "Pod",
    "pods",
    namespaced=True,
    has_status=True,
    fields=("spec.nodeName", "spec.schedulerName", "spec.restartPolicy", "status.phase"),
    short_names=("po",),
)
EVENTS = Resource(
    "Event",
    "events",
    namespaced=True,
    fields=(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    short_names=("ev",),
)
CSI_DRIVERS = Resource("CSIDriver", "csidrivers", "storage.k8s.io")
CSI_NODES = Resource("CSINode", "csinodes", "storage.k8s.io")
STORAGE_CLASSES = Resource("StorageClass", "storageclasses", "storage.k8s.io", short_names=("sc",))
VOLUME_ATTACHMENTS = Resource("VolumeAttachment", "volumeattachments", "storage.k8s.io", has_status=True)
LEASES = Resource("Lease", "leases", "coordination.k8s.io", namespaced=True)
STATEFUL_SETS = Resource(
    "StatefulSet", "statefulsets", "apps", namespaced=True, has_status=True, short_names=("sts",)
)
DEPLOYMENTS = Resource(
    "Deployment", "deployments", "apps", namespaced=True, has_status=True, short_names=("deploy",)
)
REPLICA_SETS = Resource(
    "ReplicaSet", "replicasets", "apps", namespaced=True, has_status=True, short_names=("rs",)
)

RESOURCES: tuple[Resource, ...] = (
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    EVENTS,
    CSI_DRIVERS,
    CSI_NODES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    LEASES,
    STATEFUL_SETS,
    DEPLOYMENTS,
    REPLICA_SETS,
)

RESOURCE_BY_PATH = {(resource.group, resource.version, resource.plural): resource for resource in RESOURCES}
RESOURCE_BY_KIND = {resource.kind: resource for resource in RESOURCES}
