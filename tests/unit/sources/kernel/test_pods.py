"""Which pod a process belongs to."""

import pytest

from csitrace.sources.pods import pod_uid_in_cgroup, pod_uid_in_mountinfo, pod_uid_of

UID = "0a1b2c3d-1111-2222-3333-444455556666"
SLICE = "pod0a1b2c3d_1111_2222_3333_444455556666.slice"
STATIC = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "cgroup",
    [
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{SLICE}/cri-containerd-77aa.scope",
        f"0::/kubepods.slice/kubepods-{SLICE}/crio-77aa.scope",
        f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-{SLICE}/cri-containerd-77aa.scope",
        f"0::/kubepods/besteffort/pod{UID}/77aa",
        f"0::/kubepods/pod{UID}/77aa/init",
        f"0::/kubepods/pod{UID}",
        f"0::/../../kubepods-besteffort-{SLICE}/cri-containerd-77aa.scope",
        f"0::/../../pod{UID}/77aa",
        f"12:pids:/kubepods/burstable/pod{UID}/77aa\n4:memory:/\n1:name=systemd:/kubepods/burstable/pod{UID}/77aa",
        f"9:name=systemd:/\n4:memory:/kubepods.slice/kubepods-{SLICE}/docker-77aa.scope\n0::/",
    ],
)
def test_a_pods_cgroup_names_it(cgroup: str) -> None:
    """Both cgroup versions, both cgroup drivers, every class of service, from the host and from a cgroup namespace."""
    assert pod_uid_in_cgroup(f"{cgroup}\n") == UID


def test_a_static_pod_goes_by_its_hash() -> None:
    """The uid that kubelet gives to a pod of its manifest directory has no dashes."""
    assert pod_uid_in_cgroup(f"0::/kubepods/burstable/pod{STATIC}/77aa\n") == STATIC


@pytest.mark.parametrize(
    "cgroup",
    [
        "",
        "0::/",
        "0::/system.slice/kubelet.service",
        "0::/user.slice/user-0.slice/session-1.scope",
        f"0::/kubepods/besteffort/{UID}",
        "0::/machine.slice/libpod-0a1b2c3d.scope",
        "0::/kubepods/podium/77aa",
    ],
)
def test_other_cgroups_name_no_pod(cgroup: str) -> None:
    """Services, sessions, containers of others, and a uid that is no pod's directory."""
    assert pod_uid_in_cgroup(cgroup) == ""


@pytest.mark.parametrize(
    "line",
    [
        f"671 664 8:1 /var/lib/kubelet/pods/{UID}/etc-hosts /etc/hosts rw,relatime - ext4 /dev/sda1 rw",
        f"672 664 8:1 /kubelet/pods/{UID}/containers/main/77aa /dev/termination-log rw - ext4 /dev/sda1 rw",
    ],
)
def test_without_cgroups_of_pods_a_containers_own_files_name_it(line: str) -> None:
    """Kubelet mounts a hosts file and a termination log of the pod's directory into each container."""
    assert pod_uid_in_mountinfo(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n{line}\n") == UID


def test_a_node_that_mounts_volumes_of_pods_is_no_pod() -> None:
    """The host, and a plugin that sees the host's mounts, have them below a pod's directory, not of it."""
    line = f"90 1 0:40 / /var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~csi/pv/mount rw - fuse.x x rw"
    assert pod_uid_in_mountinfo(f"{line}\n") == ""


def test_a_process_that_is_gone_has_none() -> None:
    """Nothing is claimed, and nothing raised."""
    assert pod_uid_of(2**22 + 1) == ""
