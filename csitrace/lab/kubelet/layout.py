"""Where kubelet keeps things below its root (`--root-dir`), and the files it writes beside its mounts."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from csitrace.lifecycle.paths import staging_digest


@dataclass(frozen=True, slots=True)
class Layout:
    root: Path

    @property
    def registration_directory(self) -> Path:
        return self.root / "plugins_registry"

    def plugin_directory(self, driver: str) -> Path:
        """Where a driver's sockets are, by convention."""
        return self.root / "plugins" / driver

    def staging_path(self, driver: str, volume_handle: str) -> Path:
        digest = staging_digest(volume_handle)
        return self.root / "plugins" / "kubernetes.io" / "csi" / driver / digest / "globalmount"

    @property
    def pods_directory(self) -> Path:
        return self.root / "pods"

    def publish_path(self, pod_uid: str, volume_name: str) -> Path:
        return self.pods_directory / pod_uid / "volumes" / "kubernetes.io~csi" / volume_name / "mount"


def make_directory(path: Path) -> None:
    """Make a mount point with its parents, without looking at what may be mounted on it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o750)
    except FileExistsError:
        return


def write_volume_data(mount_point: Path, data: dict[str, str]) -> None:
    """`vol_data.json` beside the mount point: what kubelet needs to know to unmount after a restart."""
    (mount_point.parent / "vol_data.json").write_bytes(msgspec.json.encode(data))


def remove_mount_point(mount_point: Path) -> None:
    """Remove an unmounted mount point and its file; one that is still a mount, or is not empty, stays."""
    try:
        mount_point.rmdir()
    except FileNotFoundError:
        pass  # the driver removed it, as the specification asks
    except OSError:
        return
    (mount_point.parent / "vol_data.json").unlink(missing_ok=True)
    try:
        mount_point.parent.rmdir()
    except OSError:
        return


def remove_pod_directory(layout: Layout, pod_uid: str) -> None:
    """Remove what is empty of a pod's directories, as kubelet does once the pod's volumes are gone."""
    pod = layout.pods_directory / pod_uid
    for directory in (pod / "volumes" / "kubernetes.io~csi", pod / "volumes", pod / "volume-subpaths", pod):
        try:
            directory.rmdir()
        except OSError:
            continue
