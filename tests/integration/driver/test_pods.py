"""A Controller with `--launcher pod` whose API server is away: which of its errors end the attempt, and which do not."""

import json
from pathlib import Path

import grpc
import pytest

from csitrace.csi import csi_pb2
from tests.integration.driver.driving import Volume, driving, refused


@pytest.fixture
def with_pods(tmp_path: Path) -> tuple[str, ...]:
    """The options of a driver that makes FUSE pods, or would: nothing is heard from its API server."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(_kubeconfig("https://127.0.0.1:1")))
    return "--launcher=pod", "--fuse-image=image", f"--kubeconfig={kubeconfig}"


def test_a_node_that_has_no_pods_is_refused_for_good(with_pods: tuple[str, ...]) -> None:
    """The driver on the node starts its daemons itself: the error is final, so nothing of the attempt is kept."""
    with driving("--launcher=process") as driver:
        driver.options = ("--controller", *with_pods)
        driver.restart()
        volume = Volume(driver, "v")
        volume.create()
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "--launcher=process"):
            volume.attach()
        assert _nodes(volume) == []


def test_an_api_server_that_is_away_ends_no_attempt(with_pods: tuple[str, ...]) -> None:
    """The error is none that is final, and the attempt is kept: the pod is made as soon as the API server is heard."""
    with driving(*with_pods) as driver:
        volume = Volume(driver, "v")
        volume.create()
        with refused(grpc.StatusCode.UNAVAILABLE, "the API server cannot be reached: 127.0.0.1:1: "):
            volume.attach()
        assert _nodes(volume) == [driver.node_id]


def _nodes(volume: Volume) -> list[str]:
    request = csi_pb2.ControllerGetVolumeRequest(volume_id=volume.volume_id)
    return list(volume.driver.controller.ControllerGetVolume(request).status.published_node_ids)


def _kubeconfig(server: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "none", "cluster": {"server": server}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "nobody"}}],
        "current-context": "none",
    }
