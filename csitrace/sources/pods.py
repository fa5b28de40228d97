"""Which pod a process belongs to, by what the kernel shows of it.

Kubelet names a pod's cgroup after its uid: `kubepods/burstable/pod<uid>` (cgroupfs), or, where systemd keeps the cgroups,
`kubepods-burstable-pod<uid>.slice` with the uid's dashes as underscores. Seen from within a cgroup namespace the path begins
with `/..`, so only that part of it is looked for. A static pod's uid is the hash of its manifest, without dashes. Where kubelet
keeps no cgroups of pods (`cgroupsPerQOS: false`), a container's termination log and hosts file still are mounts of the pod's
directory.

/proc/PID/cgroup and /proc/PID/mountinfo can be read whatever state the process is in, by anyone.
"""

import re
from pathlib import Path

_UID = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
_CGROUP_OF_POD = re.compile(rf"[/-]pod({_UID})(?:\.slice)?(?:/|$)", re.MULTILINE)
_MOUNT_OF_POD = re.compile(rf" \S*/pods/({_UID})/(?:etc-hosts|containers/[^/ ]+/[^/ ]+) /", re.MULTILINE)


def pod_uid_of(pid: int) -> str:
    """The uid of the pod that process `pid` runs in; empty where it runs in none, or where nothing tells."""
    for name, uid_in in (("cgroup", pod_uid_in_cgroup), ("mountinfo", pod_uid_in_mountinfo)):
        try:
            uid = uid_in(Path(f"/proc/{pid}/{name}").read_text(errors="replace"))
        except OSError:
            continue
        if uid:
            return uid
    return ""


def pod_uid_in_cgroup(text: str) -> str:
    """The pod's uid in the content of a /proc/PID/cgroup, of version 1 or 2; empty where no line names a pod."""
    found = _CGROUP_OF_POD.search(text)
    return found[1].replace("_", "-") if found else ""


def pod_uid_in_mountinfo(text: str) -> str:
    """The uid of the pod whose files a container's /proc/PID/mountinfo shows as mounts; empty where none are."""
    found = _MOUNT_OF_POD.search(text)
    return found[1] if found else ""
