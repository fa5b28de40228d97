"""Which mounts are worth a word: everything below the kubelet's root but the file systems of containers."""

import os
from dataclasses import dataclass

from csitrace.model.mounts import Mount
from csitrace.sources.rooted import resolved, root_of

_OF_CONTAINERS = frozenset({"overlay", "mqueue", "nsfs"})
_ESCAPED_IN_MOUNTINFO = {" ": "\\040", "\t": "\\011", "\n": "\\012", "\\": "\\134"}


@dataclass(frozen=True, slots=True)
class Interest:
    """`roots`: absolute paths without a trailing slash; a mount below any of them matters.

    Staging and publish targets, plugin directories and the tmpfs of secrets are all kept; a container's own overlay and its
    /dev/shm are not, where a container runtime keeps them below the same root.
    """

    roots: tuple[str, ...]

    @classmethod
    def below(cls, kubelet_root: str, pid: str = "self") -> "Interest":
        """Below this directory, as named and as process `pid` resolves it: mountinfo tells resolved paths, and several
        distributions make /var/lib/kubelet a symbolic link. It is on the node's own disk, so resolving it cannot hang."""
        named = os.path.normpath(kubelet_root)
        return cls(tuple(dict.fromkeys(root.rstrip("/") for root in (named, resolved(named, root_of(pid))))))

    def path(self, mount_point: str) -> bool:
        return any(
            mount_point.startswith(root) and mount_point[len(root) :].startswith("/") for root in self.roots
        )

    def mount(self, mount: Mount) -> bool:
        if mount.fs_type in _OF_CONTAINERS or (mount.fs_type == "tmpfs" and mount.source == "shm"):
            return False
        return self.path(mount.mount_point)

    def line_marks(self) -> tuple[bytes, ...]:
        """Byte strings of which every line of mountinfo that `mount` could accept has one: a test cheaper than parsing."""
        return tuple(
            b" " + "".join(_ESCAPED_IN_MOUNTINFO.get(char, char) for char in root).encode() + b"/"
            for root in self.roots
        )
