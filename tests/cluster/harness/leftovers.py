"""What containers and kubelet leave outside the cluster's directory, found by the cluster's own ids and paths."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from tests.cluster.harness import mounts
from tests.cluster.harness.errors import ClusterError
from tests.cluster.harness.processes import ProcessId, all_pids, kill_all, marker

CGROUPS = Path("/sys/fs/cgroup")
CNI_CACHE = Path("/var/lib/cni")
# kubelet links every container's log here, whatever its own directories are.
LOG_LINKS = Path("/var/log/containers")
# kubelet serves device plugins here, whatever its root directory is.
_DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")


BUNDLES = Path("run", "containerd", "io.containerd.runtime.v2.task", "k8s.io")
"""In a node's directory: what its containerd knows of each container that runs."""


def container_ids(node: Path) -> list[str]:
    """The containers and sandboxes that the containerd of a node had running, from its state on disk."""
    bundles = node / BUNDLES
    return sorted(entry.name for entry in bundles.iterdir()) if bundles.is_dir() else []


def container_processes(ids: set[str]) -> list[ProcessId]:
    """What runs in the cgroups of these containers."""
    found = []
    for pid in all_pids():
        with suppress(OSError):
            paths = Path(f"/proc/{pid}/cgroup").read_text().split()
            process = ProcessId.of(pid)
            if process is not None and any(part in ids for path in paths for part in path.split("/")):
                found.append(process)
    return found


def clear_node(node: Path) -> None:
    """End a node's containers and take away all it left on the machine but its directory.

    Works on what is on disk and in /proc alone: containerd and its shims may be long dead.
    """
    ids = container_ids(node)
    kill_all(lambda: container_processes(set(ids)))
    _remove_shim_sockets(node)
    mounts.detach_below(node)
    for container in ids:
        for cgroup in CGROUPS.glob(f"**/k8s.io/{container}"):
            _remove_cgroup(cgroup)
        for cached in CNI_CACHE.glob(f"**/*{container}*"):
            cached.unlink(missing_ok=True)
    for link in LOG_LINKS.glob("*.log"):
        if link.is_symlink() and os.readlink(link).startswith(f"{node}/"):
            link.unlink(missing_ok=True)


def clear_shared() -> None:
    """Remove the directories that kubelets and runtimes share, once empty and no kubelet runs on this machine."""
    if any(_command(pid) == "kubelet" for pid in all_pids()):
        return
    for name in ("kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION"):
        (_DEVICE_PLUGINS / name).unlink(missing_ok=True)
    cached = (CNI_CACHE / "results", CNI_CACHE / "networks", CNI_CACHE)
    for directory in (
        _DEVICE_PLUGINS,
        _DEVICE_PLUGINS.parent,
        LOG_LINKS,
        *cached,
        *CGROUPS.glob("**/k8s.io"),
    ):
        with suppress(OSError):
            directory.rmdir()


def remove_tree(directory: Path) -> None:
    """Delete a directory of the cluster, but never through a mount."""
    left = mounts.below(directory)
    if left:
        raise ClusterError(f"still mounted below {directory}: {', '.join(map(str, left))}")
    shutil.rmtree(directory, ignore_errors=False)


def foreign_kubelet() -> int | None:
    """The pid of a kubelet that no harness started, if this machine is a node already."""
    return next((pid for pid in all_pids() if _command(pid) == "kubelet" and marker(pid) is None), None)


def _remove_shim_sockets(node: Path) -> None:
    bundles = node / BUNDLES
    for address in bundles.glob("*/address"):
        socket = Path(address.read_text().removeprefix("unix://"))
        socket.unlink(missing_ok=True)


def _remove_cgroup(cgroup: Path) -> None:
    for child in (entry for entry in cgroup.iterdir() if entry.is_dir()):
        _remove_cgroup(child)
    cgroup.rmdir()


def _command(pid: int) -> str:
    """The name of a process; empty for one that is gone or only waits to be reaped."""
    if ProcessId.of(pid) is None:
        return ""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
