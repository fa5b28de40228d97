"""Kubelet's paths: what is mounted there, and what becomes of it on the way back."""

import pytest
from msgspec.structs import replace

from csitrace.lifecycle.paths import (
    MapPath,
    PublishPath,
    StagingPath,
    SubPath,
    VolumePath,
    parse_path,
    staging_digest,
)
from csitrace.lifecycle.state import StepStatus
from csitrace.model.kubernetes import PersistentVolume, PersistentVolumeClaim
from tests import story
from tests.story import (
    DRIVER,
    HANDLE,
    NODE,
    POD_UID,
    PV_NAME,
    ROOT,
    STAGING,
    TARGET,
    pod,
    straight_road,
)

BLOCK = f"{ROOT}/plugins/kubernetes.io/csi/volumeDevices"
SUBPATH = f"{ROOT}/pods/{POD_UID}/volume-subpaths/{PV_NAME}/main/0"

PATHS: list[tuple[str, VolumePath | None]] = [
    (STAGING, StagingPath(driver=DRIVER, digest=staging_digest(HANDLE))),
    (TARGET, PublishPath(POD_UID, PV_NAME)),
    (SUBPATH, SubPath(POD_UID, PV_NAME)),
    (f"{BLOCK}/staging/{PV_NAME}", StagingPath(pv_name=PV_NAME)),
    (f"{BLOCK}/publish/{PV_NAME}/{POD_UID}", PublishPath(POD_UID, PV_NAME)),
    (f"{BLOCK}/{PV_NAME}/dev/{POD_UID}", MapPath(POD_UID, PV_NAME)),
    (
        f"/var/lib/k0s/kubelet/pods/{POD_UID}/volumes/kubernetes.io~csi/data/mount",
        PublishPath(POD_UID, "data"),
    ),
    (f"{BLOCK}/{PV_NAME}/data", None),
    (f"{ROOT}/pods/{POD_UID}/volumes/kubernetes.io~projected/token", None),
    (f"{ROOT}/plugins/{DRIVER}", None),
]


@pytest.mark.parametrize(("path", "meaning"), PATHS, ids=[path[len(ROOT) :][:40] for path, _ in PATHS])
def test_a_path_says_what_is_mounted_there(path: str, meaning: VolumePath | None) -> None:
    """By its tail, since the kubelet root can be anything."""
    assert parse_path(path) == meaning


def test_a_volume_is_not_unpublished_while_a_part_of_it_is_mounted() -> None:
    """Kubelet binds a subPath beside the volume: the pod's mount may be gone, and something is left all the same."""
    told = straight_road()[-1][1].mount(SUBPATH, 102)
    told.put(pod(NODE, "terminated", "Running", started=True, deleting=True)).unmount(TARGET, 101)
    assert told.back_statuses()["b3"] is not StepStatus.DONE
    assert "a subPath of it is still mounted" in [evidence.text for evidence in told.verdict().evidence]
    told.unmount(SUBPATH, 102)
    assert told.back_statuses()["b3"] is StepStatus.DONE


def block(obj: PersistentVolume | PersistentVolumeClaim) -> PersistentVolume | PersistentVolumeClaim:
    return replace(obj, spec=replace(obj.spec, volume_mode="Block"))  # type: ignore[type-var]


def test_a_block_volume_goes_its_own_paths_and_back() -> None:
    """Staged by the driver's word (drivers mount nothing for it), published as a device file that kubelet maps, and back."""
    told = dict(straight_road())["15"]
    told.put(block(story.claim("Bound", PV_NAME, selected_node=NODE, storage_provisioner=DRIVER))).put(
        block(story.pv())
    )
    told.rpc("NodeStageVolume", staging_target_path=f"{BLOCK}/staging/{PV_NAME}")
    assert told.statuses()["16a"] is StepStatus.DONE
    target = f"{BLOCK}/publish/{PV_NAME}/{POD_UID}"
    told.rpc("NodePublishVolume", target_path=target).mount(target, 101, "devtmpfs")
    told.mount(f"{BLOCK}/{PV_NAME}/dev/{POD_UID}", 102, "devtmpfs")
    assert told.statuses()["16b"] is StepStatus.DONE
    assert sorted(fact.role for fact in told.volume.mounts) == ["map", "publish"]
    told.put(pod(NODE, "terminated", "Running", started=True, deleting=True))
    told.rpc("NodeUnpublishVolume", target_path=target).unmount(target, 101)
    assert told.back_statuses()["b3"] is not StepStatus.DONE
    told.unmount(f"{BLOCK}/{PV_NAME}/dev/{POD_UID}", 102)
    assert told.back_statuses()["b3"] is StepStatus.DONE
    told.rpc("NodeUnstageVolume", staging_target_path=f"{BLOCK}/staging/{PV_NAME}")
    assert told.back_statuses()["b5"] is StepStatus.DONE
