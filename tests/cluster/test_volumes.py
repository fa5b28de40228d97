"""Unmodified Kubernetes drives the reference driver: volumes come, grow, survive, and go."""

import hashlib

import pytest

from tests.cluster.harness import mounts, objects, storage
from tests.cluster.harness.cluster import Cluster
from tests.cluster.harness.kubectl import Kubectl

_CLASSES = (storage.IMMEDIATE_CLASS, storage.WAITING_CLASS)


@pytest.mark.parametrize("storage_class", _CLASSES)
def test_a_pod_writes_to_its_volume_and_deletion_leaves_nothing(
    kubectl: Kubectl, image: objects.Image, storage_class: str
) -> None:
    """A claim is provisioned, attached and mounted; with pod and claim its PV and VolumeAttachment go too."""
    _run_pod_with_claim(kubectl, image, storage_class)
    assert kubectl("exec", "pod", "--", "sh", "-c", "echo kept > /data/file && cat /data/file") == "kept\n"
    volume, attachment = _volume(kubectl), _attachment(kubectl)
    assert kubectl.get(attachment)["status"]["attached"] is True
    kubectl("delete", "pod/pod", "persistentvolumeclaim/data")
    kubectl.wait("delete", f"persistentvolume/{volume}", attachment)


def test_a_claim_grows_while_it_is_used(kubectl: Kubectl, image: objects.Image) -> None:
    """Raising the request of a mounted claim raises what the pod's file system offers, without a restart."""
    _run_pod_with_claim(kubectl, image, storage.WAITING_CLASS)
    kubectl("patch", "pvc/data", "-p", '{"spec":{"resources":{"requests":{"storage":"32Mi"}}}}')
    kubectl.wait("condition=FileSystemResizePending", "pvc/data")
    # kubelet looks at its volumes' sizes when it syncs the pod: on a change of the pod, or within 90 s.
    kubectl("annotate", "pod/pod", "sync=now")
    kubectl.wait("jsonpath={.status.capacity.storage}=32Mi", "pvc/data", timeout_s=120)
    assert kubectl("exec", "pod", "--", "stat", "-f", "-c", "%b %S", "/data").split() == ["8192", "4096"]


def test_a_mounted_volume_outlives_a_killed_driver(
    kubectl: Kubectl, cluster: Cluster, image: objects.Image
) -> None:
    """kill -9 of the driver interrupts no pod; restarted, it takes the old volume back and serves new claims."""
    _run_pod_with_claim(kubectl, image, storage.WAITING_CLASS)
    cluster.kill("driver")
    assert kubectl("exec", "pod", "--", "sh", "-c", "echo still > /data/file && cat /data/file") == "still\n"
    cluster.restart("driver")
    volume = _volume(kubectl)
    kubectl("delete", "pod/pod", "persistentvolumeclaim/data")
    # The attacher learns by its next call that the old driver is gone, exits and is restarted, and the provisioner
    # meanwhile backs off from deleting an attached volume.
    kubectl.wait("delete", f"persistentvolume/{volume}", timeout_s=150)
    assert [point for point in mounts.below(cluster.directory) if volume in str(point)] == []
    kubectl.apply(objects.claim("new", storage.IMMEDIATE_CLASS))
    kubectl.wait("jsonpath={.status.phase}=Bound", "pvc/new")


def test_a_claim_waits_for_a_killed_provisioner(
    kubectl: Kubectl, cluster: Cluster, image: objects.Image
) -> None:
    """Without the provisioner a claim stays Pending though its node is chosen; its successor provisions it."""
    cluster.kill("csi-provisioner")
    kubectl.apply(objects.claim("data", storage.WAITING_CLASS), objects.pod("pod", image, claims=("data",)))
    kubectl.wait(r"jsonpath={.metadata.annotations.volume\.kubernetes\.io/selected-node}", "pvc/data")
    assert kubectl.get("pvc/data")["status"]["phase"] == "Pending"
    cluster.restart("csi-provisioner")
    kubectl.wait("condition=Ready", "pod/pod", timeout_s=120)


def test_a_pod_waits_for_a_killed_attacher(kubectl: Kubectl, cluster: Cluster, image: objects.Image) -> None:
    """Without the attacher a scheduled pod's VolumeAttachment stays unattached; its successor attaches it."""
    cluster.kill("csi-attacher")
    kubectl.apply(objects.claim("data", storage.WAITING_CLASS), objects.pod("pod", image, claims=("data",)))
    kubectl.wait("condition=PodScheduled", "pod/pod")
    kubectl.wait("jsonpath={.status.phase}=Bound", "pvc/data")
    attachment = _attachment(kubectl)
    kubectl.wait("create", attachment)
    assert not kubectl.get(attachment).get("status", {}).get("attached")
    cluster.restart("csi-attacher")
    kubectl.wait("condition=Ready", "pod/pod", timeout_s=120)


def _run_pod_with_claim(kubectl: Kubectl, image: objects.Image, storage_class: str) -> None:
    kubectl.apply(objects.claim("data", storage_class))
    if storage_class == storage.IMMEDIATE_CLASS:
        # A pod tried before its Immediate volume is bound may be left in the scheduler's queue for minutes (seen on 1.34).
        kubectl.wait("jsonpath={.status.phase}=Bound", "pvc/data")
    kubectl.apply(objects.pod("pod", image, claims=("data",)))
    kubectl.wait("condition=Ready", "pod/pod", timeout_s=120)


def _volume(kubectl: Kubectl) -> str:
    return str(kubectl.get("pvc/data")["spec"]["volumeName"])


def _attachment(kubectl: Kubectl) -> str:
    """The VolumeAttachment of pod and claim, by the name that the attach/detach controller gives it."""
    handle = kubectl.get(f"persistentvolume/{_volume(kubectl)}")["spec"]["csi"]["volumeHandle"]
    node = kubectl.get("pod/pod")["spec"]["nodeName"]
    digest = hashlib.sha256(f"{handle}{storage.DRIVER_NAME}{node}".encode()).hexdigest()
    return f"volumeattachment/csi-{digest}"
