"""FUSE pods as values: their names, what they are made of, and what their status says."""

from typing import Any

import pytest

from driver_ref.pods import spec, status

TEMPLATE = spec.Template(driver_name="x.dev", namespace="fuse", image="image:1")
PLACE = spec.Place(
    volume_id="v", node_id="n", shared="/k/plugins/x.dev/fuse/1", source="/state/data/v", size=1 << 20
)


def _pod(phase: str = "Pending", **container: Any) -> dict[str, Any]:
    pod = spec.manifest(TEMPLATE, PLACE)
    pod["status"] = {"phase": phase, "containerStatuses": [{"name": spec.CONTAINER, **container}]}
    return pod


def test_a_pod_is_found_again_by_volume_and_node() -> None:
    """The name is the same each time, another for another volume, node or driver; label and annotations say whose it is."""
    names = {
        spec.name(*which) for which in (("x", "v", "n"), ("y", "v", "n"), ("x", "w", "n"), ("x", "v", "m"))
    }
    assert len(names) == 4
    pod = spec.manifest(TEMPLATE, PLACE)
    assert status.name(pod) == spec.name("x.dev", "v", "n")
    assert pod["metadata"]["labels"] == {"csitrace.dev/component": "fuse-daemon"}
    annotations = pod["metadata"]["annotations"]
    assert (annotations["csitrace.dev/driver"], annotations["csitrace.dev/volume-handle"]) == ("x.dev", "v")
    assert (status.driver_of(pod), status.place_of(pod), status.image_of(pod)) == (
        "x.dev",
        ("v", "n"),
        "image:1",
    )


def test_a_pod_has_no_more_than_it_needs() -> None:
    """No token, a read-only root, bounded capabilities, resources; and it starts on its node, whatever the node's taints."""
    pod = spec.manifest(TEMPLATE, PLACE)["spec"]
    [container] = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["command"][1].startswith("--bounding-set=-all,+")
    assert set(container["resources"]) == {"requests", "limits"}


def test_kubelet_takes_the_pods_mount_for_its_own() -> None:
    """The mount point ends as kubelet's staging path does, which is what kubelet looks for before it unstages."""
    digest = "4c94485e0c21ae6c41ce1dfe7b6bfaceea5ab68e40a2476f50208e526f506080"  # echo -n v | sha256sum
    assert spec.mountpoint("x.dev", "v") == f"plugins/kubernetes.io/csi/x.dev/{digest}/globalmount"


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (_pod(state={"waiting": {"reason": "ContainerCreating"}}), ""),
        (
            _pod(state={"waiting": {"reason": "ErrImagePull", "message": "not found"}}),
            "ErrImagePull: not found",
        ),
        (
            _pod(
                state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                lastState={"terminated": {"reason": "OOMKilled", "exitCode": 137}},
            ),
            "CrashLoopBackOff: OOMKilled",
        ),
        (
            _pod(
                state={"waiting": {"reason": "CrashLoopBackOff"}},
                lastState={"terminated": {"reason": "Error", "exitCode": 1, "message": "a\nno /dev/fuse\n"}},
            ),
            "CrashLoopBackOff: exited with 1: no /dev/fuse",
        ),
        (_pod("Running", state={"running": {}}), ""),
        (_pod("Failed"), "Failed"),
    ],
)
def test_what_a_pod_lacks_is_said_in_one_line(pod: dict[str, Any], words: str) -> None:
    """Nothing while it is about to start or runs; else the reason, and what is behind it."""
    assert status.trouble(pod) == words


def test_the_scheduler_and_the_kubelet_are_quoted() -> None:
    """A pod that finds no room, and one that was evicted."""
    unscheduled = _pod()
    unscheduled["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"}
        ],
    }
    assert status.trouble(unscheduled) == "Unschedulable: 0/2 nodes"
    evicted = _pod("Failed")
    evicted["status"] |= {"reason": "Evicted", "message": "low on memory"}
    assert status.has_ended(evicted)
    assert status.trouble(evicted) == "Evicted: low on memory"


def test_only_a_pod_that_stays_runs() -> None:
    """Running, and not told to end."""
    pod = _pod("Running", state={"running": {}})
    assert status.runs(pod)
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert status.is_leaving(pod)
    assert not status.runs(pod)
