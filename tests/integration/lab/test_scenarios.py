"""Each story leads where it says: told by the API's objects, by Events and by the kernel's mounts, with the real driver."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.lab.conftest import LabProcess, wait_until


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., LabProcess]) -> Iterator[LabProcess]:
    """All stories side by side, each told once."""
    made = new_lab("--scenario", "mixed", "--speed", "20", "--once")
    yield made
    made.close()


def publish_path(lab: LabProcess, name: str) -> str:
    uid, volume = lab.pod(name)["metadata"]["uid"], lab.volume(name)["metadata"]["name"]
    return f"{lab.nodes[0]['kubelet_root']}/pods/{uid}/volumes/kubernetes.io~csi/{volume}/mount"


def test_healthy(lab: LabProcess) -> None:
    """Three pods run, attached and mounted: the published mount is the device of the staged one."""
    lab.wait_reached("healthy")
    for name in ("web", "db", "cache"):
        pod, volume = lab.pod(name), lab.volume(name)
        assert pod["status"]["phase"] == "Running"
        assert volume["status"]["phase"] == "Bound"
        attachments = [
            attachment
            for attachment in lab.items("/apis/storage.k8s.io/v1/volumeattachments")
            if attachment["spec"]["source"]["persistentVolumeName"] == volume["metadata"]["name"]
        ]
        assert [attachment["status"]["attached"] for attachment in attachments] == [True]
        mounts = lab.mounts()
        staged = {path for path in mounts if path.endswith("/globalmount")}
        assert mounts[publish_path(lab, name)] in {mounts[path] for path in staged}


def test_events_come_in_order(lab: LabProcess) -> None:
    """Provisioning, scheduling, attaching and starting are told in the order in which a real cluster tells them."""
    lab.wait_reached("healthy")
    claim_and_pod = [reason for reason, _ in lab.events("web") if reason != "FailedScheduling"]
    assert claim_and_pod == [
        "ExternalProvisioning",
        "Provisioning",
        "ProvisioningSucceeded",
        "Scheduled",
        "SuccessfulAttachVolume",
        "Pulled",
        "Created",
        "Started",
    ]


def test_wait_for_consumer(lab: LabProcess) -> None:
    """The claim waits for its pod; the chosen node is written on it before it is provisioned."""
    lab.wait_reached("wait-for-consumer")
    claim = lab.get("/api/v1/namespaces/demo/persistentvolumeclaims/report")
    selected = claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"]
    assert selected == lab.nodes[0]["name"]
    reasons = [reason for reason, _ in lab.events("report")]
    assert reasons.index("WaitForFirstConsumer") < reasons.index("Provisioning") < reasons.index("Scheduled")


def test_stuck_attach(lab: LabProcess) -> None:
    """The attachment carries the driver's error, the pod's Event repeats it, and nothing is mounted."""
    lab.wait_reached("stuck-attach")
    message = "rpc error: code = Internal desc = fault injected: ControllerPublishVolume INTERNAL"
    volume = lab.volume("orders")
    errors = [
        attachment["status"]["attachError"]["message"]
        for attachment in lab.items("/apis/storage.k8s.io/v1/volumeattachments")
        if attachment["spec"]["source"]["persistentVolumeName"] == volume["metadata"]["name"]
    ]
    assert errors == [message]
    expected = f'AttachVolume.Attach failed for volume "{volume["metadata"]["name"]}" : {message}'
    wait_until(lambda: ("FailedAttachVolume", expected) in lab.events("orders"), "FailedAttachVolume")
    assert lab.pod("orders")["status"]["phase"] == "Pending"
    assert publish_path(lab, "orders") not in lab.mounts()


def test_failing_stage(lab: LabProcess) -> None:
    """kubelet says what NodeStage answered, tries again, and the pod runs once the fault is used up."""
    lab.wait_reached("failing-stage")
    volume = lab.volume("images")["metadata"]["name"]
    events = dict(lab.events("images"))
    assert events["FailedMount"].startswith(
        f'MountVolume.MountDevice failed for volume "{volume}" : rpc error: code = Unavailable desc = '
    )
    wait_until(lambda: lab.pod("images")["status"]["phase"] == "Running", "the pod runs")
    assert publish_path(lab, "images") in lab.mounts()


def test_hung_fuse(lab: LabProcess) -> None:
    """The pod is Running, as far as Kubernetes knows; its program sleeps in the kernel, waiting for the file system."""
    lab.wait_reached("hung-fuse")
    assert lab.pod("uploads")["status"]["phase"] == "Running"
    path = publish_path(lab, "uploads")

    def is_stuck() -> bool:
        for pid in lab.members():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                waits_for = Path(f"/proc/{pid}/wchan").read_text()
            except OSError:
                continue
            if (path.encode() in command and "fuse" in waits_for) or "request_wait" in waits_for:
                return True
        return False

    wait_until(is_stuck, "the workload waits for its file system")


def test_teardown(lab: LabProcess) -> None:
    """Pods and claims deleted together: volumes, attachments, mounts and directories are all gone."""
    lab.wait_reached("teardown")
    names = {"batch-1", "batch-2"}
    for path in ("/api/v1/pods", "/api/v1/persistentvolumeclaims"):
        assert not names & {item["metadata"]["name"] for item in lab.items(path)}
    present = {volume["spec"]["claimRef"]["name"] for volume in lab.items("/api/v1/persistentvolumes")}
    assert not names & present
    volumes = {volume["metadata"]["name"] for volume in lab.items("/api/v1/persistentvolumes")}
    attached = {
        attachment["spec"]["source"]["persistentVolumeName"]
        for attachment in lab.items("/apis/storage.k8s.io/v1/volumeattachments")
    }
    assert attached <= volumes
    uids = {pod["metadata"]["uid"] for pod in lab.items("/api/v1/pods")}
    assert {path.split("/pods/")[1].split("/")[0] for path in lab.mounts() if "/pods/" in path} <= uids
    for pod in Path(lab.nodes[0]["kubelet_root"], "pods").iterdir():
        assert pod.name in uids or not list(pod.glob("volumes/kubernetes.io~csi/*"))
