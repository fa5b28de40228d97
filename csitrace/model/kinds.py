"""Where each watched kind is served: the catalogue from which the reflector, permissions and completions are made."""

from dataclasses import dataclass

from csitrace.model import kubernetes


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource of the API: `resource` is its plural in URLs and RBAC rules, `object_type` what its JSON decodes to."""

    name: str
    group: str
    version: str
    resource: str
    namespaced: bool
    object_type: type[kubernetes.KubernetesObject]

    def path(self, namespace: str = "") -> str:
        """URL path of the collection: cluster-wide, or in one namespace."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{root}{scope}/{self.resource}"


PERSISTENT_VOLUME_CLAIM = Kind(
    "PersistentVolumeClaim", "", "v1", "persistentvolumeclaims", True, kubernetes.PersistentVolumeClaim
)
PERSISTENT_VOLUME = Kind(
    "PersistentVolume", "", "v1", "persistentvolumes", False, kubernetes.PersistentVolume
)
VOLUME_ATTACHMENT = Kind(
    "VolumeAttachment", "storage.k8s.io", "v1", "volumeattachments", False, kubernetes.VolumeAttachment
)
POD = Kind("Pod", "", "v1", "pods", True, kubernetes.Pod)
EVENT = Kind("Event", "", "v1", "events", True, kubernetes.Event)
CSI_DRIVER = Kind("CSIDriver", "storage.k8s.io", "v1", "csidrivers", False, kubernetes.CSIDriver)
CSI_NODE = Kind("CSINode", "storage.k8s.io", "v1", "csinodes", False, kubernetes.CSINode)
STORAGE_CLASS = Kind("StorageClass", "storage.k8s.io", "v1", "storageclasses", False, kubernetes.StorageClass)
NODE = Kind("Node", "", "v1", "nodes", False, kubernetes.Node)
LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases", True, kubernetes.Lease)

KINDS: tuple[Kind, ...] = (
    PERSISTENT_VOLUME_CLAIM,
    PERSISTENT_VOLUME,
    VOLUME_ATTACHMENT,
    POD,
    EVENT,
    CSI_DRIVER,
    CSI_NODE,
    STORAGE_CLASS,
    NODE,
    LEASE,
)
"""All watched kinds; what a volume cannot be understood without comes first."""

KIND_BY_NAME = {kind.name: kind for kind in KINDS}
